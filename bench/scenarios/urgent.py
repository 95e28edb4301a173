"""How long somebody waits for a picture while a thousand of another tenant's batch are queued.

From the start of an upload to the answer that shows its renditions, which all come at once, so the last is the first.
One upload after the other: alone, then beside a batch that keeps every slot of its own worker busy for the whole time.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyvips

from bench import backlog
from bench.figures import Figure, Outcome, column
from bench.pace import spread_ms
from bench.scale import Scale
from bench.scenarios import Step
from bench.scenarios.accept import key_header
from bench.stage import DURABILITY, Kind, Room, Stage
from services.media.accepting import StoredSource, accept_asset
from services.media.blobs import Blobs
from services.media.options import Options
from services.media.presets import preset_set
from shared.db.sql import Statement
from shared.db.tx import open_tx
from shared.runtime.resources import Resources

QUEUED, UPLOADS, SLOTS = 1_000, 12, 2
SIDES = (2000, 1500)
LOOK_S = 0.01
BATCH = 20
QUEUES = "media,media-bulk"


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    rounds: list[dict[str, Any]] = []
    notes = [f"{SLOTS} slots for interactive pictures, {SLOTS} for the batch; pictures of 3 MP, presets `default`"]
    for number in range(1, scale.rounds + 1):
        step(f"round {number} of {scale.rounds}")
        with _settings(stage.folder / f"media-{number}"):
            rounds.append(await _round(stage, kind, step))
    figures = [
        Figure("upload → renditions beside 1,000 of a batch ÷ alone, p50", column(rounds, "ratio"), "times", "<=", 3.0),
        Figure("upload → renditions beside 1,000 of a batch, p50", column(rounds, "beside", "p50"), "ms", "<="),
        Figure("upload → renditions beside 1,000 of a batch, worst", column(rounds, "beside", "max"), "ms", "<="),
        Figure("upload → renditions alone, p50", column(rounds, "alone", "p50"), "ms", "<="),
        Figure("of the batch, ended meanwhile", column(rounds, "ended"), "jobs"),
    ]
    return Outcome("urgent", kind, DURABILITY[kind], figures, rounds, notes)


async def _round(stage: Stage, kind: Kind, step: Step) -> dict[str, Any]:
    async with stage.furnished(kind) as (room, resources):
        url = await _roles(room, resources)
        name, _, key = (await key_header(resources)).partition(": ")
        async with httpx.AsyncClient(base_url=url, headers={name: key}, timeout=60) as client:
            await _waited_ms(client, _picture(0))  # warms up
            alone = [await _waited_ms(client, _picture(seed)) for seed in range(1, UPLOADS + 1)]
            step(f"{QUEUED} of a batch")
            await _queue(resources)
            await asyncio.sleep(2)  # until its slots are busy
            began = await _ended(resources)
            beside = [await _waited_ms(client, _picture(seed)) for seed in range(UPLOADS + 1, 2 * UPLOADS + 1)]
            ended = await _ended(resources) - began
    if not 0 < ended < QUEUED - began:
        raise RuntimeError(f"the batch did not run the whole time: {ended} of it ended")
    row: dict[str, Any] = {"alone": spread_ms(alone), "beside": spread_ms(beside), "ended": ended}
    return {**row, "ratio": row["beside"]["p50"] / row["alone"]["p50"]}


async def _roles(room: Room, resources: Resources) -> str:
    room.relay(QUEUES)
    room.worker("services.media.worker:create_broker", 2 * SLOTS)
    room.worker("services.media.worker:create_bulk_broker", 2 * SLOTS, number=2)
    await backlog.worker_ready(resources.database, 2)
    return await room.http("services.media.app:create_app")


async def _waited_ms(client: httpx.AsyncClient, content: bytes) -> float:
    began_s = time.perf_counter()
    answer = await client.post("/v1/media", content=content)
    answer.raise_for_status()
    asset = answer.json()["id"]
    while True:
        shown = (await client.get(f"/v1/media/{asset}")).json()
        if shown["state"] == "processed":
            return (time.perf_counter() - began_s) * 1e3
        if shown["state"] == "failed":
            raise RuntimeError(f"a picture failed: {shown['error']}")
        await asyncio.sleep(LOOK_S)


async def _queue(resources: Resources) -> None:
    blobs = Blobs(os.environ["HOLDFAST_MEDIA_STORAGE_URL"])
    content = _picture(1_000)
    path = Path(os.environ["HOLDFAST_MEDIA_STORAGE_URL"]) / "batch.jpg"
    path.write_bytes(content)
    await blobs.put_file("sources/batch/source", path)
    source = StoredSource("sources/batch/source", len(content), hashlib.sha256(content).hexdigest())
    options = Options("default", orjson.dumps(preset_set("default").wire()).decode(), "bulk")
    for _ in range(0, QUEUED, BATCH):
        async with open_tx(resources.database, wake=resources.waker.wake) as tx:
            for _ in range(BATCH):
                await accept_asset(tx, "batch", source, "image", options)


async def _ended(resources: Resources) -> int:
    found = await resources.database.fetch(_ENDED)
    return int(found[0]["n"])


def _picture(seed: int) -> bytes:
    grey = pyvips.Image.gaussnoise(*SIDES, mean=128, sigma=30, seed=seed).gaussblur(2).cast("uchar")
    return bytes(grey.bandjoin([grey.fliphor(), grey.flipver()]).jpegsave_buffer(Q=80))


@contextmanager
def _settings(folder: Path) -> Iterator[None]:
    """For the roles of a round, which inherit this environment."""
    folder.mkdir()
    given = {"HOLDFAST_MEDIA_STORAGE_URL": str(folder), "HOLDFAST_MEDIA_SLOTS": str(SLOTS)}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


_ENDED = Statement(
    "batch_ended", "SELECT count(*) AS n FROM job WHERE task = 'media.process_in_bulk' AND state = 'completed'"
)
