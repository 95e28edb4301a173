"""The same shop, whose receipts are sent whatever dies: a decorator, the type of `tasks`, and a worker."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from shared.kernel.settings import CoreSettings, load
from shared.runtime.resources import open_resources
from shared.runtime.tasks import DurableTasks
from shared.runtime.worker import make_broker
from shared.transport.broker import HoldfastBroker
from shared.transport.durable import durable, tasks_of


@durable(task="shop.send_receipt", queue="shop", timeout_s=30)
async def send_receipt(order_id: str, email: str) -> None:
    await asyncio.sleep(0.5)
    (Path(os.environ["OUTBOX"]) / f"{order_id}.txt").write_text(f"to {email}\n")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with open_resources(load(CoreSettings)) as app.state.resources:
        yield


def create_app() -> FastAPI:
    app = FastAPI(lifespan=lifespan)

    @app.post("/orders/{order_id}", status_code=201)
    async def order(order_id: str, email: str, tasks: DurableTasks) -> dict[str, str]:
        tasks.add_task(send_receipt, order_id, email=email)
        return {"id": order_id}

    return app


def create_broker() -> HoldfastBroker:
    """For `taskiq worker after:create_broker --receiver shared.transport.receiver:HoldfastReceiver`."""
    return make_broker(settings=load(CoreSettings), queue="shop", tasks=tasks_of(send_receipt), create_app=create_app)
