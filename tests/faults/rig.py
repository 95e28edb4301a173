"""A rig for fault tests: real servers, real relay and worker processes, and load; then kill, stop, wipe, and check.

Workers run the lab's tasks through Taskiq's own command line. A worker with a state directory of its own is one whose
death nobody nearby can prove; two processes of one worker share it, so the second succeeds the first.
"""

import asyncio
import os
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import text

from holdfast.place import Place
from holdfast.status import active_workers
from holdfast.supervisor import Role, Supervisor
from shared.contracts.command import Command
from shared.db.engine import Database
from shared.kernel.settings import CoreSettings
from shared.ledger.audit import audit
from shared.ledger.store_accept import new_job
from shared.runtime.resources import Resources
from shared.testing.lab import QUEUE
from shared.testing.servers import Postgres, Valkey
from shared.transport.enqueue import Accepted
from tests.faults.lanes import ATTEMPTS, lane_of, overfull

SETTLE_S = 60.0
_MOVING = text("SELECT count(*) FROM job WHERE state IN ('ready', 'dispatched', 'running')")
_RUNNING = text("SELECT count(*) FROM job WHERE state = 'running'")
_ENDED = text("SELECT count(*) FROM job WHERE state IN ('completed', 'dead', 'cancelled')")
_AGAIN = text(
    """
    SELECT a.job_id, min(b.started_at) AS again FROM job_attempt AS a
      JOIN job_attempt AS b ON b.job_id = a.job_id AND b.fence > a.fence
     WHERE a.outcome IN ('crashed', 'lost') GROUP BY a.job_id
    """
)


