"""Cutting a stream: all its bytes, in their order, in pieces of at most their size, also when it breaks."""

from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect

from services.media.parts import Pieces


@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(1, 40), st.integers(0, 50), st.booleans())
async def test_pieces_together_are_the_stream(chunks: list[bytes], size: int, head: int, breaks: bool) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk
        if breaks:
            raise ClientDisconnect

    whole = b"".join(chunks)
    pieces = Pieces(stream(), size)
    seen = await pieces.head(head)
    assert whole.startswith(seen)
    assert len(seen) >= min(head, len(whole))
    found = []
    while await pieces.more():
        found.append(b"".join([chunk async for chunk in pieces.piece()]))
    assert b"".join(found) == whole
    assert all(len(piece) == size for piece in found[:-1])
    assert all(0 < len(piece) <= size for piece in found)
    assert (pieces.broke is not None) == breaks
