"""A server that speaks the API of language models, as well or as badly as a test tells it to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from services.api.settings import ApiSettings

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]
KEY = "sk-secret-0123456789"
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "completion_tokens_details": {"x": 1}}


def event(document: Any) -> bytes:
    return b"data: " + (document if isinstance(document, str) else json.dumps(document)).encode() + b"\n\n"


def delta(content: str | None, **more: Any) -> bytes:
    return event({"model": "small-1", "choices": [{"index": 0, "delta": {"content": content}, **more}]})


END = delta(None, finish_reason="stop") + event({"choices": [], "usage": USAGE}) + event("[DONE]")


class Model:
    """`replies` are taken one after the other; the last one stays."""

    def __init__(self) -> None:
        self.url = ""
        self.replies: list[Reply] = [tokens("Hello", " wor", "ld")]
        self.requests: list[tuple[dict[str, str], Any]] = []
        self.left = asyncio.Event()  # somebody has gone in the middle of an answer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(({name.lower(): value for name, value in request.headers.items()}, await request.json()))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        try:
            return await reply(request)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise

    def given(self, **changes: Any) -> dict[str, Any]:
        own = {"llm_url": self.url + "/v1/", "llm_key": KEY, "llm_model": "small", "llm_budget_s": 15.0}
        return {**own, **changes}

    def settings(self, **changes: Any) -> ApiSettings:
        return ApiSettings(**self.given(**changes))


@asynccontextmanager
async def serving() -> AsyncIterator[Model]:
    model, app = Model(), web.Application()
    app.router.add_post("/v1/chat/completions", model.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    model.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield model
    finally:
        await runner.cleanup()


async def begun(request: web.Request, content_type: str = "text/event-stream") -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": content_type})
    await answer.prepare(request)
    return answer


def tokens(*words: str, pause_s: float = 0.0, end: bytes = END) -> Reply:
    return pieces(*(delta(word) for word in words), end, pause_s=pause_s)


def pieces(*parts: bytes, pause_s: float = 0.0, content_type: str = "text/event-stream") -> Reply:
    """The bytes as they are, and a proper end of the response."""

    async def reply(request: web.Request) -> web.StreamResponse:
        answer = await begun(request, content_type)
        for part in parts:
            await answer.write(part)
            await asyncio.sleep(pause_s)
        await answer.write_eof()
        return answer

    return reply


def cut_after(*words: str, when: asyncio.Event | None = None) -> Reply:
    """The connection is lost in the middle; `when` that is to be, or soon."""

    async def reply(request: web.Request) -> web.StreamResponse:
        answer = await begun(request)
        for word in words:
            await answer.write(delta(word))
        await (asyncio.sleep(0.05) if when is None else when.wait())
        assert request.transport is not None
        request.transport.abort()
        return answer

    return reply


def held_after(*words: str, keep_alive: bytes = b"", until: asyncio.Event | None = None, rest: bytes = END) -> Reply:
    """Some words, and then nothing (or keep-alives) until it is told to go on: never, unless it is."""

    async def reply(request: web.Request) -> web.StreamResponse:
        answer = await begun(request)
        for word in words:
            await answer.write(delta(word))
        while until is None or not until.is_set():
            await asyncio.sleep(0.02)
            if keep_alive:
                await answer.write(keep_alive)
        await answer.write(rest)
        await answer.write_eof()
        return answer

    return reply


def refusing(status: int, document: Any, **headers: str) -> Reply:
    async def reply(_: web.Request) -> web.StreamResponse:
        return web.json_response(document, status=status, headers=headers)

    return reply
