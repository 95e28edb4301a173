"""A backlog that is let go at one instant, and when the last of its jobs was committed.

The jobs are accepted, due at once, while their queue is paused: nothing is stopped, nothing warms up inside the
measurement, and the relay finds a full backlog as it would after an outage.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from bench.cpu import Meter
from bench.stage import Room, until
from services.webhooks.endpoints import NewEndpoint, make
from services.webhooks.events import Subscription, new_event
from services.webhooks.publishing import plan
from services.webhooks.secrets import Box
from services.webhooks.store_endpoints import add_endpoint
from shared.db.engine import Database
from shared.db.sql import Statement
from shared.db.tx import open_tx
from shared.kernel.clock import rfc3339
from shared.kernel.ids import new_id
from shared.ledger.store_accept import new_job
from shared.ledger.store_pause import pause_queue, resume_queue
from shared.runtime.addresses import AddressPolicy
from shared.runtime.resources import Resources
from shared.testing.lab import QUEUE, Noop
from shared.transport.enqueue import Accepted

TENANT = "bench"
DATA = {"asset_id": "ast_01jd0000000000000000000000", "job_id": "job_01jd0000000000000000000000", "note": "x" * 320}
LIMIT_S = 120.0
_WORKERS = Statement(
    "bench_workers", "SELECT count(*) AS n FROM incarnation WHERE role = 'worker' AND tombstone IS NULL"
)
_UNFINISHED = Statement(
    "bench_unfinished",
    """
    SELECT 1 AS n WHERE EXISTS (SELECT 1 FROM job WHERE queue = :queue AND state = 'ready')
        OR EXISTS (SELECT 1 FROM job WHERE queue = :queue AND state = 'dispatched')
        OR EXISTS (SELECT 1 FROM incarnation AS i JOIN job AS j ON j.incarnation = i.id AND j.state = 'running')
    """,
)
_ENDED = text("SELECT count(*) FROM job WHERE run_at = :due AND state = 'completed'")
_FIRST = text("SELECT min(claimed_at) FROM job WHERE run_at = :due")
# The row's last change was its completion; the server says when that transaction committed.
_LAST_COMMIT = text(
    """
    SELECT max(CAST(extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000 AS bigint))
      FROM job WHERE run_at = :due
    """
)


@dataclass(frozen=True)
class Drained:
    jobs: int
    seconds: float
    cpu_us: dict[str, float]

    @property
    def rate(self) -> float:
        return self.jobs / self.seconds

    def document(self) -> dict[str, object]:
        return {"jobs": self.jobs, "seconds": self.seconds, "rate": self.rate, "cpu_us": self.cpu_us}


async def worker_ready(database: Database, workers: int = 1) -> None:
    async def alive() -> bool:
        return int((await database.fetch(_WORKERS))[0]["n"]) >= workers

    await until(alive, f"{workers} workers", 30)


async def noops(resources: Resources, count: int) -> int:
    """Accept `count` no-ops for `drain`; returns their `run_at` (µs)."""
    now_us = await _hold(resources, QUEUE)
    jobs = [new_job(Noop(number=n), tenant=TENANT, now_us=now_us) for n in range(count)]
    await asyncio.gather(*(resources.acceptor.submit(Accepted(jobs[at : at + 100])) for at in range(0, count, 100)))
    return now_us


async def endpoint(resources: Resources, url: str, **fields: Any) -> Subscription:
    """An enabled endpoint of the bench's tenant, made as the route makes it; of every event unless `fields` say."""
    box = Box(resources.settings.master_key.get_secret_value())
    policy = AddressPolicy.from_cidrs(resources.settings.egress_allow)
    given = NewEndpoint.model_validate({"url": url, "event_types": ["*"], **fields})
    made, _ = make(given, TENANT, box, policy, resources.database.clock.now_us())
    async with open_tx(resources.database) as tx:
        await add_endpoint(tx, made)
    return Subscription(made.id, 3, given.timeout_s)


async def endpoints(resources: Resources, url: str, count: int) -> list[Subscription]:
    """So many, each a lane of its own, behind one URL."""
    return [await endpoint(resources, url) for _ in range(count)]


async def deliveries(resources: Resources, to: Sequence[Subscription], count: int) -> int:
    """Accept `count` events for `drain`, each to one of these in turn; returns the deliveries' `run_at` (µs)."""
    now_us = await _hold(resources, "webhooks")
    stamp = str(rfc3339(now_us))

    def planned(number: int) -> Accepted:
        event = new_event(
            new_id("evt"), "media.asset.processed.v1", DATA, tenant=TENANT, timestamp=stamp, now_us=now_us
        )
        return plan(event, [to[number % len(to)]])

    await asyncio.gather(*(resources.acceptor.submit(planned(number)) for number in range(count)))
    return now_us


async def drain(room: Room, resources: Resources, queue: str, due_us: int, count: int) -> Drained:
    """Let the queue go and wait for the end; from the first claim to the last committed completion."""
    database = resources.database
    meter = Meter(room.groups())
    async with resources.tx() as tx:
        await resume_queue(tx, queue)
    resources.waker.changed(queue)

    async def over() -> int:
        unfinished = await database.fetch(_UNFINISHED, {"queue": queue})
        return 0 if unfinished else time.time_ns() // 1000

    seen_us = await until(over, f"{count} jobs of {queue} ended", LIMIT_S, 0.1 if room.kind == "postgres" else 0.02)
    cpu_us = meter.per_job_us(count)
    ended = await _scalar(database, _ENDED, due_us)
    if ended != count:
        raise RuntimeError(f"{ended} of {count} completed; logs in {room.folder}")
    first_us = await _scalar(database, _FIRST, due_us)
    last_us = await _scalar(database, _LAST_COMMIT, due_us) if room.kind == "postgres" else seen_us
    return Drained(count, (last_us - first_us) / 1e6, cpu_us)


async def _scalar(database: Database, query: object, due_us: int) -> int:
    async with database.reader.connect() as connection:
        return int((await connection.execute(query, {"due": due_us})).scalar_one())  # type: ignore[call-overload]


async def _hold(resources: Resources, queue: str) -> int:
    """Pause the queue; returns now (µs)."""
    now_us = resources.database.clock.now_us()
    async with resources.tx() as tx:
        await pause_queue(tx, queue, TENANT, now_us)
    resources.waker.changed(queue)
    return now_us
