"""A whole local system: embedded servers, migrated schema, keys, and every role as a process of its own.

`up`, `demo` and the fault tests all start this one. One HTTP process serves the three apps, one relay, one worker for
each queue; where somebody waits for its work, it has a warm standby, which takes over within milliseconds when its
process is killed.
"""

import asyncio
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from holdfast.ledger import run_upgrade
from holdfast.place import Place
from holdfast.supervisor import Role, Supervisor
from shared.contracts.commands import QUEUES
from shared.contracts.commands.media import BRINGS_MOST
from shared.db.tx import open_tx
from shared.kernel.settings import CoreSettings
from shared.runtime.callers import create_key
from shared.runtime.resources import open_resources
from shared.testing.servers import Postgres, Valkey, free_port

STANDBYS = {"media-bulk": 0}  # one, unless nobody waits for the queue
CONCURRENCY = {"api": 50, "webhooks": 200}
RECEIVER = "shared.transport.receiver:HoldfastReceiver"


@dataclass
class System:
    place: Place
    port: int
    use_postgres: bool = False
    extra_env: dict[str, str] = field(default_factory=dict)
    media_slots: int = max(1, min(4, (os.cpu_count() or 2)))

    def __post_init__(self) -> None:
        self.valkey = Valkey(self.place.folder / "valkey")
        self.postgres = Postgres(self.place.folder / "postgres") if self.use_postgres else None
        self.supervisor = Supervisor()
        self.mail_port = free_port()
        self.api_key = ""
        self._migrated = False
        self._told: dict[str, int] = {}

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database_url(self) -> str:
        given = os.environ.get("HOLDFAST_DATABASE_URL")
        if self.postgres is not None:
            return self.postgres.url
        return given or self.place.sqlite_url

    def start(self) -> None:
        """Servers, schema, key, roles; returns when the processes have been started, not when they are ready."""
        self.valkey.start()
        if self.postgres is not None:
            self.postgres.start()
        self.migrate()
        self.api_key = asyncio.run(self._ensure_key())
        self.supervisor.roles = self._roles()
        self.supervisor.start()
        self._told = self._pids()
        self.place.write_status(self._status())

    def migrate(self) -> None:
        """Bring the schema to its newest version, once; raises Misconfigured when the database does not let us."""
        os.umask(0o077)  # what is written from here on holds addresses, mail and uploads
        if not self._migrated:
            asyncio.run(run_upgrade(self.database_url))
            self._migrated = True

    def stop(self) -> list[str]:
        """Drain the roles, then stop the servers; returns the roles that had to be killed."""
        drain_limit_s = float(self.env().get("HOLDFAST_DRAIN_LIMIT_S", "25"))
        late = self.supervisor.stop(drain_limit_s + 10)
        self.valkey.stop()
        if self.postgres is not None:
            self.postgres.stop()
        return late

    def tend(self) -> list[str]:
        """Restart what has died, servers too; returns the names of the dead."""
        died = []
        for server in (self.valkey, self.postgres):
            if server is not None and server.process is not None and server.process.poll() is not None:
                died.append(f"{server.name} (exit {server.process.returncode})")
                server.start()
        died += self.supervisor.tend()
        if self._told != (roles := self._pids()):  # so that `status` names the processes that there are now
            self._told = roles
            self.place.write_status(self._status())
        return died

    def await_ready(self, limit_s: float = 60.0) -> None:
        """Until /readyz says that every role is ready; raises TimeoutError with what was missing."""
        until_s = time.monotonic() + limit_s
        said = "nothing answered"
        while time.monotonic() < until_s:
            self.tend()
            try:
                answer = httpx.get(f"{self.base_url}/readyz", timeout=3)
                said = answer.text
                if answer.status_code == 200:
                    return
            except httpx.HTTPError as error:
                said = repr(error)
            time.sleep(0.1)
        raise TimeoutError(f"not ready after {limit_s:.0f} s: {said}; see the logs in {self.place.logs}")

    def env(self) -> dict[str, str]:
        local = {
            "HOLDFAST_DATABASE_URL": self.database_url,
            "HOLDFAST_REDIS_URL": self.valkey.url,
            "HOLDFAST_STATE_DIR": str(self.place.state_dir),
            "HOLDFAST_MASTER_KEY": self.place.master_key(),
            "HOLDFAST_MEDIA_STORAGE_URL": f"file://{self.place.folder / 'media'}",
            "HOLDFAST_MEDIA_SLOTS": str(self.media_slots),
            "HOLDFAST_EGRESS_ALLOW": "127.0.0.0/8,::1/128",
            "HOLDFAST_API_SMTP_URL": f"smtp://127.0.0.1:{self.mail_port}",
            "PYTHONUNBUFFERED": "1",
        }
        kept = {name: value for name, value in os.environ.items() if name in _OVERRIDABLE}
        return {**os.environ, **local, **kept, **self.extra_env}

    def _roles(self) -> list[Role]:
        env = self.env()
        python = sys.executable

        def role(name: str, *command: str) -> Role:
            return Role(name, (python, "-m", *command), env, self.place.logs / f"{name}.log")

        http = ("uvicorn", "--factory", "holdfast.front:create_app", "--host", "127.0.0.1", "--port", str(self.port))
        roles = [
            role("http", *http, "--loop", "uvloop", "--http", "shared.runtime.heads:BoundedHttp",
                 "--no-access-log", "--timeout-graceful-shutdown", "10", "--log-level", "warning"),
            *(self._worker(role, queue) for queue in QUEUES),
            role("relay", "shared.runtime.relay"),
        ]  # fmt: skip
        if env["HOLDFAST_API_SMTP_URL"].endswith(f":{self.mail_port}"):
            roles.append(role("mail", "holdfast.mailbox", str(self.mail_port), str(self.place.mail)))
        return roles

    def _worker(self, role: Any, queue: str) -> Role:
        """Exactly the command of the cluster, with a standby beside the one that works where somebody waits."""
        slots = int(self.env()["HOLDFAST_MEDIA_SLOTS"])
        concurrency = CONCURRENCY.get(queue, 2 * slots) + (BRINGS_MOST if queue == "media" else 0)
        made: Role = role(
            f"{queue}-worker", "taskiq", "worker", _factory(queue), "--receiver", RECEIVER,
            "--workers", str(1 + STANDBYS.get(queue, 1)), "--max-async-tasks", str(concurrency),
            "--no-configure-logging",
        )  # fmt: skip
        return made

    async def _ensure_key(self) -> str:
        """The local key, for everything: one for the folder, brought along to whatever database is used from it."""
        settings = CoreSettings(database_url=self.database_url, redis_url=self.valkey.url)
        key = self.place.local_key()
        async with open_resources(settings) as resources, open_tx(resources.database) as tx:
            await create_key(tx, name="local", tenant="default", scopes=["*"], plaintext=key)
        return key

    def _status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "base_url": self.base_url,
            "api_key": self.api_key,
            "redis_url": self.valkey.url,
            "database_url": self.database_url,
            "mail": str(self.place.mail),
            "logs": str(self.place.logs),
            "roles": self._pids(),
        }

    def _pids(self) -> dict[str, int]:
        return {role.name: role.process.pid for role in self.supervisor.roles if role.process}


def _factory(queue: str) -> str:
    service, _, part = queue.partition("-")
    return f"services.{service}.worker:create_{part}_broker" if part else f"services.{service}.worker:create_broker"


_OVERRIDABLE = frozenset(
    {
        "HOLDFAST_API_SMTP_URL",
        "HOLDFAST_MEDIA_STORAGE_URL",
        "HOLDFAST_MEDIA_SLOTS",
        "HOLDFAST_EGRESS_ALLOW",
        "HOLDFAST_MASTER_KEY",
    }
)


def local_system(folder: Path, port: int | None = None, *, use_postgres: bool = False, **env: str) -> System:
    place = Place(folder)
    place.occupy()
    return System(place, port or free_port(), use_postgres=use_postgres, extra_env=env)
