"""Prompts from the request to the last word: streamed in the response while that is quick, durable in every case."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from services.api.app import create_app
from services.api.settings import ApiSettings
from services.api.tasks import complete_prompt
from shared.contracts.commands.api import CompletePrompt
from shared.kernel.ids import new_id
from shared.ledger.audit import audit
from shared.runtime.sse import Event
from shared.transport.attempt import RESULT_LIMIT_BYTES, Retry
from tests.integration.api.model import END, KEY, Model, cut_after, delta, held_after, refusing, serving, tokens
from tests.integration.api.test_events import LIMIT_S, Following, Served, following, served
from tests.integration.api.test_mail import attempt
from tests.integration.api.test_output import taken
from tests.integration.api.worker import working
from tests.integration.http.places import Place, bearer, client_of, expect_problem, on_one_database, place
from tests.stalls import within

__all__ = ["place"]
ASK = {"prompt": "Why is the sky blue?", "system": "Be brief."}
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    async with serving() as opened:
        yield opened


@asynccontextmanager
async def asking(place: Place, model: Model, *, work: bool = True, **settings: Any) -> AsyncIterator[Served]:
    """The api service over a real server, a relay and a worker beside it."""
    core = place.settings.model_copy(update={"egress_allow": ("127.0.0.0/8",)})
    async with served(Place(core, place.database), **model.given(**settings)) as app:
        if not work:
            yield app
            return
        async with working(core, app.app, {}):
            yield app


@asynccontextmanager
async def streaming(url: str, key: str, body: Any = ASK, **headers: str) -> AsyncIterator[Following]:
    async with (
        httpx.AsyncClient(timeout=LIMIT_S) as client,
        client.stream("POST", f"{url}/v1/prompts", json=body, headers={**bearer(key), **STREAM, **headers}) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        yield Following(answer, "")


async def post(url: str, key: str, body: Any = ASK, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=LIMIT_S) as client:
        return await client.post(f"{url}/v1/prompts", json=body, headers={**bearer(key), **headers})


async def to_the_end(url: str, key: str, job: str, last: str = "") -> list[Event]:
    async with following(url, key, job, last) as stream:
        return await stream.rest()


def text_of(events: list[Event], text: str = "") -> str:
    for event in events:
        text = taken(text, event)
    return text


def job_of(answer: httpx.Response) -> str:
    return answer.headers["Location"].rpartition("/")[2]


async def until_text(stream: Following, wanted: str) -> str:
    text = ""
    while text != wanted:
        event = await stream.next()
        assert event is not None, f"the stream ended at {text!r}"
        text = taken(text, event)
    return text


async def test_a_quick_prompt_is_answered_in_the_same_response(place: Place, model: Model) -> None:
    go = asyncio.Event()
    model.replies = [held_after("Because ", until=go)]
    async with asking(place, model) as app, streaming(app.url, await place.key("prompts:write")) as stream:
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        text = await until_text(stream, "Because ")
        go.set()
        rest = await stream.rest()
        assert [event.name for event in rest][-2:] == ["state", "result"]
        assert text_of(rest, text) == "Because "
        result = rest[-1].data["result"]
        assert result == {
            "text": "Because ", "text_bytes": 8, "truncated": False, "model": "small-1", "finish_reason": "stop",
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        }  # fmt: skip
        job = job_of(stream.answer)
        assert rest[-1].data["id"] == job
        ((headers, body),) = model.requests
        assert headers["idempotency-key"].startswith(job)
        assert [message["content"] for message in body["messages"]] == ["Be brief.", "Why is the sky blue?"]
        assert KEY not in json.dumps(rest[-1].data)


async def test_who_takes_json_is_told_where_the_answer_will_be(place: Place, model: Model) -> None:
    key = await place.key()
    async with asking(place, model) as app:
        answer = await post(app.url, key)
        job = job_of(answer)
        assert (answer.status_code, answer.json()) == (202, {"job": job, "events": f"/v1/jobs/{job}/events"})
        events = await to_the_end(app.url, key, job)
        assert text_of(events) == "Hello world"
        assert events[-1].data["result"]["text"] == "Hello world"
        assert events[-1].data["lane"] == "llm"


async def test_past_the_budget_the_rest_is_read_where_the_last_event_says(place: Place, model: Model) -> None:
    go, key = asyncio.Event(), await place.key()
    model.replies = [held_after("Long, ", "long ", until=go, rest=held_rest("ago"))]
    async with asking(place, model, llm_budget_s=1.5) as app:
        async with streaming(app.url, key) as stream:
            events = await stream.rest()
        later = events[-1]
        assert (later.name, text_of(events)) == ("later", "Long, long ")
        assert later.data["last_event_id"] == later.id == events[-2].id
        go.set()
        rest = await to_the_end(app.url, key, later.data["job"], later.id)
        assert text_of(rest, "Long, long ") == "Long, long ago"
        assert [event.name for event in rest] == ["output", "state", "result"]
        assert len(model.requests) == 1


def held_rest(word: str) -> bytes:
    return delta(word) + END


@on_one_database
async def test_the_same_key_is_one_call_whatever_is_accepted(place: Place, model: Model) -> None:
    key, once = await place.key(), new_id("once")
    async with asking(place, model) as app:
        async with streaming(app.url, key, **{"Idempotency-Key": once}) as stream:
            first = await stream.rest()
        async with streaming(app.url, key, **{"Idempotency-Key": once}) as stream:
            again = await stream.rest()
            job = job_of(stream.answer)
        assert text_of(first) == text_of(again) == "Hello world"
        plain = await post(app.url, key, **{"Idempotency-Key": once})
        assert (plain.status_code, plain.json()["job"], plain.headers["Idempotent-Replay"]) == (202, job, "true")
        other = await post(app.url, key, {"prompt": "Else?"}, **{"Idempotency-Key": once})
        expect_problem(other, 422, "idempotency_key_reused")
        assert len(model.requests) == 1
        stranger = await place.key(tenant="other")
        theirs = await post(app.url, stranger, **{"Idempotency-Key": once})
        assert theirs.json()["job"] != job
        for path in (f"/v1/jobs/{job}/events", f"/v1/jobs/{job}"):
            async with httpx.AsyncClient() as client:
                expect_problem(await client.get(app.url + path, headers=bearer(stranger)), 404, "not_found")
        await to_the_end(app.url, stranger, theirs.json()["job"])


async def test_a_cut_answer_begins_anew_under_the_same_key(place: Place, model: Model) -> None:
    seen = asyncio.Event()
    model.replies = [
        cut_after("I was ", "inter", when=seen),
        refusing(429, {"error": {"message": "slow down"}}, **{"Retry-After": "0"}), tokens("whole"),
    ]  # fmt: skip
    async with asking(place, model) as app, streaming(app.url, await place.key()) as stream:
        text = await until_text(stream, "I was inter")
        seen.set()
        events = await stream.rest()
    assert next(event.data["offset"] for event in events if event.name == "output") == 0, "and says that it is anew"
    assert text_of(events, text) == "whole"
    keys = {headers["idempotency-key"] for headers, _ in model.requests}
    assert (len(model.requests), len(keys)) == (3, 1)
    document = events[-1].data
    assert [attempt["outcome"] for attempt in document["attempts"]] == ["failed", "failed", "completed"]
    assert "connection" in document["attempts"][0]["error"]["message"]
    assert document["attempts"][1]["error"]["message"] == "the model's server answered 429: slow down"


@on_one_database
async def test_a_busy_server_is_asked_when_it_said(place: Place, model: Model) -> None:
    model.replies = [refusing(503, {}, **{"Retry-After": "3600"})]
    key = await place.key()
    async with asking(place, model) as app:
        job = (await post(app.url, key)).json()["job"]
        async with following(app.url, key, job) as stream:
            while (event := await stream.next()) is not None and event.data["state"] != "retrying":
                pass
        (row,) = await place.rows("SELECT run_at, error_type, claimed_at FROM job WHERE id = :id", id=job)
        assert row["error_type"] == "PromptFailed"
        assert 590 < (row["run_at"] - row["claimed_at"]) / 1e6 < 610, "within the bound"


@on_one_database
async def test_a_refused_prompt_is_dead_with_the_servers_reason(place: Place, model: Model) -> None:
    model.replies = [refusing(400, {"error": {"message": "the context is too long"}})]
    async with asking(place, model) as app, streaming(app.url, await place.key()) as stream:
        document = (await stream.rest())[-1].data
    assert (document["state"], document["attempt"]) == ("dead", 1)
    assert document["error"] == {
        "type": "PromptRefused", "message": "the model's server answered 400: the context is too long",
    }  # fmt: skip
    assert len(model.requests) == 1


async def test_cancelling_ends_the_call_within_a_second(place: Place, model: Model) -> None:
    model.replies = [held_after("half")]
    key = await place.key()
    async with asking(place, model) as app, streaming(app.url, key) as stream:
        await until_text(stream, "half")
        job = job_of(stream.answer)
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{app.url}/v1/jobs/{job}/cancel", headers=bearer(key))
        assert answer.status_code == 202
        async with within(1.0):
            await asyncio.wait_for(model.left.wait(), 10)
        rest = await stream.rest()
        assert (rest[-1].data["state"], text_of(rest, "half")) == ("cancelled", "half")
    assert (await audit(place.database)).ok


@on_one_database
async def test_a_client_that_goes_ends_nothing(place: Place, model: Model) -> None:
    go, key = asyncio.Event(), await place.key()
    model.replies = [held_after("on ", until=go, rest=held_rest("and on"))]
    async with asking(place, model) as app:
        async with streaming(app.url, key) as stream:
            await until_text(stream, "on ")
            job = job_of(stream.answer)
        await app.until_watched_by(0)
        go.set()
        assert text_of(await to_the_end(app.url, key, job)) == "on and on"
    assert not model.left.is_set()


@on_one_database
async def test_an_answer_larger_than_a_result_is_whole_in_the_output(place: Place, model: Model) -> None:
    word = "½" * 20_000
    model.replies = [tokens(word, word)]
    async with asking(place, model) as app, streaming(app.url, await place.key()) as stream:
        events = await stream.rest()
    result = events[-1].data["result"]
    assert text_of(events) == word * 2
    assert (result["truncated"], result["text_bytes"]) == (True, 80_000)
    assert word.startswith(result["text"][:20_000])
    assert 60_000 < len(result["text"].encode()) <= RESULT_LIMIT_BYTES


@on_one_database
async def test_where_no_more_streams_are_the_prompt_is_accepted_all_the_same(place: Place, model: Model) -> None:
    key = await place.key()
    async with asking(place, model, watchers_per_key=1) as app:
        job = (await post(app.url, key)).json()["job"]
        async with following(app.url, key, job) as stream:
            answer = await post(app.url, key, **STREAM)
            assert (answer.status_code, answer.headers["content-type"]) == (202, "application/json")
            await stream.rest()
        await app.until_watched_by(0)
        assert text_of(await to_the_end(app.url, key, answer.json()["job"])) == "Hello world"


@on_one_database
async def test_what_is_no_prompt_is_refused(place: Place, model: Model) -> None:
    key = await place.key()
    wrong = [
        {}, {"prompt": ""}, {"prompt": "nul \x00"}, {"prompt": 5}, {"prompt": "x", "max_tokens": 0},
        {"prompt": "x", "temperature": 2.1}, {"prompt": "x", "model": "large"}, {"prompt": "x", "max_tokens": True},
    ]  # fmt: skip
    async with asking(place, model, work=False, llm_prompt_limit_bytes=100) as app:
        for body in wrong:
            expect_problem(await post(app.url, key, body), 422, "invalid")
        large = await post(app.url, key, {"prompt": "½" * 40, "system": "x" * 21})
        document = expect_problem(large, 413, "prompt_too_large")
        assert (document["limit_bytes"], document["found_bytes"]) == (100, 101)
        assert (await post(app.url, key, {"prompt": "½" * 40, "system": "x" * 20})).status_code == 202
        expect_problem(await post(app.url, await place.key("jobs:write")), 403, "not_allowed")


@on_one_database
async def test_without_a_model_there_are_no_prompts(place: Place) -> None:
    async with client_of(create_app(place.settings, ApiSettings()), await place.key()) as client:
        document = expect_problem(await client.post("/v1/prompts", json=ASK), 404, "llm_off")
        assert "HOLDFAST_API_LLM_URL" in document["detail"]
    assert await place.rows("SELECT id FROM job") == []


@on_one_database
async def test_a_worker_without_a_model_leaves_it_to_another(place: Place) -> None:
    with pytest.raises(Retry, match="this worker has no HOLDFAST_API_LLM_URL"):
        await complete_prompt(CompletePrompt(prompt="x"), attempt(place), None)


def test_the_route_is_documented_with_both_answers() -> None:
    operation = create_app(api=ApiSettings()).openapi()["paths"]["/v1/prompts"]["post"]
    assert "event: later" in operation["responses"]["200"]["content"]["text/event-stream"]["example"]
    assert operation["responses"]["202"]["content"]["application/json"]["example"]["events"].startswith("/v1/jobs/")
    assert set(operation["responses"]) >= {"404", "413"}
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    assert all("prompt" in example["value"] for example in examples.values())
