"""The media service's worker: `taskiq worker services.media.worker:create_broker --receiver …`.

Its concurrency should be twice the slots: one call running and one at hand for each, so that no slot idles.
"""

from fastapi import FastAPI

from services.media.app import create_app
from services.media.pool import Pool
from services.media.tasks import TASKS
from shared.kernel.settings import CoreSettings, load
from shared.runtime.worker import make_broker
from shared.transport.broker import HoldfastBroker


async def start_pool(app: FastAPI) -> None:
    pool: Pool = app.state.pool
    await pool.start()


def create_broker() -> HoldfastBroker:
    return make_broker(
        settings=load(CoreSettings), queue="media", tasks=TASKS, create_app=create_app, on_active=start_pool
    )
