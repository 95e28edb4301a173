"""The stage of a run: real servers in a folder of their own, roles as the cluster starts them, tools that end.

Whatever happens, `close` ends every process that was started here, by its pid, and removes the folder. PostgreSQL runs
with its defaults (fsync on, synchronous commit on) and notes commit times, so that "committed" is the server's word.
"""

import asyncio
import base64
import os
import secrets
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import asyncpg
import httpx
import orjson
from pydantic import SecretStr
from redis.asyncio import Redis

from holdfast.supervisor import Role, Supervisor
from shared.kernel.settings import CoreSettings
from shared.runtime.migrate import upgrade
from shared.runtime.resources import Resources, open_resources
from shared.testing.servers import Postgres, Valkey, free_port

Kind = Literal["postgres", "sqlite"]
TOOL_S = 120.0
READY_S = 30.0
ROOT = Path(__file__).parent.parent
DURABILITY = {
    "postgres": "PostgreSQL 18, fsync=on, synchronous_commit=on (off for the dispatch mark only); Valkey AOF everysec",
    "sqlite": "SQLite WAL, synchronous=FULL; Valkey AOF everysec",
}


class Stage:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-bench-"))
        self.folder.chmod(0o755)  # PostgreSQL runs as an unprivileged user, who must be able to enter it
        self.valkey = Valkey(self.folder / "valkey")
        self.postgres = Postgres(self.folder / "postgres", options=("-c", "track_commit_timestamp=on"))
        self.supervisor = Supervisor()
        self.receiver_port = 0
        self.master_key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        self._rooms = 0

    def open(self) -> None:
        self.valkey.start()
        self.postgres.start()
        log = self.folder / "receiver.log"
        self.start(Role("receiver", (sys.executable, "-m", "bench.receiver"), self.base_env(), log))
        self.receiver_port = int(_first_line(log))

    def close(self, *, keep: bool = False) -> None:
        """`keep`: leave the folder, for its logs; they are named to the reader."""
        self.supervisor.stop(15)
        self.valkey.stop()
        self.postgres.stop()
        if keep:
            print(f"logs: {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, role: Role) -> Role:
        role.start()
        self.supervisor.roles.append(role)
        return role

    def sweep(self) -> None:
        """End whatever a scenario that failed has left; the servers and the receiver stay."""
        self.end(*(role for role in self.supervisor.roles if role.name != "receiver"))

    def end(self, *roles: Role) -> None:
        """Those roles only."""
        Supervisor(list(roles)).stop(15)
        self.supervisor.roles = [role for role in self.supervisor.roles if role not in roles]

    def base_env(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    @property
    def server_pids(self) -> list[int]:
        return [server.process.pid for server in (self.valkey, self.postgres) if server.process]

    def receiver_url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.receiver_port}{path}"

    async def ask_receiver(self, path: str) -> Any:
        def ask() -> Any:
            with urllib.request.urlopen(self.receiver_url(path), timeout=10) as answer:
                return orjson.loads(answer.read())

        return await asyncio.to_thread(ask)

    async def room(self, kind: Kind) -> "Room":
        """A fresh, migrated database, and an emptied Valkey: scenarios follow one another, never share."""
        self._revive()
        self._rooms += 1
        name = f"bench_{self._rooms}"
        folder = self.folder / name
        folder.mkdir()
        url = f"sqlite:///{folder / 'holdfast.db'}" if kind == "sqlite" else await self.database(name)
        await self.flush()
        await asyncio.to_thread(lambda: asyncio.run(upgrade(url)))
        return Room(self, kind, url, folder)

    @asynccontextmanager
    async def furnished(self, kind: Kind) -> AsyncIterator[tuple["Room", Resources]]:
        """A room and the resources of an app on its database; with the block its roles end."""
        room = await self.room(kind)
        async with open_resources(room.settings) as resources:
            try:
                yield room, resources
            finally:
                room.leave()

    async def database(self, name: str) -> str:
        """A new, empty database on the run's PostgreSQL; returns its address."""
        connection = await asyncpg.connect(self.postgres.url)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        return self.postgres.url.rpartition("/")[0] + f"/{name}"

    async def flush(self) -> None:
        redis: Redis = Redis.from_url(self.valkey.url)
        await redis.flushall()
        await redis.aclose()

    def _revive(self) -> None:
        """A server that somebody killed costs one scenario, not the rest of the run."""
        for server in (self.valkey, self.postgres):
            if server.process is None or server.process.poll() is not None:
                server.start()

    async def tool(
        self, module: str, *arguments: str, env: Mapping[str, str] | None = None, python: str = sys.executable
    ) -> Any:
        """Run `python -m module …` to its end and read the JSON that it prints; killed past TOOL_S."""
        process = await asyncio.create_subprocess_exec(
            python, "-m", module, *arguments, env={**self.base_env(), **(env or {})},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(process.communicate(), TOOL_S)
        except BaseException:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            raise RuntimeError(f"{module} ended with {process.returncode}: {err.decode(errors='replace')[-2000:]}")
        return orjson.loads(out.splitlines()[-1])


class Room:
    """One database and the roles that work on it."""

    def __init__(self, stage: Stage, kind: Kind, url: str, folder: Path) -> None:
        self.stage = stage
        self.kind = kind
        self.url = url
        self.folder = folder
        self.roles: dict[str, Role] = {}

    @property
    def settings(self) -> CoreSettings:
        return CoreSettings(
            database_url=self.url, redis_url=SecretStr(self.stage.valkey.url), state_dir=self.folder / "state",
            master_key=SecretStr(self.stage.master_key), egress_allow=("127.0.0.0/8",),
        )  # fmt: skip

    def env(self) -> dict[str, str]:
        return {
            **self.stage.base_env(),
            "HOLDFAST_DATABASE_URL": self.url,
            "HOLDFAST_REDIS_URL": self.stage.valkey.url,
            "HOLDFAST_STATE_DIR": str(self.folder / "state"),
            "HOLDFAST_MASTER_KEY": self.stage.master_key,
            "HOLDFAST_EGRESS_ALLOW": "127.0.0.0/8",
            "HOLDFAST_DRAIN_LIMIT_S": "3",
        }

    def worker(
        self, broker: str, slots: int, *, number: int = 0, of: int = 1, env: Mapping[str, str] | None = None
    ) -> Role:
        """One process, exactly the cluster's command; the `number`-th of so many that are active at once."""
        return self._start(
            f"worker{number or ''}", {"HOLDFAST_SLOTS": str(of), **(env or {})},
            "-m", "taskiq", "worker", broker, "--receiver",
            "shared.transport.receiver:HoldfastReceiver", "--workers", "1", "--max-async-tasks", str(slots),
            "--no-configure-logging",
        )  # fmt: skip

    def relay(self, queue: str) -> Role:
        return self._start("relay", {"HOLDFAST_QUEUES": queue}, "-m", "shared.runtime.relay")

    async def http(self, app: str, name: str = "http") -> str:
        """An app under uvicorn, one process; returns its address once it answers."""
        port = free_port()
        self._start(
            name, {}, "-m", "uvicorn", "--factory", app, "--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop",
            "--http", "httptools", "--no-access-log", "--log-level", "warning",
        )  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient() as client:
            await until(lambda: _answers(client, address), f"{app} answers", READY_S)
        return address

    def _start(self, name: str, env: Mapping[str, str], *command: str) -> Role:
        role = Role(name, (sys.executable, *command), {**self.env(), **env}, self.folder / f"{name}.log")
        self.roles[name] = self.stage.start(role)
        return role

    def pids(self, *names: str) -> list[int]:
        return [role.process.pid for name in names if (role := self.roles.get(name)) and role.process]

    def groups(self) -> dict[str, list[int]]:
        """For `cpu.Meter`: every role by name, and the servers."""
        return {**{name: self.pids(name) for name in self.roles}, "servers": self.stage.server_pids}

    def leave(self) -> None:
        self.stage.end(*self.roles.values())
        self.roles.clear()


async def until(found: Callable[[], Any], what: str, limit_s: float, every_s: float = 0.05) -> Any:
    """The first true answer of `found`, awaited; TimeoutError past `limit_s`."""
    until_s = time.monotonic() + limit_s
    while time.monotonic() < until_s:
        if answer := await found():
            return answer
        await asyncio.sleep(every_s)
    raise TimeoutError(f"not within {limit_s:.0f} s: {what}")


async def _answers(client: httpx.AsyncClient, address: str) -> bool:
    try:
        await client.get(f"{address}/healthz", timeout=2)
    except httpx.HTTPError:
        return False
    return True


def _first_line(log: Path) -> str:
    until_s = time.monotonic() + READY_S
    while time.monotonic() < until_s:
        if (text := log.read_text()).endswith("\n"):
            return text.splitlines()[0]
        time.sleep(0.02)
    raise TimeoutError("the receiver did not start")
