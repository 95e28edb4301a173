"""The container engine, and the way from its network to the servers of this machine.

The engine must run on this machine: folders are mounted into its containers, and they reach Valkey, PostgreSQL and
the mail server on the gateway of their network, where a `Passage` passes connections on to the loopback.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import shutil
import socket
import subprocess
import threading
from typing import Any

PIECE_BYTES = 65_536


def missing() -> str | None:
    """Why there is no engine with the three images, or None."""
    if not os.environ.get("HOLDFAST_CONTAINERS"):
        return "HOLDFAST_CONTAINERS is not set (to 1, for images of `make images` in the engine of `docker`)"
    if shutil.which("docker") is None:
        return "there is no docker on this machine"
    return None


def docker(*words: str, check: bool = True, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0 or not check, f"docker {' '.join(words)}: {done.stderr[-2000:]}"
    return done


def inspect(name: str) -> dict[str, Any]:
    [found] = json.loads(docker("inspect", name).stdout)
    answer: dict[str, Any] = found
    return answer


class Network:
    """A bridge of its own; `gateway` is this machine's address on it."""

    def __init__(self) -> None:
        self.name = f"holdfast-{secrets.token_hex(4)}"
        docker("network", "create", self.name)
        self.gateway: str = inspect(self.name)["IPAM"]["Config"][0]["Gateway"]

    def remove(self) -> None:
        docker("network", "rm", self.name)


class Passage:
    """Connections to a port of the gateway, passed on to the same port of the loopback."""

    def __init__(self, gateway: str, port: int) -> None:
        self._port = port
        self._listener = socket.create_server((gateway, port), backlog=256)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._port), 5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            threading.Thread(target=_pass_on, args=(near, far), daemon=True).start()


def _pass_on(near: socket.socket, far: socket.socket) -> None:
    with near, far, selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
        selector.register(near, selectors.EVENT_READ, far)
        selector.register(far, selectors.EVENT_READ, near)
        while True:
            for key, _ in selector.select():
                piece = key.fileobj.recv(PIECE_BYTES)  # type: ignore[union-attr]
                if not piece:
                    return
                key.data.sendall(piece)
