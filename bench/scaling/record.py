"""Records an arrival curve: `python -m bench.scaling.record`, a minute and a half; writes recorded.json.

A bench run with the real relay, one real webhooks-worker and PostgreSQL: deliveries are accepted in waves, one of them
while their receiver's queue is paused, as after an outage. What the ledger says of it is kept, second by second: what
came due and what ended.
"""

import asyncio
import itertools
import json
import math
from collections import Counter
from typing import Any

import uvloop
from sqlalchemy import text

from bench import backlog, machine
from bench.scaling.arrivals import RECORDED
from bench.stage import Stage
from services.webhooks.events import Subscription, new_event
from services.webhooks.publishing import plan
from shared.kernel import logs
from shared.kernel.clock import SECOND_US, rfc3339
from shared.kernel.ids import new_id
from shared.ledger.store_pause import pause_queue, resume_queue
from shared.runtime.resources import Resources
from shared.transport.enqueue import Accepted

SECONDS = 60
PAUSED = range(20, 30)
_ROWS = text("SELECT created_at, finished_at FROM job WHERE queue = 'webhooks' AND state = 'completed'")


def wave(at: int) -> int:
    """Deliveries to accept in a second: a swell, and a gust in the middle."""
    return round(40 - 30 * math.cos(2 * math.pi * at / SECONDS)) + (120 if 38 <= at < 42 else 0)


async def record(stage: Stage) -> dict[str, Any]:
    async with stage.furnished("postgres") as (room, resources):
        to = itertools.cycle(await backlog.endpoints(resources, stage.receiver_url(), 20))
        room.relay("webhooks")
        room.worker("services.webhooks.worker:create_broker", 200)
        await backlog.worker_ready(resources.database)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for at in range(SECONDS):
            if at in (PAUSED.start, PAUSED.stop):
                await _hold(resources, held=at == PAUSED.start)
            await asyncio.gather(*(resources.acceptor.submit(_planned(resources, next(to))) for _ in range(wave(at))))
            await asyncio.sleep(max(0.0, began_s + at + 1 - loop.time()))
        async with asyncio.timeout(60):
            while len(rows := await _rows(resources)) < sum(wave(at) for at in range(SECONDS)):  # noqa: ASYNC110 - of processes
                await asyncio.sleep(0.5)
    first_us = min(created for created, _ in rows)
    came, ended = (Counter((int(row[n]) - first_us) // SECOND_US for row in rows) for n in (0, 1))
    last = max(*came, *ended) + 1
    about = machine.describe(stage.folder)
    return {
        "machine": {name: about[name] for name in ("cores", "cpu", "python", "revision")},
        "arrived": [came[at] for at in range(last)],
        "ended": [ended[at] for at in range(last)],
    }


def _planned(resources: Resources, to: Subscription) -> Accepted:
    now_us = resources.database.clock.now_us()
    event = new_event(new_id("evt"), "media.asset.processed.v1", backlog.DATA, tenant=backlog.TENANT,
                      timestamp=str(rfc3339(now_us)), now_us=now_us)  # fmt: skip
    return plan(event, [to])


async def _hold(resources: Resources, *, held: bool) -> None:
    async with resources.tx() as tx:
        if held:
            await pause_queue(tx, "webhooks", backlog.TENANT, tx.now_us)
        else:
            await resume_queue(tx, "webhooks")
    resources.waker.changed("webhooks")


async def _rows(resources: Resources) -> list[Any]:
    async with resources.database.reader.connect() as connection:
        return list(await connection.execute(_ROWS))


def main() -> None:
    logs.configure("WARNING")
    stage = Stage()
    try:
        stage.open()
        document = uvloop.run(record(stage))
    finally:
        stage.close()
    RECORDED.write_text(json.dumps(document, indent=1).replace(",\n  ", ", ") + "\n")
    print(f"{RECORDED.name}: {sum(document['arrived'])} jobs in {len(document['arrived'])} s")


if __name__ == "__main__":
    main()
