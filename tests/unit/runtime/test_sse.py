"""Server-Sent Events: what is written can be read, however it is cut, and odd streams read as the standard says."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from shared.runtime import sse
from shared.runtime.sse import LINE_LIMIT_CHARS, Event, EventStream, Reader

WORDS = st.text(st.characters(exclude_characters="\r\n\x00", exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.text(st.characters(exclude_categories=["Cs"])), lambda v: st.dictionaries(WORDS, v)
)


def read(reader: Reader, stream: bytes, sizes: list[int]) -> list[Event]:
    found, at = [], 0
    while at < len(stream):
        size = sizes.pop() if sizes else 7
        found += reader.feed(stream[at : at + size])
        at += size
    return found


@given(st.lists(st.tuples(WORDS.filter(bool), VALUES, WORDS)), st.lists(st.integers(1, 50)), st.booleans())
def test_what_is_written_can_be_read_in_any_pieces(
    events: list[tuple[str, object, str]], sizes: list[int], crlf: bool
) -> None:
    import orjson

    stream = b"".join(Event(name, data, id_).encode() + sse.comment("alive") for name, data, id_ in events)
    found = read(Reader(), stream.replace(b"\n", b"\r\n") if crlf else stream, sizes)
    # A space after the colon is the writer's; one more is the value's own.
    assert [(one.name, orjson.loads(one.data)) for one in found] == [(name, data) for name, data, _ in events]
    last = ""
    for one, (_, _, id_) in zip(found, events, strict=True):
        last = id_ or last
        assert one.id == last


@pytest.mark.parametrize(
    ("stream", "events", "last_id"),
    [
        (b"data: YHOO\ndata: +2\n\n", [("message", "YHOO\n+2", "")], ""),
        (b": c\n\ndata: first\nid: 1\n\ndata:second\nid\n\ndata:  third\n\n", [
            ("message", "first", "1"), ("message", "second", ""), ("message", " third", ""),
        ], ""),
        (b"id: 7\n\n", [], "7"),
        (b"id: a\x00b\ndata: x\n\n", [("message", "x", "")], ""),
        (b"\xef\xbb\xbfdata: x\r\rdata: y\r\n\r\n", [("message", "x", ""), ("message", "y", "")], ""),
        (b"event: only\n\ndata\n\n", [("message", "", "")], ""),
        (b"data: cut", [], ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_streams_read_as_the_standard_says(
    stream: bytes, events: list[tuple[str, str, str]], last_id: str, size: int
) -> None:
    reader = Reader()
    found = read(reader, stream, [size] * 100)
    assert [(one.name, one.data, one.id) for one in found] == events
    assert reader.last_id == last_id


def test_the_hint_to_come_back_is_heard_and_nonsense_is_not() -> None:
    reader = Reader("5")
    assert reader.feed(sse.retry(1.5)) == []
    assert (reader.retry_s, reader.last_id) == (1.5, "5")
    reader.feed(b"retry: soon\n\n")
    assert reader.retry_s == 1.5


def test_a_line_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="no end"):
        Reader().feed(b"x" * (LINE_LIMIT_CHARS + 1))


class Ended(Exception):
    pass


async def _stream(
    send: Callable[[Message], Awaitable[None]], events: AsyncGenerator[bytes], ended: list[str], limit_s: float = 60.0
) -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    await EventStream(events, limit_s, on_end=lambda: ended.append("ended"))({}, receive, send)


async def _endless(ended: list[str]) -> AsyncGenerator[bytes]:
    try:
        while True:
            yield sse.comment()
    finally:
        ended.append("closed")


async def test_a_client_that_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "SLOW_S", 0.05)
    ended: list[str] = []

    async def stuck(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    await asyncio.wait_for(_stream(stuck, _endless(ended), ended, limit_s=0.0), 10)
    assert sorted(ended) == ["closed", "ended"]


async def test_what_fails_in_a_stream_reaches_the_server_and_lets_go() -> None:
    ended: list[str] = []
    sent: list[Message] = []

    async def failing() -> AsyncGenerator[bytes]:
        yield b"x"
        raise Ended

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(Ended):
        await asyncio.wait_for(_stream(send, failing(), ended), 10)
    assert ended == ["ended"]
    assert [message.get("body") for message in sent] == [None, b"x"], "half an answer does not look like a whole one"
