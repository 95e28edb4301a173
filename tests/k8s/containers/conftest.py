"""One system in containers for the tests that look at it, or a reason."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink

from shared.testing.servers import Postgres, Valkey, free_port

from .engine import docker, missing
from .system import System


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    # Not pytest's own folder: the users of containers must be able to enter it.
    folder = Path(tempfile.mkdtemp(prefix="holdfast-containers-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def system(place: Path) -> Iterator[System]:
    if reason := missing():
        pytest.skip(reason)
    for service in ("api", "webhooks", "media"):
        docker("image", "inspect", f"holdfast-{service}")
    (place / "servers").mkdir(mode=0o755)
    postgres, valkey = Postgres(place / "servers" / "postgres"), Valkey(place / "servers" / "valkey").start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        postgres.start()
    mail = Controller(Sink(), hostname="127.0.0.1", port=free_port())
    mail.start()
    keys = {name: base64.urlsafe_b64encode(os.urandom(32)).decode() for name in ("master-key", "media-link-key")}
    made = System(place, postgres, valkey, mail.port, keys)
    try:
        made.migrate()
        made.deploy()
        yield made
    finally:
        made.close()
        mail.stop()
        valkey.stop()
        postgres.stop()
