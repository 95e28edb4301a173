"""TLS contexts of endpoints that ask for a client certificate: one for each, kept, and never without verification.

The invariant: a private key touches no disk; where the system has no files in memory, it touches one that only this
process may read, for as long as OpenSSL reads it.
"""

import hashlib
import os
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

KEPT: Final = 256


class ClientContexts:
    """`make` builds a context that verifies servers; reading a machine's authorities takes it some milliseconds."""

    def __init__(self, make: Callable[[], ssl.SSLContext] = ssl.create_default_context) -> None:
        self._make = make
        self._kept: OrderedDict[bytes, ssl.SSLContext] = OrderedDict()

    def of(self, certificate: str, private_key: str) -> ssl.SSLContext:
        """Raises ssl.SSLError for a pair that OpenSSL does not take."""
        key = hashlib.sha256(f"{certificate}\x00{private_key}".encode()).digest()
        context = self._kept.get(key)
        if context is None:
            context = self._make()
            load_pair(context, certificate, private_key)
            self._kept[key] = context
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
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
