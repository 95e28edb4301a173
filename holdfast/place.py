"""Where a local system keeps its things: one folder, one lock, its keys in files that only their owner can read."""

import base64
import fcntl
import json
import os
import secrets
import socket
from pathlib import Path
from typing import Any

from shared.kernel.errors import Misconfigured


class Place:
    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._lock: int | None = None

    @property
    def status_file(self) -> Path:
        return self.folder / "up.json"

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def mail(self) -> Path:
        return self.folder / "mail"

    @property
    def sqlite_url(self) -> str:
        return f"sqlite:///{self.folder / 'holdfast.db'}"

    def occupy(self) -> None:
        """Make the folders and take the lock; raises Misconfigured when another system lives here."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)  # the embedded PostgreSQL passes it as a user of its own
            for part in (self.state_dir, self.logs, self.mail, self.folder / "media"):
                part.mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(self.folder / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Misconfigured(f"the data directory {self.folder} cannot be used: {error.strerror}") from None
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            self._lock = None
            raise Misconfigured(
                f"a system is already running on {self.folder}: stop it, or choose another HOLDFAST_DATA_DIR"
            ) from None

    def leave(self) -> None:
        self.status_file.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def master_key(self) -> str:
        return self._secret("master.key", lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())

    def local_key(self) -> str:
        """The API key of this folder, made once: `hf_` and 43 characters."""
        return self._secret("api.key", lambda: "hf_" + secrets.token_urlsafe(32))

    def api_key_file(self) -> Path:
        return self.folder / "api.key"

    def write_secret(self, name: str, value: str) -> None:
        path = self.folder / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(value + "\n")

    def _secret(self, name: str, make: Any) -> str:
        path = self.folder / name
        if not path.exists():
            self.write_secret(name, make())
        return path.read_text().strip()

    def write_status(self, status: dict[str, Any]) -> None:
        self.write_secret("up.json.new", json.dumps(status))
        (self.folder / "up.json.new").replace(self.status_file)

    def read_status(self) -> dict[str, Any]:
        """What a running system wrote; raises Misconfigured when none runs here, also after one that was killed."""
        try:
            status: dict[str, Any] = json.loads(self.status_file.read_text())
        except (OSError, ValueError):
            status = {}
        if not status or not Path(f"/proc/{status['pid']}").exists():
            raise Misconfigured(f"no system is running on {self.folder}: start one with `holdfast up`")
        return status


def default_place() -> Place:
    return Place(Path(os.environ.get("HOLDFAST_DATA_DIR", ".holdfast")))


def check_port(port: int) -> None:
    """Raises Misconfigured when somebody listens there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            words = error.strerror or str(error)
            raise Misconfigured(f"port {port} cannot be used ({words}): choose another with --port") from None
