"""Where the processor time of a durable delivery goes, in the worker that makes it.

The worker of `deliveries`, sampled by its own processor time (`bench.sampler`), and asked for the same drains. The
timer costs a little itself: what is published of a delivery's CPU is what `deliveries` measures.
"""

from pathlib import Path
from typing import Any

import orjson

from bench import backlog
from bench.figures import Figure, Outcome, column
from bench.sampler import FILE, ROOMS
from bench.scale import Scale
from bench.scenarios import Step
from bench.scenarios.deliveries import ENDPOINTS, SLOTS
from bench.stage import DURABILITY, Kind, Stage


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    rounds: list[dict[str, Any]] = []
    async with stage.furnished(kind) as (room, resources):
        to = await backlog.endpoints(resources, stage.receiver_url(), ENDPOINTS)
        kept = room.folder / "samples.json"
        room.relay("webhooks")
        room.worker("bench.sampler:create_broker", SLOTS, env={FILE: str(kept)})
        await backlog.worker_ready(resources.database)
        for number in range(scale.rounds + 1):
            step("warming up" if not number else f"round {number} of {scale.rounds}")
            before = _samples(kept)
            due_us = await backlog.deliveries(resources, to, scale.deliveries)
            drained = await backlog.drain(room, resources, "webhooks", due_us, scale.deliveries)
            if number:
                rounds.append({**drained.document(), "shares": _shares(before, _samples(kept))})
    figures = [
        Figure(f"of a delivery's CPU in the worker: {room}", column(rounds, "shares", room), "%", "<=")
        for room in ROOMS
    ]
    return Outcome("anatomy", kind, DURABILITY[kind], figures, rounds)


def _samples(kept: Path) -> dict[str, int]:
    found: dict[str, int] = orjson.loads(kept.read_bytes()) if kept.exists() else {}
    return found


def _shares(before: dict[str, int], after: dict[str, int]) -> dict[str, float]:
    """Percent by room, of what was seen in between. RuntimeError when that was too little to say."""
    seen = {room: after.get(room, 0) - before.get(room, 0) for room in ROOMS}
    total = sum(seen.values())
    if total < 100:
        raise RuntimeError(f"{total} samples of the worker: is its timer running?")
    return {room: 100 * count / total for room, count in seen.items()}
