"""TLS contexts of endpoints that ask for a client certificate: one for each, kept, and never without verification.

The invariant: a private key touches no disk; where the system has no files in memory, it touches one that only this
process may read, for as long as OpenSSL reads it.
"""

import asyncio
import hashlib
import os
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

KEPT: Final = 64
"""Each holds the machine's authorities, about a megabyte."""


class ClientContexts:
    """`make` builds a context that verifies servers; reading a machine's authorities takes it tens of milliseconds."""

    def __init__(self, make: Callable[[], ssl.SSLContext] = ssl.create_default_context) -> None:
        self._make = make
        self._kept: OrderedDict[bytes, ssl.SSLContext] = OrderedDict()
        self._making: dict[bytes, asyncio.Future[ssl.SSLContext]] = {}

    async def of(self, certificate: str, private_key: str) -> ssl.SSLContext:
        """Made in a thread, so that nobody else's delivery waits. Raises ssl.SSLError for a pair that is not taken."""
        key = hashlib.sha256(f"{certificate}\x00{private_key}".encode()).digest()
        context = self._kept.get(key)
        if context is None:
            context = self._kept[key] = await self._making_of(key, certificate, private_key)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return context

    async def _making_of(self, key: bytes, certificate: str, private_key: str) -> ssl.SSLContext:
        """Once for all who wait: a burst of deliveries must not make one each."""
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = asyncio.ensure_future(asyncio.to_thread(self._made, certificate, private_key))
        try:
            return await asyncio.shield(making)
        finally:
            if making.done():
                self._making.pop(key, None)

    def _made(self, certificate: str, private_key: str) -> ssl.SSLContext:
        context = self._make()
        load_pair(context, certificate, private_key)
        return context


def load_pair(context: ssl.SSLContext, certificate: str, private_key: str) -> None:
    text = f"{private_key.rstrip()}\n{certificate.rstrip()}\n".encode()
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("pair", os.MFD_CLOEXEC)
        try:
            os.write(handle, text)
            context.load_cert_chain(f"/proc/self/fd/{handle}", password=_no_password)
        finally:
            os.close(handle)
        return
    with tempfile.NamedTemporaryFile() as file:  # 0600
        file.write(text)
        file.flush()
        context.load_cert_chain(file.name, password=_no_password)


def _no_password() -> str:
    """Instead of OpenSSL's own way, which asks at the terminal."""
    return ""
