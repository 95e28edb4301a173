"""Fan-out: one job that makes the deliveries of an event which more than `publishing.FANOUT_AT` endpoints take.

It walks over the tenant's endpoints by id, BATCH at a time, and each batch is one short transaction: the cursor moves
and the deliveries are made, or neither. So a process that is killed at any moment loses a batch at most, whoever goes
on begins after the last one, and no endpoint has two. An endpoint is told when it was there before the event, is
enabled when its turn comes, and takes the event as it stands then.
"""

import json
from collections.abc import Sequence
from typing import Final

import orjson

from services.webhooks import store_fanout as store
from services.webhooks.desk import Desk
from services.webhooks.events import NewEvent, Subscription
from services.webhooks.patterns import matches
from services.webhooks.publishing import delivery_job
from services.webhooks.store_audience import read_endpoint_page, subscription
from services.webhooks.store_sequence import numbering
from shared.db.sql import Row
from shared.db.tx import Tx
from shared.kernel.faultpoints import strike
from shared.ledger.store_accept import NewJob
from shared.runtime.resources import Resources
from shared.transport.attempt import Attempt, Dead
from shared.transport.enqueue import enqueue_all

BATCH: Final = 250


async def fan_out(event_id: str, attempt: Attempt, desk: Desk, resources: Resources) -> None:
    """Ends the attempt."""
    found = await store.look(resources.database, event_id)
    if found is None or found["tenant"] != attempt.tenant:
        raise Dead("the event is not there any more")
    known = (await desk.catalogue.audience(attempt.tenant)).types.get(found["type"])
    event = _event(event_id, found, known.attempts if known is not None else None)
    total = await store.count_endpoints_of(resources.database, event.tenant)
    seen, after = found["seen"], found["after"]
    while page := await read_endpoint_page(resources.database, event.tenant, after, BATCH):
        if await _batch(resources, event, page, after, total):
            seen, after = seen + len(page), page[-1]["id"]
        else:  # an attempt that was given up for lost has gone on
            found = await store.look(resources.database, event_id)
            if found is None or found["finished_at"] is not None:
                break  # or its event was purged: the cursor moves for nobody any more
            seen, after = found["seen"], found["after"]
        strike("fanout.batch")
        attempt.progress(seen / max(total, seen), f"{seen} of {total} endpoints")
    async with attempt.tx() as tx:
        await store.end(tx, event_id, tx.now_us)
        attempt.result = {"event": event_id, "endpoints": seen}


async def _batch(resources: Resources, event: NewEvent, page: Sequence[Row], after: str, total: int) -> bool:
    """False when the fan-out is not at `after` any more: then nothing was made."""
    told = [to for row in page if (to := _told(event, row)) is not None]
    async with resources.tx() as tx:
        jobs = [delivery_job(event, to, tx.now_us) for to in told]
        moved = await store.move(
            tx, event.id, after=after, to=page[-1]["id"], seen=len(page), made=len(jobs), total=total
        )
        if not moved:
            return False
        made = await _make(tx, event, jobs, told)
        if made < len(jobs):
            await store.take_back(tx, event.id, len(jobs) - made)
    return True


async def _make(tx: Tx, event: NewEvent, jobs: list[NewJob], told: list[Subscription]) -> int:
    links = [(event.id, to.endpoint_id, job.id) for to, job in zip(told, jobs, strict=True)]
    counted = {to.endpoint_id for to in told if to.numbered}
    new = await store.link_new(tx, [one for one in links if one[1] not in counted])
    if counted:
        numbered = [one for one in links if one[1] in counted]
        for statement, rows in numbering(numbered):
            await tx.fetch(statement, None, rows)
        new |= await store.linked(tx, event.id, numbered)
    await enqueue_all(tx, [job for job in jobs if job.id in new])
    return len(new)


def _told(event: NewEvent, row: Row) -> Subscription | None:
    if not row["enabled"] or row["created_at"] > event.created_at:
        return None
    if not any(matches(pattern, event.type) for pattern in orjson.loads(row["event_types"])):
        return None
    to = subscription(row)
    return to if to.takes(event) else None


def _event(event_id: str, row: Row, attempts: int | None) -> NewEvent:
    body = row["body"]
    return NewEvent(
        event_id, row["tenant"], row["type"], body, row["created_at"], row["ordering_key"],
        tuple(orjson.loads(row["channels"])) if row["channels"] else (), attempts,
        json.loads(body) if body else {},  # not orjson: it has no integers above 64 bits
    )  # fmt: skip
