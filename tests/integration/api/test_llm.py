"""The client of language models against a real server: what streams, what is tried again, what is given up, when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.api.app import create_app
from services.api.completion import CUT, Completion, request_of
from services.api.llm import Llm, LlmFailed, LlmRefused
from services.api.settings import ApiSettings
from shared.contracts.commands.api import CompletePrompt
from shared.kernel.errors import Misconfigured
from shared.runtime.egress import AddressPolicy
from shared.testing.servers import free_port
from tests.integration.api.model import (
    END,
    KEY,
    Model,
    cut_after,
    delta,
    event,
    held_after,
    pieces,
    refusing,
    serving,
    tokens,
)
from tests.stalls import within

LOOPBACK = AddressPolicy.from_cidrs(["127.0.0.0/8"])
BODY = request_of(CompletePrompt(prompt="Hello?"), "small")


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    async with serving() as opened:
        yield opened


@asynccontextmanager
async def client(settings: ApiSettings, policy: AddressPolicy = LOOPBACK, **options: Any) -> AsyncIterator[Llm]:
    llm = Llm(settings, policy, **options)
    await llm.start()
    try:
        yield llm
    finally:
        await llm.close()


async def ask(model: Model, said: list[str] | None = None, **changes: Any) -> Completion:
    async with client(model.settings(**changes)) as llm:
        return await llm.complete(BODY, key="job_1", say=(said if said is not None else []).append)


async def fails(model: Model, words: str, said: list[str] | None = None, **changes: Any) -> LlmFailed:
    with pytest.raises(LlmFailed, match=words) as caught:
        await ask(model, said, **changes)
    return caught.value


async def test_words_come_one_by_one_and_the_request_says_all(model: Model) -> None:
    go = asyncio.Event()
    model.replies = [held_after("Hel", "lo", until=go)]
    said: list[str] = []
    asking = asyncio.create_task(ask(model, said))
    async with asyncio.timeout(10):
        while said != ["Hel", "lo"]:  # noqa: ASYNC110 - before the answer has ended
            await asyncio.sleep(0.01)
    assert not asking.done()
    go.set()
    found = await asking
    assert (found.text, found.finish_reason, found.model, found.done) == ("Hello", "stop", "small-1", True)
    assert found.usage == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    ((headers, body),) = model.requests
    assert (headers["authorization"], headers["idempotency-key"]) == (f"Bearer {KEY}", "job_1")
    assert (body["model"], body["stream"], body["messages"]) == (
        "small", True, [{"role": "user", "content": "Hello?"}],
    )  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 1_000])
async def test_any_pieces_are_the_same_answer(model: Model, size: int) -> None:
    whole = b"\xef\xbb\xbf: hello\r\nid: 5\r\n\r\n" + delta("½ und 😀\n\n").replace(b"\n", b"\r\n") + delta("!") + END
    model.replies = [pieces(*(whole[at : at + size] for at in range(0, len(whole), size)))]
    assert (await ask(model)).text == "½ und 😀\n\n!"


@pytest.mark.parametrize(
    ("wish", "seconds"), [("7", 7.0), ("0", 0.0), ("99999999", 600.0), ("soon", None), (None, None)]
)
async def test_a_server_that_is_busy_says_when_to_come_back(
    model: Model, wish: str | None, seconds: float | None
) -> None:
    error = {"error": {"message": f"Rate limit of {KEY} reached"}}
    for status in (429, 503):
        model.replies = [refusing(status, error, **({"Retry-After": wish} if wish else {}))]
        failed = await fails(model, rf"answered {status}: Rate limit of \*\*\* reached")
        assert failed.wish_s == seconds


@pytest.mark.parametrize("status", [408, 409, 500, 502, 504])
async def test_other_errors_that_pass_are_tried_again(model: Model, status: int) -> None:
    model.replies = [refusing(status, "what happened")]
    assert (await fails(model, f"answered {status}: what happened")).wish_s is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 302])
async def test_a_refusal_is_final_and_says_why(model: Model, status: int) -> None:
    model.replies = [refusing(status, {"error": {"message": f"bad key {KEY}"}}, Location="http://127.0.0.1:1/")]
    with pytest.raises(LlmRefused, match=rf"answered {status}: bad key \*\*\*") as caught:
        await ask(model)
    assert caught.value.kind == f"http_{status}"
    assert len(model.requests) == 1, "redirects are not followed"


async def test_what_is_no_stream_is_refused(model: Model) -> None:
    model.replies = [pieces(b'{"choices": []}', content_type="application/json")]
    with pytest.raises(LlmRefused, match="answered application/json, not text/event-stream"):
        await ask(model)


async def test_a_stream_that_is_cut_is_a_failure(model: Model) -> None:
    said: list[str] = []
    model.replies = [cut_after("half", " an")]
    await fails(model, "connection was lost|ended before", said)
    assert said == ["half", " an"]
    model.replies = [tokens("all", end=delta(None, finish_reason="stop"))]
    await fails(model, "the connection ended before the answer did")


@pytest.mark.parametrize(
    "data",
    [event("{nonsense"), event('{"choices": 5}'), event({"error": {"message": "the engine broke"}}), b"data: \xff\n\n"],
)
async def test_nonsense_in_the_stream_is_a_failure(model: Model, data: bytes) -> None:
    model.replies = [pieces(delta("well"), data, END)]
    await fails(model, "the answer broke off: (an event|choices|the engine broke)")


async def test_bytes_that_are_no_utf8_are_shown_as_such(model: Model) -> None:
    model.replies = [pieces(delta("caf?").replace(b"?", b"\xe9"), END)]
    assert (await ask(model)).text == "caf\ufffd"


async def test_a_model_that_falls_silent_is_given_up(model: Model) -> None:
    model.replies = [held_after("only this")]
    await fails(model, r"nothing of the answer came for 0\.2 s", llm_idle_s=0.2)
    await asyncio.wait_for(model.left.wait(), 5)
    model.left.clear()
    model.replies = [held_after("only this", keep_alive=b": still thinking\n\n")]
    await fails(model, r"nothing of the answer came for 0\.2 s", llm_idle_s=0.2)
    await asyncio.wait_for(model.left.wait(), 5)


async def test_an_answer_without_an_end_ends_at_its_deadline(model: Model) -> None:
    model.replies = [held_after(keep_alive=delta("."))]
    async with within(3):
        await fails(model, r"had no end within 0\.5 s", llm_total_s=0.5, llm_idle_s=5)
    await asyncio.wait_for(model.left.wait(), 5)


async def test_an_answer_that_is_too_large_is_cut_and_its_stream_ended(model: Model) -> None:
    model.replies = [held_after("½" * 40, keep_alive=delta("abcdefgh"))]
    said: list[str] = []
    found = await ask(model, said, llm_answer_limit_bytes=101)
    assert (found.text, found.finish_reason, found.cut) == ("½" * 40 + "abcdefgh" * 2 + "abcde", CUT, True)
    assert "".join(said) == found.text
    await asyncio.wait_for(model.left.wait(), 5)


async def test_a_huge_token_is_an_answer_and_an_endless_line_is_none(model: Model) -> None:
    model.replies = [tokens("x" * 100_000)]
    assert len((await ask(model)).text) == 100_000
    model.replies = [pieces(b"data: {", *([b"x" * 65_536] * 64))]
    await fails(model, "larger than any answer")
    model.replies = [pieces(*([b"data: x\n" * 8_192] * 64))]
    await fails(model, "larger than any answer")


async def test_cancelling_ends_the_connection_at_once(model: Model) -> None:
    began = asyncio.Event()
    model.replies = [held_after("go")]
    async with client(model.settings()) as llm:
        asking = asyncio.create_task(llm.complete(BODY, key="k", say=lambda _: began.set()))
        await asyncio.wait_for(began.wait(), 10)
        asking.cancel()
        await asyncio.wait_for(model.left.wait(), 1.0)
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert llm.open_sockets == 0


async def test_what_the_listener_raises_ends_the_call(model: Model) -> None:
    def full(_: str) -> None:
        raise LookupError("full")

    model.replies = [held_after("go")]
    async with client(model.settings()) as llm:
        with pytest.raises(LookupError):
            await llm.complete(BODY, key="k", say=full)
        await asyncio.wait_for(model.left.wait(), 5)


async def test_nobody_there_is_a_failure() -> None:
    settings = ApiSettings(llm_url=f"http://127.0.0.1:{free_port()}/v1")
    async with client(settings) as llm:
        with pytest.raises(LlmFailed, match="did not get through"):
            await llm.complete(BODY, key="k", say=lambda _: None)


class Loopback:
    """Every name is this machine's."""

    async def lookup(self, host: str, port: int) -> list[str]:
        return ["127.0.0.1"]


