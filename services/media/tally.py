"""A stream on its way into the storage: counted, hashed, held to its limit, and stopped when nobody wants it any more.

Owns the size and the SHA-256 of what has passed, and the error that broke it, which the storage wraps into its own.
Refuses a stream over its limit (BlobTooLarge), and asks for room again every ROOM_EVERY_BYTES (StorageFull).
"""

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any

from services.media.errors import BlobTooLarge

ROOM_EVERY_BYTES = 16 * 1024 * 1024  # of a stream, between two looks at the disk


class Stopped(Exception):
    """Whoever stored this stream was cancelled."""


class Tally:
    """Counts and hashes a stream on its way; keeps the error that broke it."""

    def __init__(
        self, chunks: AsyncIterable[bytes], limit_bytes: int, check_room: Callable[[int], Awaitable[None]]
    ) -> None:
        self._chunks = chunks
        self._limit_bytes = limit_bytes
        self._check_room = check_room
        self._room_at = ROOM_EVERY_BYTES
        self._stopped = False
        self._pulling: asyncio.Task[Any] | None = None
        self.digest = hashlib.sha256()
        self.size_bytes = 0
        self.failure: Exception | None = None

    def stop(self) -> None:
        self._stopped = True
        if self._pulling is not None:
            self._pulling.cancel()

    def _pull(self) -> None:
        """The store asks for each chunk in a task of its own."""
        if self._stopped:
            raise Stopped
        self._pulling = asyncio.current_task()

    async def _check(self) -> None:
        if self.size_bytes > self._limit_bytes:
            text = f"the body is at least {self.size_bytes} bytes, the limit is {self._limit_bytes}"
            raise BlobTooLarge(text, limit_bytes=self._limit_bytes, found_bytes=self.size_bytes)
        if self.size_bytes > self._room_at:
            self._room_at = self.size_bytes + ROOM_EVERY_BYTES
            await self._check_room(ROOM_EVERY_BYTES)

    async def counted(self) -> AsyncIterator[bytes]:
        try:
            self._pull()
            async for chunk in self._chunks:
                self.size_bytes += len(chunk)
                await self._check()
                self.digest.update(chunk)
                self._pulling = None  # the store has its turn
                yield chunk
                self._pull()
        except asyncio.CancelledError:
            if self._stopped:
                raise Stopped from None
            raise
        except Exception as failure:
            self.failure = failure
            raise
