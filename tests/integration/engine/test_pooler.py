"""The engine behind PgBouncer, as the production checklist has it: pooled by session, nothing ignored."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shared.testing.servers import Server, Valkey
from tests.integration.engine.engine import Do, open_engine

PROGRAM = shutil.which("pgbouncer")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs pgbouncer on the PATH")


class Pooler(Server):
    name = "PgBouncer"

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, None)
        self._behind = urlsplit(url)

    @property
    def url(self) -> str:
        login, _, _ = self._behind.netloc.rpartition("@")
        return self._behind._replace(netloc=f"{login}@127.0.0.1:{self.port}").geturl()

    def _launch(self) -> None:
        self.folder.mkdir(mode=0o755, exist_ok=True)
        users, settings = self.folder / "users", self.folder / "settings"
        users.write_text(f'"{self._behind.username}" "{self._behind.password or ""}"\n')
        settings.write_text(
            f"[databases]\n* = host=127.0.0.1 port={self._behind.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {users}\npool_mode = session\n"
        )
        assert PROGRAM is not None
        nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
        self._spawn([PROGRAM, "-q", *nobody, str(settings)])
        self._await(self._answers)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def pooler(postgres_ledger_url: str, server_folder: Path) -> Iterator[Pooler]:
    started = Pooler(server_folder / "pooler", postgres_ledger_url)
    started.start()
    yield started
    started.stop()


async def test_relay_and_worker_do_their_work_behind_it(pooler: Pooler, valkey: Valkey, tmp_path: Path) -> None:
    """Sessions of one's own and their locks, prepared statements, what is set in a session, transactions."""
    ran: list[int] = []

    async def note(command: Do) -> None:
        ran.append(command.number)

    async with open_engine(pooler.url, valkey.url, tmp_path) as engine:
        engine.handle(Do, note)
        await engine.start()
        ids = await engine.enqueue(*(Do(number=number) for number in range(200)))
        assert {row["state"] for row in await engine.ended(*ids)} == {"completed"}
        assert sorted(ran) == list(range(200))
