"""Many events in one request: each read, held to its type and planned by itself, all that are good written together.

The result of each stands at its place: 202 with what a single one would be answered, or the problem it would be refused
with. An event with an `idempotency_key` is accepted once a day for each key, in whatever batch it comes again; then its
first result is given, with `replayed`, also when it would be refused by now. Past JOBS_MAX deliveries in one batch, the
others are left to fan-out jobs, but for those to endpoints that keep an order. Past JOBS_MOST of these too, the rest is
refused, each by itself.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from services.webhooks.accepting import BatchEvent, Planned, plan_event
from services.webhooks.desk import Desk
from shared.db.tx import Tx
from shared.kernel.errors import BadInput, HoldfastError, TooLarge
from shared.runtime.keyed import Known, Part, claim_keys, known_keys
from shared.runtime.problems import from_error

BATCH_MAX: Final = 1_000
BATCH_LIMIT_BYTES: Final = 8 * 1024 * 1024
JOBS_MAX: Final = 2_000
JOBS_MOST: Final = 4_000
_BREATH: Final = 50  # events, before others have their turn
_KEY_PLACE: Final = "idempotency_key"


@dataclass(frozen=True, slots=True)
class Item:
    """One event's result; `planned` is there while it is to be written."""

    result: Mapping[str, Any]
    planned: Planned | None = None
    key: str | None = None
    fingerprint: str = ""
    same_as: int | None = None  # the place of the first event of this batch with the same key


async def plan_batch(desk: Desk, events: Sequence[Any], tenant: str, now_us: int) -> list[Item]:
    items: list[Item] = []
    first: dict[str, int] = {}
    jobs = 0
    for index, given in enumerate(events):
        item = await _item(desk, given, index, tenant, now_us, crowded=jobs >= JOBS_MAX)
        if item.key in first:
            item = _again(item, items[first[item.key]], first[item.key], index)
        if item.planned is not None:
            jobs += len(item.planned.accepted.jobs)  # of a refused one too: those after it must not overtake it
            if jobs > JOBS_MOST:
                item = replace(item, result=refusal(_no_room(jobs)), planned=None)
            elif item.key is not None:
                first[item.key] = index
        items.append(item)
        if index % _BREATH == _BREATH - 1:
            await asyncio.sleep(0)
    return items


async def claim(tx: Tx, tenant: str, items: Sequence[Item]) -> list[Item]:
    """With the results of those whose keys were used before in place of their own; these are not to be written."""
    scope = f"{tenant} webhooks.event"
    refused = {item.key for item in items if item.key is not None and item.planned is None}
    before = await known_keys(tx, scope, refused, tx.now_us)  # first: what is taken below is no answer to these
    parts = [
        Part(item.key, item.fingerprint, 202, item.result)
        for item in items
        if item.key is not None and item.planned is not None
    ]
    before |= await claim_keys(tx, scope, parts, tx.now_us) if parts else {}
    return [
        _replayed(item, before[item.key], index) if item.key in before else item for index, item in enumerate(items)
    ]


def answer_of(items: Sequence[Item]) -> dict[str, Any]:
    results = [dict(item.result) for item in items]
    for index, item in enumerate(items):
        if item.same_as is not None:
            results[index] = {**results[item.same_as], "replayed": True}
    accepted = sum(result["status"] == 202 for result in results)
    return {"items": results, "accepted": accepted, "refused": len(results) - accepted}


async def _item(desk: Desk, given: Any, index: int, tenant: str, now_us: int, *, crowded: bool) -> Item:
    try:
        event = _read(given, index)
    except RequestValidationError as invalid:
        return Item(refusal(invalid))
    key = event.idempotency_key
    fingerprint = _fingerprint(given) if key is not None else ""
    try:
        planned = await plan_event(desk, event, tenant, now_us, crowded=crowded)
    except HoldfastError as refused:
        return Item(refusal(_placed(refused, index)), None, key, fingerprint)
    return Item({"status": 202, **planned.answer}, planned, key, fingerprint)


def _no_room(jobs: int) -> TooLarge:
    return TooLarge(
        f"up to this event the batch makes {jobs} deliveries at once, the limit is {JOBS_MOST}: send it in another",
        code="batch_too_large", limit=JOBS_MOST, found=jobs,
    )  # fmt: skip


def _read(given: Any, index: int) -> BatchEvent:
    try:
        return BatchEvent.model_validate(given)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
        placed = [{**error, "loc": ("body", "events", index, *error["loc"])} for error in errors]
        raise RequestValidationError(placed) from None


def refusal(error: Exception) -> dict[str, Any]:
    response = from_error(error)
    return {"status": response.status_code, "error": orjson.loads(bytes(response.body))}


def _placed(error: HoldfastError, index: int) -> HoldfastError:
    """Its pointer leads into the batch."""
    if "pointer" in error.details:
        error.details["pointer"] = f"/events/{index}{error.details['pointer']}"
    return error


def _again(item: Item, before: Item, place: int, index: int) -> Item:
    if before.fingerprint != item.fingerprint:
        return Item(refusal(_reused(str(item.key), index)))
    return Item(before.result, same_as=place)


def _replayed(item: Item, known: Known, index: int) -> Item:
    if known.fingerprint != item.fingerprint:
        return Item(refusal(_reused(str(item.key), index)))
    return replace(item, result={**known.answer, "replayed": True}, planned=None)


def _reused(key: str, index: int) -> BadInput:
    return BadInput(
        "this idempotency_key was used before with another event", code="idempotency_key_reused",
        pointer=f"/events/{index}/{_KEY_PLACE}", found=key,
    )  # fmt: skip


def _fingerprint(given: Any) -> str:
    text = json.dumps(given, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()
