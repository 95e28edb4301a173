"""A server's own port, encrypted: what comes by TLS is handed on in the clear to a real server that speaks none.

As servers of the cloud stand behind theirs. PostgreSQL's way to begin is its own: the client asks in the clear, and is
answered with one byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

ASKS_FOR_TLS = bytes.fromhex("0000000804d2162f")


@asynccontextmanager
async def encrypted(context: ssl.SSLContext, port: int, *, postgres: bool) -> AsyncIterator[int]:
    """Yields the port of the front of 127.0.0.1:`port`; refuses a client that does not ask for TLS."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await _serve(reader, writer)
        finally:
            running.discard(task)
            writer.close()

    async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if postgres:
            if await reader.readexactly(len(ASKS_FOR_TLS)) != ASKS_FOR_TLS:
                return
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(context)
        behind, to_behind = await asyncio.open_connection("127.0.0.1", port)
        there, back = asyncio.create_task(_pipe(reader, to_behind)), asyncio.create_task(_pipe(behind, writer))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in (there, back):
                way.cancel()
            to_behind.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=None if postgres else context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
