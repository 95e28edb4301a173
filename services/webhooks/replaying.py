"""A replay as it is asked for, counted, started, worked on and shown.

The replay is a job: its id, its progress and its cancelling are the job's. It works in steps of half a second of its
pace, and what it has made stays when it is cancelled. Its row says how far it is, and is all that an attempt needs.
Refuses an instant before the events that are kept, a pace that would never end, and more replays at once than a bound.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from math import ceil
from typing import Annotated, Any, Final, Self

import orjson
from pydantic import AfterValidator, Field, model_validator

from services.webhooks import store_replay as store
from services.webhooks.models_replay import Replay
from services.webhooks.replay import SENT, Source, What, carry_out
from shared.contracts.commands.webhooks import ReplayEvents
from shared.db.engine import Database
from shared.db.reading import looking
from shared.db.tx import Tx
from shared.kernel.clock import from_rfc3339, rfc3339
from shared.kernel.errors import BadInput, Conflict, NotFound
from shared.kernel.faultpoints import strike
from shared.runtime.bodies import Body
from shared.runtime.paths import id_of
from shared.runtime.resources import Resources
from shared.transport.attempt import Attempt, Discard, Retry
from shared.transport.enqueue import enqueue

RATE_PER_S: Final = 100.0
STEP_S: Final = 0.5
STEP_MOST: Final = 200  # deliveries of one transaction
OPEN_MOST: Final = 10
LANE: Final = "replays"  # of each tenant: a pace is waited for in a worker's slot, and an attempt may last an hour
COUNT_S: Final = 5.0  # of a dry run; what it has counted by then is what it says
ATTEMPT_SHARE: Final = 0.9


def _instant(text: str) -> str:
    from_rfc3339(text)
    return text


Instant = Annotated[str, Field(max_length=40), AfterValidator(_instant)]


class NewReplay(Body):
    """`event`: `event_id`, and `endpoint_id` for that one only; `failed` and `missing`: `endpoint_id` and `since`."""

    what: What
    endpoint_id: Annotated[str, Field(max_length=100), id_of("ep", "endpoint")] | None = None
    event_id: Annotated[str, Field(max_length=100), id_of("evt", "event")] | None = None
    since: Instant | None = None
    until: Instant | None = None
    rate_per_s: float = Field(RATE_PER_S, ge=0.1, le=1_000, description="deliveries that are made in a second")
    dry_run: bool = False

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.what == "event":
            if self.event_id is None or self.since is not None or self.until is not None:
                raise ValueError("a replay of an event names event_id, and no time")
        elif self.endpoint_id is None or self.since is None or self.event_id is not None:
            raise ValueError(f"a replay of what is {self.what} names endpoint_id and since, and no event")
        return self


def replay_of(given: NewReplay, tenant: str, now_us: int, keep_s: float) -> Replay:
    """Its row, without an id or a position yet. Raises BadInput."""
    earliest = now_us - round(keep_s * 1e6)
    since = from_rfc3339(given.since) if given.since is not None else earliest
    until = min(from_rfc3339(given.until), now_us) if given.until is not None else now_us
    if since < earliest:
        raise BadInput(
            f"events are kept for {keep_s / 86_400:g} days: the earliest instant is {rfc3339(earliest)}",
            pointer="/since", found=given.since,
        )  # fmt: skip
    if since >= until:
        raise BadInput("since must be before until, and in the past", pointer="/since", found=given.since)
    return Replay(
        id="", tenant=tenant, what=given.what, endpoint_id=given.endpoint_id, event_id=given.event_id, since=since,
        until=until, rate=given.rate_per_s, state="running", position="", created_at=now_us,
    )  # fmt: skip


async def source_of(connection: Any, row: Mapping[str, Any], *, must_be_enabled: bool = True) -> Source:
    """Raises NotFound, Conflict."""
    source = await Source.of(connection, row)
    if source is None:
        missing = row["event_id"] if row["endpoint_id"] is None else f"{row['event_id'] or ''} {row['endpoint_id']}"
        raise NotFound(f"there is no event or endpoint {missing.strip()}")
    if must_be_enabled and source.endpoint is not None and not source.endpoint["enabled"]:
        raise Conflict("the endpoint is disabled: enable it first", code="endpoint_disabled")
    return source


async def count(database: Database, row: Mapping[str, Any], keep_s: float) -> dict[str, Any]:
    """What a replay would send, by kind; `complete` is false when there was more to look at than there was time."""
    kinds: Counter[str] = Counter()
    looked_at, done = 0, False
    until_s = database.clock.monotonic_s() + COUNT_S
    async with looking(database) as connection:
        source = await source_of(connection, row, must_be_enabled=False)
        position = source.start(keep_s)
        while not done and database.clock.monotonic_s() < until_s:
            step = await source.step(connection, position)
            kinds.update(step.kinds)
            looked_at, position, done = looked_at + step.seen, step.position, step.done
    return {**_counted(kinds), "dry_run": True, "looked_at": looked_at, "complete": done}


async def start(tx: Tx, replay: Replay, keep_s: float) -> Replay:
    """In a transaction: the job, and the row with its id. Raises NotFound, Conflict."""
    source = await source_of(tx, replay.model_dump())
    if await store.count_open(tx, replay.tenant) >= OPEN_MOST:
        raise Conflict(f"{OPEN_MOST} replays are under way: wait for one, or cancel it", code="too_many_replays")
    replay.id = await enqueue(tx, ReplayEvents(), tenant=replay.tenant, lane=LANE)
    replay.position = source.start(keep_s)
    replay.total = await store.count(tx, source.what, source.span, replay.position)
    await store.add(tx, replay)
    return replay


async def work(attempt: Attempt, resources: Resources) -> None:
    """The job: until nothing is left, or its process is to end; ends the attempt."""
    clock = resources.database.clock
    give_up_s = clock.monotonic_s() + attempt.claim.timeout_s * ATTEMPT_SHARE
    pace_s = clock.monotonic_s()
    while True:
        row = await _row(resources.database, attempt.job_id)
        made, done = await _step(resources, row)
        strike("replay.step")
        _report(attempt, row)
        if done:
            return await _end(attempt, row)
        pace_s = max(pace_s, clock.monotonic_s() - STEP_S) + made / row["rate"]
        await _wait(attempt, pace_s - clock.monotonic_s())
        if attempt.is_stopping or clock.monotonic_s() > give_up_s:
            raise Retry(0.0, "goes on in another attempt")


async def _wait(attempt: Attempt, for_s: float) -> None:
    """At most as long as a slow pace asks, and no longer than a moment when its process is to end."""
    for _ in range(ceil(max(0.0, for_s) / STEP_S)):
        if attempt.is_stopping:
            return
        await asyncio.sleep(min(for_s, STEP_S))
        for_s -= STEP_S


async def _row(database: Database, replay_id: str) -> dict[str, Any]:
    async with looking(database) as connection:
        row = await store.read(connection, replay_id)
    if row is None or row["state"] != "running":
        raise Discard("the replay was cancelled")
    return dict(row)


async def _step(resources: Resources, row: dict[str, Any]) -> tuple[int, bool]:
    """How many deliveries were made, and whether that was all; `row` is as it is afterwards."""
    most = max(1, min(STEP_MOST, int(row["rate"] * STEP_S)))
    async with looking(resources.database) as connection:
        source = await Source.of(connection, row)
        if source is None or (source.endpoint is not None and not source.endpoint["enabled"]):
            raise Discard("the endpoint or the event is not there any more, or the endpoint is disabled")
        step = (await source.step(connection, row["position"])).cut(most)
    if not step.seen:
        return 0, True
    kinds = Counter(orjson.loads(row["kinds"]))
    kinds.update(step.kinds)
    seen = row["seen"] + step.seen
    values = {
        "id": row["id"], "was": row["position"], "position": step.position, "seen": seen,
        "total": max(row["total"], seen), "kinds": orjson.dumps(dict(kinds)).decode(),
    }  # fmt: skip
    async with resources.tx() as tx:
        # First, so that of two attempts one waits here, and then finds that it is not its turn.
        if not await store.advance(tx, {**values, "sent": row["sent"]}):
            return 0, False
        made = await carry_out(tx, row["id"], source, step)
        await store.advance(tx, {**values, "was": step.position, "sent": row["sent"] + made})
        strike("replay.uncommitted")
    row.update(values, sent=row["sent"] + made)
    return made, step.done


async def _end(attempt: Attempt, row: Mapping[str, Any]) -> None:
    async with attempt.tx() as tx:
        await store.end(tx, row["id"], "completed", tx.now_us)
        attempt.result = {"sent": row["sent"], **_counted(Counter(orjson.loads(row["kinds"])))}


def _report(attempt: Attempt, row: Mapping[str, Any]) -> None:
    attempt.progress(row["seen"] / row["total"] if row["total"] else 1.0, f"{row['sent']} sent")


def document(row: Mapping[str, Any], job_state: str | None) -> dict[str, Any]:
    """`state` is the job's where that ended first. `sent` counts deliveries that were made, `kinds` why."""
    state = row["state"]
    if state == "running" and job_state in (None, "cancelled", "dead"):
        state = "failed" if job_state == "dead" else "cancelled"
    return {
        "id": row["id"],
        "what": row["what"],
        "endpoint_id": row["endpoint_id"],
        "event_id": row["event_id"],
        "since": rfc3339(row["since"]) if row["what"] != "event" else None,
        "until": rfc3339(row["until"]) if row["what"] != "event" else None,
        "rate_per_s": row["rate"],
        "state": state,
        "progress": 1.0 if state == "completed" else round(row["seen"] / row["total"], 4) if row["total"] else 0.0,
        "looked_at": row["seen"],
        "sent": row["sent"],
        **_counted(Counter(orjson.loads(row["kinds"]))),
        "created_at": rfc3339(row["created_at"]),
        "finished_at": rfc3339(row["finished_at"]),
        "follow": f"/v1/jobs/{row['id']}/events",
    }


def _counted(kinds: Counter[str]) -> dict[str, Any]:
    """`deliveries` are those that are sent, by kind; `skipped` those that are left alone, by why."""
    return {
        "deliveries": sum(number for kind, number in kinds.items() if kind in SENT),
        "kinds": {kind: number for kind, number in sorted(kinds.items()) if kind in SENT},
        "skipped": {kind: number for kind, number in sorted(kinds.items()) if kind not in SENT},
    }
