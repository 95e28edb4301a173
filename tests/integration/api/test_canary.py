"""A canary first: through HTTP, the real relay and a real worker, to the job that retries the rest or stops."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from services.api.app import create_app
from services.api.settings import ApiSettings
from shared.contracts.commands.api import SendWelcomeEmail
from shared.ledger import store_dead
from shared.ledger.audit import audit
from shared.transport.attempt import Dead
from tests.integration.api.test_jobs import make
from tests.integration.api.worker import working
from tests.integration.http.places import Place, client_of

GROUP = "email.send_welcome:here"
WAIT_S = 30.0
Handler = Callable[[SendWelcomeEmail], Awaitable[None]]


@pytest.fixture
def app(place: Place) -> FastAPI:
    return create_app(place.settings, ApiSettings())


async def fixed(_: SendWelcomeEmail) -> None: ...


async def broken(_: SendWelcomeEmail) -> None:
    raise Dead("still broken")


async def followed_up(place: Place, app: FastAPI, body: dict[str, Any], handler: Handler) -> tuple[Any, dict[str, Any]]:
    """The answer to the retry, and the follow-up's document once it has ended."""
    async with client_of(app, await place.key()) as client, working(place.settings, app, {SendWelcomeEmail: handler}):
        answer = await client.post("/v1/dead/retry", json=body)
        assert answer.status_code == 202, answer.text
        await until(lambda: ended(client, answer.headers["location"]))
        await until(lambda: idle(place))
        document = (await client.get(answer.headers["location"])).json()
    assert (await audit(place.database)).ok
    return answer.json(), document


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await holds():  # noqa: ASYNC110 - nothing there has an event to wait for
            await asyncio.sleep(0.05)


async def ended(client: httpx.AsyncClient, url: str) -> bool:
    return (await client.get(url)).json()["state"] in {"completed", "dead", "cancelled"}


async def idle(place: Place) -> bool:
    return not await place.rows("SELECT id FROM job WHERE state IN ('ready', 'dispatched', 'running')")


async def states(place: Place) -> dict[str, str]:
    rows = await place.rows("SELECT id, state FROM job WHERE task = 'email.send_welcome'")
    return {row["id"]: row["state"] for row in rows}


async def actions(place: Place) -> list[dict[str, Any]]:
    async with client_of(create_app(place.settings, ApiSettings()), await place.key()) as client:
        return (await client.get("/v1/actions")).json()["items"]


async def test_the_rest_follows_when_every_canary_has_completed(
    place: Place, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_dead, "DECIDE_LIMIT", 4)
    jobs, others = await make(place, 12), await make(place, 2)
    await place.end(jobs)
    await place.end(others, place="there")
    answer, document = await followed_up(place, app, {"group": GROUP, "canary": 3}, fixed)
    assert len(answer["canaries"]) == 3
    assert document["result"]["outcome"] == "retried"
    assert document["result"]["retried"] == 9
    assert document["tenant"] == "acme"
    found = await states(place)
    assert {found[job] for job in jobs} == {"completed"}
    assert {found[job] for job in others} == {"dead"}
    kept = await actions(place)
    assert [(one["action"], one["outcome"]["count"]) for one in kept[::-1]] == [
        ("canary", 3), ("retry", 4), ("retry", 4), ("retry", 1),
    ]  # fmt: skip
    assert kept[-1]["target"] == {"group": GROUP, "canary": 3}
    assert kept[-1]["caller"].startswith("key_")
    assert kept[-1]["outcome"]["follow_up"] == answer["job"]
    assert {one["caller"] for one in kept[:-1]} == {answer["job"]}


async def test_it_stops_when_a_canary_dies_again_and_says_which(place: Place, app: FastAPI) -> None:
    jobs = await make(place, 6)
    await place.end(jobs)
    answer, document = await followed_up(place, app, {"group": GROUP, "canary": 2}, broken)
    assert document["state"] == "completed"
    assert document["result"]["outcome"] == "stopped"
    assert document["result"]["retried"] == 0
    assert sorted(document["result"]["died"]) == sorted(answer["canaries"])
    assert set((await states(place)).values()) == {"dead"}
    attempts = await place.rows("SELECT job_id FROM job_attempt WHERE outcome = 'failed' AND error_type = 'Dead'")
    assert sorted(row["job_id"] for row in attempts) == sorted(answer["canaries"])


async def test_what_dies_after_the_request_is_not_meant(place: Place, app: FastAPI) -> None:
    """One that is no canary dies between the request and the follow-up: it stays where it is."""
    jobs = await make(place, 4)
    await place.end(jobs[:3])
    async with client_of(app, await place.key()) as client:
        answer = (await client.post("/v1/dead/retry", json={"filter": {}, "canary": 1})).json()
        await place.end(jobs[3:])
        async with working(place.settings, app, {SendWelcomeEmail: fixed}):
            await until(lambda: ended(client, f"/v1/jobs/{answer['job']}"))
            await until(lambda: idle(place))
    assert [(await states(place))[job] for job in jobs] == ["completed"] * 3 + ["dead"]


async def test_ids_are_followed_up_too_and_none_but_those(place: Place, app: FastAPI) -> None:
    jobs = await make(place, 5)
    await place.end(jobs)
    _, document = await followed_up(place, app, {"ids": jobs[:4], "canary": 1}, fixed)
    assert document["result"]["retried"] == 3
    found = await states(place)
    assert [found[job] for job in jobs] == ["completed"] * 4 + ["dead"]


async def test_where_nothing_matches_there_is_nothing_to_follow_up(place: Place, client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/dead/retry", json={"group": "no.such:0", "canary": 3})
    assert (answer.status_code, answer.json()["retried"]) == (200, 0)
    assert await place.rows("SELECT id FROM job") == []


async def test_a_repeated_canary_is_one(place: Place, client: httpx.AsyncClient) -> None:
    await place.end(await make(place, 4))
    body, headers = {"filter": {}, "canary": 2}, {"Idempotency-Key": "once"}
    first = await client.post("/v1/dead/retry", json=body, headers=headers)
    again = await client.post("/v1/dead/retry", json=body, headers=headers)
    assert first.json() == again.json()
    assert again.headers["location"] == first.headers["location"]
    assert list((await states(place)).values()).count("ready") == 2