async def test_it_goes_nowhere_that_egress_forbids(model: Model) -> None:
    with pytest.raises(Misconfigured, match=r"HOLDFAST_API_LLM_URL: .*loopback; HOLDFAST_EGRESS_ALLOW"):
        Llm(model.settings(), AddressPolicy())
    named = model.settings(llm_url=model.url.replace("127.0.0.1", "llm.example") + "/v1")
    async with client(named, AddressPolicy(), resolver=Loopback()) as llm:
        with pytest.raises(LlmRefused, match="loopback"):
            await llm.complete(BODY, key="k", say=lambda _: None)
    assert model.requests == []
    async with client(named, LOOPBACK, resolver=Loopback()) as llm:
        assert (await llm.complete(BODY, key="k", say=lambda _: None)).text == "Hello world"


def test_settings_that_cannot_be_are_told_without_the_secret() -> None:
    for changes in ({"llm_url": f"http://me:{KEY}@127.0.0.1/v1"}, {"llm_url": "ftp://x"}, {"llm_key": KEY + "\n"}):
        with pytest.raises(Misconfigured, match="HOLDFAST_API_LLM_") as caught:
            create_app(api=ApiSettings(**{"llm_url": "https://api.example.com/v1", **changes}))
        assert KEY not in str(caught.value)
    assert KEY not in repr(ApiSettings(llm_key=KEY))
