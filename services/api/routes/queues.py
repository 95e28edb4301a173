"""Queues: how much is due and runnable, and for how long; paused and resumed. Of the whole queue: it has no tenant."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from services.api.deps import Held, MayReadQueues, MayWriteQueues, QueueName
from services.api.queues import known_queues
from shared.db.reading import looking
from shared.kernel.clock import rfc3339
from shared.kernel.logs import get_logger
from shared.ledger import store_pause as store
from shared.ledger.store_backlog import read_backlog
from shared.runtime.examples import example
from shared.runtime.idempotency import Idempotent
from shared.runtime.json_bodies import JsonRoute
from shared.runtime.resources import Resources

router = APIRouter(prefix="/queues", tags=["queues"], route_class=JsonRoute)
log = get_logger(__name__)
_BACKLOG = {"backlog": 42, "oldest_age_s": 3.2, "paused": False, "paused_at": None}
_PAUSED = {"name": "webhooks", "paused": True, "paused_at": "2026-01-31T12:00:00.123456Z"}
_RESUMED = {"name": "webhooks", "paused": False, "paused_at": None}


@router.get(
    "",
    summary="Every queue and its backlog",
    responses=example({"items": [{"name": "webhooks", **_BACKLOG}], "next_cursor": None}),
)
async def show_queues(_: MayReadQueues, resources: Held) -> dict[str, Any]:
    async with looking(resources.database) as connection:
        queues = await known_queues(connection)
    items = [{"name": queue, **await _backlog(resources, queue)} for queue in queues]
    return {"items": items, "next_cursor": None}


@router.get("/{name}/backlog", summary="What a queue could work on now", responses=example(_BACKLOG))
async def show_backlog(_: MayReadQueues, name: QueueName, resources: Held) -> dict[str, Any]:
    """`backlog`: jobs that are running, dispatched, or due and held back by nothing: neither what is for later, nor
    what is paused, nor of a lane more than it has room for (an approximation; past 100,000 a lower bound).
    `oldest_age_s`: since the oldest of them was due.
    """
    return await _backlog(resources, name)


@router.post("/{name}/pause", summary="Start nothing more in a queue", responses=example(_PAUSED))
async def pause(caller: MayWriteQueues, name: QueueName, once: Idempotent, resources: Held) -> Response:
    """Running jobs go on; what no worker has claimed goes back into line. It stays paused whatever restarts."""
    async with once.tx() as tx:
        paused_at = await store.pause_queue(tx, name, caller.key_id, tx.now_us)
        tx.after_commit(lambda: _told(resources, "queue_paused", name, caller.key_id))
        return once.answer(200, {"name": name, "paused": True, "paused_at": rfc3339(paused_at)})


@router.post(
    "/{name}/resume",
    summary="Let a paused queue go on",
    responses=example(_RESUMED),
)
async def resume(caller: MayWriteQueues, name: QueueName, once: Idempotent, resources: Held) -> Response:
    async with once.tx() as tx:
        await store.resume_queue(tx, name)
        tx.after_commit(lambda: _told(resources, "queue_resumed", name, caller.key_id))
        return once.answer(200, {"name": name, "paused": False, "paused_at": None})


def _told(resources: Resources, event: str, queue: str, key_id: str) -> None:
    log.info(event, queue=queue, by=key_id)
    resources.waker.changed(queue)


async def _backlog(resources: Resources, queue: str) -> dict[str, Any]:
    now_us = resources.database.clock.now_us()
    found = await read_backlog(resources.database, queue, now_us)
    return {
        "backlog": found.backlog,
        "oldest_age_s": 0.0 if found.oldest is None else max(0, now_us - found.oldest) / 1e6,
        "paused": found.paused_at is not None,
        "paused_at": rfc3339(found.paused_at),
    }