class Rig:
    def __init__(self, folder: Path, url: str, valkey: Valkey, postgres: Postgres | None) -> None:
        self.folder = folder
        self.url = url
        self.valkey = valkey
        self.postgres = postgres
        self.supervisor = Supervisor()
        self.resources: Resources
        self.accepted: list[str] = []

    @property
    def settings(self) -> CoreSettings:
        return CoreSettings(database_url=self.url, redis_url=self.valkey.url, state_dir=self.folder / "state-0")

    @property
    def database(self) -> Database:
        return self.resources.database

    # Processes

    def worker(
        self, name: str = "w", *, state: str = "state-0", processes: int = 1, slots: int = 20, **env: str
    ) -> Role:
        factory = "shared.testing.lab:create_broker"
        return self.worker_of(factory, name, state=state, processes=processes, slots=slots, **env)

    def worker_of(
        self, factory: str, name: str, *, state: str = "state-0", processes: int = 1, slots: int = 20, **env: str
    ) -> Role:
        command = (
            sys.executable, "-m", "taskiq", "worker", factory, "--receiver",
            "shared.transport.receiver:HoldfastReceiver", "--workers", str(processes),
            "--max-async-tasks", str(slots), "--no-configure-logging",
        )  # fmt: skip
        return self._start(name, command, state, env)

    def relay(self, name: str = "relay", **env: str) -> Role:
        return self._start(name, (sys.executable, "-m", "shared.runtime.relay"), "state-relay", env)

    def _start(self, name: str, command: Sequence[str], state: str, env: dict[str, str]) -> Role:
        place = self.folder / state
        place.mkdir(exist_ok=True)
        role = Role(name, command, {**self._env(), "HOLDFAST_STATE_DIR": str(place), **env}, self.log(name))
        role.start()
        self.supervisor.roles.append(role)
        return role

    def _env(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOLDFAST_DATABASE_URL": self.url,
            "HOLDFAST_REDIS_URL": self.valkey.url,
            "HOLDFAST_QUEUES": QUEUE,
            "HOLDFAST_BEAT_S": "0.4",
            "HOLDFAST_LEASE_S": "3",
            "HOLDFAST_WEDGED_S": "2",
            "HOLDFAST_DRAIN_LIMIT_S": "3",
            "HOLDFAST_UNKNOWN_TASK_PATIENCE_S": "4",
        }

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def logged(self, name: str, words: str) -> int:
        return self.log(name).read_text(errors="replace").count(words)

    def active(self, state: str = "state-0", queue: str = QUEUE) -> list[int]:
        """The pids of the processes that run jobs there."""
        place = Place(self.folder)
        return active_workers(place, queue, place.folder / state)

    def stop(self) -> None:
        self.supervisor.stop(10)

    # Load

    async def enqueue(self, *commands: Command) -> list[str]:
        """Durable when it returns; an unanswered accept is tried again, as a client would."""
        now_us = self.database.clock.now_us()
        jobs = [
            new_job(command, tenant="t", now_us=now_us, lane=lane_of(number, command))
            for number, command in enumerate(commands)
        ]
        for start in range(0, len(jobs), 100):
            await self.resources.acceptor.submit(Accepted(jobs[start : start + 100]))
        ids = [job.id for job in jobs]
        self.accepted += ids
        return ids

    # Watching

    async def until(self, query: Any, least: int, what: str, limit_s: float = SETTLE_S) -> int:
        until_s = time.monotonic() + limit_s
        found = -1
        while time.monotonic() < until_s:
            self.supervisor.tend()
            try:
                async with self.database.reader.connect() as connection:
                    found = (await connection.execute(query)).scalar_one()
            except Exception:
                await asyncio.sleep(0.1)
                continue
            if found >= least:
                return found
            await asyncio.sleep(0.02)
        raise AssertionError(f"{what}: {found} of {least} after {limit_s:.0f} s; logs in {self.folder}")

    async def until_running(self, least: int) -> None:
        await self.until(_RUNNING, least, "running jobs")

    async def until_ended(self, least: int, limit_s: float = SETTLE_S) -> None:
        await self.until(_ENDED, least, "ended jobs", limit_s)

    async def until_workers(self, least: int) -> None:
        query = text("SELECT count(*) FROM incarnation WHERE role = 'worker' AND tombstone IS NULL")
        await self.until(query, least, "workers")

    async def until_buried(self, least: int) -> None:
        """And their jobs given back: until then what they finish is still theirs, and nobody else's."""
        query = text(
            "SELECT count(*) FROM incarnation AS n WHERE n.tombstone LIKE 'lost: no beat%' "
            "AND NOT EXISTS (SELECT 1 FROM job AS j WHERE j.incarnation = n.id AND j.state = 'running')"
        )
        await self.until(query, least, "buried incarnations")

    async def until_logged(self, name: str, words: str, limit_s: float = 10.0) -> None:
        until_s = time.monotonic() + limit_s
        while not self.logged(name, words):
            assert time.monotonic() < until_s, f"{name} never logged {words}"
            await asyncio.sleep(0.05)

    async def rows(self, query: str, **values: Any) -> list[Any]:
        async with self.database.reader.connect() as connection:
            return list((await connection.execute(text(query), values)).all())

    async def settled(self, limit_s: float = SETTLE_S) -> dict[str, int]:
        """Every accepted job has ended, the audit holds, and so did the lanes; returns how many ended in each state."""
        await self.until_ended(len(self.accepted), limit_s)
        report = await audit(self.database)
        assert report.ok, report.report()
        assert report.accepted == len(self.accepted), "what was accepted is not what the test sent"
        twice = await self.rows(
            "SELECT job_id FROM job_attempt WHERE outcome = 'completed' GROUP BY job_id HAVING count(*) > 1"
        )
        assert not twice, "a job has two recorded results"
        assert overfull(await self.rows(ATTEMPTS)) == []
        return report.states

    async def recovery_s(self, since_us: int, name: str) -> list[float]:
        """From the fault to each hit job's next start; printed, because the targets speak of it."""
        async with self.database.reader.connect() as connection:
            rows = (await connection.execute(_AGAIN)).all()
        times = sorted((row.again - since_us) / 1e6 for row in rows)
        if times:
            print(
                f"\n    {name}: {len(times)} jobs started again after median {statistics.median(times):.2f} s, "
                f"first {times[0]:.2f} s, last {times[-1]:.2f} s"
            )
        return times

    async def halt(self, pids: Sequence[int]) -> int:
        """Stop them where none of them writes: on SQLite, whoever is stopped in a write holds up all others."""
        async with self.database.transaction():
            return self.kill(pids, signal.SIGSTOP)

    def kill(self, pids: Sequence[int], signum: int = signal.SIGKILL) -> int:
        """Returns when, in µs."""
        for pid in pids:
            os.kill(pid, signum)
        return time.time_ns() // 1000
