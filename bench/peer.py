"""A peer as a contestant: its worker is a process of `.venv-peers`, told and counted by `bench/peers/`.

On PostgreSQL its completions are read as ours are; on Valkey the last run is the end, which is early for whoever
acknowledges afterwards. What is filled and buried is made by plain SQL, without the rows that its triggers would add.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from bench import venv
from bench.commits import committed_us, execute, settle
from bench.contestant import Contestant, Drain
from bench.cpu import Meter
from bench.stage import Stage, until
from holdfast.supervisor import Role
from shared.kernel.ids import new_id

VALKEY_LIMIT_S = 60.0  # without a count of completions half a drain says nothing
ON_VALKEY = "Valkey AOF everysec; to the last run"
ON_POSTGRES = "PostgreSQL 18, fsync=on, synchronous_commit=on; to the last committed completion"


@dataclass(frozen=True)
class Tables:
    """Of a peer on PostgreSQL. `fill`: $1 jobs that wait; `bury`: statements that end all of those."""

    names: str
    completed: str
    fill: str
    bury: tuple[str, ...]


@dataclass(frozen=True)
class Spec:
    name: str
    module: str
    tuned: bool
    command: tuple[str, ...]  # of the worker, after the environment's folder of programs
    bulk: bool = False
    slow: bool = False
    tables: Tables | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def durability(self) -> str:
        return ON_POSTGRES if self.tables else ON_VALKEY


class Peer(Contestant):
    def __init__(self, stage: Stage, spec: Spec) -> None:
        super().__init__(stage)
        self.spec, self.name, self.durability, self.slow = spec, spec.name, spec.durability, spec.slow
        self._url = ""
        self._holder: Any = None

    async def open(self) -> None:
        if self.spec.tables:
            self._url = await self.stage.database(new_id("peer"))
            await self._tool("setup")

    async def close(self) -> None:
        if self._holder is not None:
            await self._holder.close()
            self._holder = None

    async def empty(self) -> None:
        if self.spec.tables:
            await execute(self._url, f"TRUNCATE {self.spec.tables.names}")
        else:
            await self.stage.flush()

    async def enqueue(self, one: int, bulk: int) -> dict[str, float | None]:
        if not self.spec.bulk:
            return {"one": (await self._tool("one", one + bulk))["rate"], "bulk": None}
        return {"one": (await self._tool("one", one))["rate"], "bulk": (await self._tool("bulk", bulk))["rate"]}

    async def fill(self, count: int, **shape: int) -> None:
        if self.spec.tables is None or shape:
            await super().fill(count, **shape)
            return
        connection = await asyncpg.connect(self._url)
        await connection.execute("SET session_replication_role = replica")  # no triggers: nobody listens yet
        await connection.execute(self.spec.tables.fill, count)
        await connection.close()

    async def bury(self, count: int) -> None:
        if self.spec.tables is None:
            await super().bury(count)
            return
        await self.fill(count)
        self._holder = await asyncpg.connect(self._url)
        await self._holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await self._holder.fetch("SELECT 1 FROM pg_class")
        await execute(self._url, "SET session_replication_role = replica", *self.spec.tables.bury)

    async def drain(self, many: int, limit_s: float) -> Drain:
        if self.spec.tables:
            await settle(self._url)
        else:
            limit_s = max(limit_s, VALKEY_LIMIT_S)
        out = self.stage.folder / f"{new_id('peer')}.json"
        program, *arguments = self.spec.command
        env = {**self._env(), "BENCH_TOTAL": str(many), "BENCH_OUT": str(out)}
        log = self.stage.folder / f"{self.spec.module.rpartition('.')[2]}.log"
        role = self.stage.start(Role("peer", (venv.binary(program), *arguments), env, log))
        try:
            told = await until(lambda: _read(out, "first_ns"), f"{self.name} begins; see {log}", 30, 0.005)
            first_us = told["first_ns"] // 1000
            pids = [role.process.pid] if role.process else []
            meter = Meter({"worker": pids, "servers": self.stage.server_pids})
            try:
                told = await until(lambda: _read(out, "last_ns"), f"{self.name} ends; see {log}", limit_s, 0.02)
            except TimeoutError:
                if self.spec.tables is None:
                    raise
            spent = meter.total_us()
            last_us, jobs = await self._end(told, first_us, many)
            cpu_us = {name: round(us / max(jobs, 1), 1) for name, us in spent.items()}
            return Drain(many, jobs, (last_us - first_us) / 1e6, cpu_us)
        finally:
            await asyncio.to_thread(self.stage.end, role)

    async def _end(self, told: dict[str, int], first_us: int, many: int) -> tuple[int, int]:
        """When the last completion was committed, and how many there were."""
        if self.spec.tables is None:
            return told["last_ns"] // 1000, many
        until_s = time.monotonic() + 10
        while True:
            at_us = await committed_us(self._url, self.spec.tables.completed, first_us, many)
            if len(at_us) >= many or "last_ns" not in told or time.monotonic() > until_s:
                return at_us[-1], len(at_us)
            await asyncio.sleep(0.05)

    async def _tool(self, *arguments: object) -> Any:
        words = [str(argument) for argument in arguments]
        return await self.stage.tool(self.spec.module, *words, env=self._env(), python=venv.python())

    def _env(self) -> dict[str, str]:
        return {
            **self.stage.base_env(), **self.spec.env, "BENCH_PG": self._url, "BENCH_REDIS": self.stage.valkey.url,
            "BENCH_TUNED": str(int(self.spec.tuned)),
        }  # fmt: skip


async def _read(out: Path, wanted: str) -> dict[str, int] | None:
    try:
        told: dict[str, int] = orjson.loads(out.read_bytes())  # noqa: ASYNC240 - a few bytes
    except FileNotFoundError:
        return None
    return told if wanted in told else None
