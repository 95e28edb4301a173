"""A shop that answers first and sends the receipt afterwards: with FastAPI's own BackgroundTasks."""

import asyncio
import os
from pathlib import Path

from fastapi import BackgroundTasks, FastAPI


async def send_receipt(order_id: str, email: str) -> None:
    await asyncio.sleep(0.5)  # a mail server takes its time
    (Path(os.environ["OUTBOX"]) / f"{order_id}.txt").write_text(f"to {email}\n")


def create_app() -> FastAPI:
    app = FastAPI()

    @app.post("/orders/{order_id}", status_code=201)
    async def order(order_id: str, email: str, tasks: BackgroundTasks) -> dict[str, str]:
        tasks.add_task(send_receipt, order_id, email=email)
        return {"id": order_id}

    return app
