"""The same shop, counting what it loses: only the type of `tasks` and the lifespan are new."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from shared.kernel.settings import CoreSettings, load
from shared.runtime.resources import open_resources
from shared.runtime.shadow import ShadowTasks


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
    async def order(order_id: str, email: str, tasks: ShadowTasks) -> dict[str, str]:
        tasks.add_task(send_receipt, order_id, email=email)
        return {"id": order_id}

    return app
