"""The media service's workers: `taskiq worker services.media.worker:create_broker --receiver …`.

One serves pictures that somebody waits for, the other (`create_bulk_broker`) what may take long: films, sounds and
batches. Each has slots of its own, so that nothing long stands before a picture; where both have work, the kernel gives
the pictures most of the processor. The concurrency of each should be twice its slots: one call running and one at hand
for each, so that no slot idles.
"""

from collections.abc import Callable, Sequence
from functools import partial

from fastapi import FastAPI

from services.media.app import create_app
from services.media.pool import Pool
from services.media.scratch import move_in
from services.media.slots.sandbox import ON
from services.media.tasks import TASKS
from shared.contracts.commands.media import ProcessAsset, ProcessInBulk
from shared.kernel.logs import get_logger
from shared.kernel.settings import CoreSettings, load
from shared.runtime.health import Standing
from shared.runtime.worker import make_broker
from shared.transport.broker import HoldfastBroker

BULK_NICENESS = 15
log = get_logger(__name__)


async def start_pool(app: FastAPI) -> None:
    pool: Pool = app.state.pool
    app.state.scratch = move_in()
    await pool.start()
    off = {name: words for name, words in pool.protection.items() if words != ON}
    if off:
        log.warning("media_slots_unprotected", slots=len(pool.pids()), off=off)
    else:
        log.info("media_slots_protected", slots=len(pool.pids()), on=list(pool.protection))


def standing(app: FastAPI) -> list[Standing]:
    """The slots, and each protection of theirs: one that is not required is only a degradation."""
    pool: Pool = app.state.pool
    required: Sequence[str] = app.state.media_settings.required_protections
    problem = None if pool.pids() else "no media slot is ready"
    return [
        Standing("slots", problem),
        *(
            Standing(name, None if words == ON else words, required=name in required)
            for name, words in pool.protection.items()
        ),
    ]


def create_broker() -> HoldfastBroker:
    return _broker(ProcessAsset.queue, create_app)


def create_bulk_broker() -> HoldfastBroker:
    return _broker(ProcessInBulk.queue, partial(create_app, niceness=BULK_NICENESS))


def _broker(queue: str, app: Callable[[], FastAPI]) -> HoldfastBroker:
    return make_broker(
        settings=load(CoreSettings),
        queue=queue,
        tasks={command: handler for command, handler in TASKS.items() if command.queue == queue},
        create_app=app,
        on_active=start_pool,
        standing=standing,
    )
