"""The webhooks service's worker: what `taskiq worker services.webhooks.worker:create_broker --receiver …` loads."""

from fastapi import FastAPI

from services.webhooks.app import create_app
from services.webhooks.desk import Desk
from services.webhooks.tasks import TASKS
from shared.kernel.settings import CoreSettings, load
from shared.runtime.worker import make_broker
from shared.transport.broker import HoldfastBroker


async def start_sender(app: FastAPI) -> None:
    """Before the first delivery is claimed: reading the certificates of a machine takes a while."""
    desk: Desk = app.state.webhooks
    await desk.start()


def create_broker() -> HoldfastBroker:
    return make_broker(
        settings=load(CoreSettings), queue="webhooks", tasks=TASKS, create_app=create_app, on_active=start_sender
    )
