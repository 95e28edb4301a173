"""Reading what an explanation and a poll are made of.

Bounded: one event, one endpoint, the newest of its deliveries; a page of events.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

import orjson

from services.webhooks import store_explain as store
from services.webhooks.documents import attempt_document, delivery_document
from services.webhooks.explain import Facts, explained, from_attempts, waiting_for
from services.webhooks.replay import happening
from services.webhooks.sequence import numbered
from services.webhooks.standing import terms_at, terms_of
from services.webhooks.store_events import read_bodies
from services.webhooks.store_health import read_health
from services.webhooks.store_past import deleted_at, read_terms
from services.webhooks.store_replay import endpoint_row, event_head
from services.webhooks.store_sequence import last_number
from shared.db.engine import Database
from shared.db.reading import looking
from shared.db.sql import Connection, Row
from shared.kernel.clock import SECOND_US, rfc3339
from shared.kernel.errors import BadInput, NotFound
from shared.kernel.ids import id_floor, is_id
from shared.ledger.states import shown_state
from shared.ledger.store_read import read_attempts

DIGITS_MAX: Final = 18


async def explanation(
    database: Database, tenant: str, event_id: str, endpoint_id: str, keep_s: float
) -> dict[str, Any]:
    """Raises NotFound for an endpoint that the tenant never had."""
    now_us = database.clock.now_us()
    async with looking(database) as connection:
        if not is_id(endpoint_id, "ep"):
            raise NotFound(f"there is no endpoint {endpoint_id[:100]}")
        endpoint = await endpoint_row(connection, endpoint_id, tenant)
        deleted = await deleted_at(connection, endpoint_id, tenant) if endpoint is None else None
        if endpoint is None and deleted is None:
            raise NotFound(f"there is no endpoint {endpoint_id[:100]}")
        event = await event_head(connection, event_id, tenant) if is_id(event_id, "evt") else None
        if event is None:
            old = is_id(event_id, "evt") and event_id < id_floor("evt", max(0, now_us - round(keep_s * SECOND_US)))
            age_s = keep_s + 1 if old else None
            facts = Facts(
                event_id[:100], endpoint_id, now_us, keep_s, endpoint=endpoint, deleted_at=deleted, id_age_s=age_s
            )
            return explained(facts)
        history = [terms_of(row, row["at"]) for row in await read_terms(connection, endpoint_id)]
        bodies = {} if event["erased_at"] is not None else await read_bodies(connection, [event_id])
        links = await store.links(connection, event_id, endpoint_id)
        jobs = {link["job_id"]: await store.job(connection, link["job_id"], tenant) for link in links}
        waiting = await _waiting(connection, endpoint_id, [job for job in jobs.values() if job], now_us)
        spreading = not links and await store.is_spreading(connection, event_id)
    deliveries = [await _delivery(database, link, jobs[link["job_id"]], event, endpoint_id, now_us) for link in links]
    return explained(
        Facts(
            event_id, endpoint_id, now_us, keep_s,
            endpoint=endpoint, deleted_at=deleted, event=event, happening=happening(event, bodies),
            then=terms_at(history, event["created_at"]),
            now=terms_of(endpoint, endpoint["updated_at"]) if endpoint is not None else None,
            deliveries=deliveries, waiting_for=waiting, spreading=spreading,
        )
    )  # fmt: skip


async def _waiting(connection: Connection, endpoint_id: str, jobs: list[Row], now_us: int) -> str | None:
    """Of the newest that waits."""
    health = (await read_health(connection, [endpoint_id])).get(endpoint_id)
    for job in jobs:
        lane = await store.lane(connection, job["queue"], job["tenant"], job["lane"]) if job["lane"] else None
        words = waiting_for(job, lane, health, now_us)
        if words is not None:
            return words
    return None


async def _delivery(
    database: Database, link: Row, job: Row | None, event: Row, endpoint_id: str, now_us: int
) -> Mapping[str, Any]:
    attempts = await read_attempts(database, link["job_id"])
    extra = {"sequence": link["sequence"], "replay": bool(link["again"])}
    if job is None:
        shown = [attempt_document(attempt) for attempt in attempts]
        return {**from_attempts(link, (event["id"], endpoint_id, event["type"]), shown), **extra}
    row = {**job, "event_id": event["id"], "endpoint_id": endpoint_id, "event_type": event["type"]}
    return {**delivery_document(row, attempts, now_us), **extra}


async def events_after(
    database: Database, tenant: str, endpoint_id: str, after: str | None, limit: int, most_bytes: int
) -> dict[str, Any]:
    """A page of what an endpoint was to be given, oldest first, its bodies at most `most_bytes`, but at least one.

    Raises NotFound, BadInput.
    """
    now_us = database.clock.now_us()
    async with looking(database) as connection:
        endpoint = await endpoint_row(connection, endpoint_id, tenant)
        if endpoint is None:
            raise NotFound(f"there is no endpoint {endpoint_id}")
        number, job_id = await _position(connection, endpoint, after)
        rows = await store.poll(connection, endpoint_id, number=number, job_id=job_id, limit=limit + 1)
        numbers = None
        if endpoint["sequenced_at"] is not None:
            first = await store.first_number(connection, endpoint_id)
            numbers = {"first": first, "last": await last_number(connection, endpoint_id)}
    page = _within(rows[:limit], most_bytes)
    last = (str(page[-1]["sequence"]) if number is not None else page[-1]["job_id"]) if page else after
    return {
        "items": [_item(row, now_us) for row in page],
        "next_cursor": last if len(rows) > len(page) else None,
        "after": last,
        "sequence": numbers,
    }


def _within(rows: Sequence[Row], most_bytes: int) -> Sequence[Row]:
    sizes = accumulate(len(row["body"] or "") for row in rows)  # of characters; JSON of ours is mostly ASCII
    return rows[: max(1, sum(size <= most_bytes for size in sizes))]


async def _position(connection: Connection, endpoint: Row, after: str | None) -> tuple[int | None, str]:
    """(number, job): by number for an endpoint whose deliveries have numbers now, unless a cursor says otherwise."""
    if after is None:
        return (0, "") if endpoint["sequence"] else (None, "")
    if after.isascii() and after.isdigit() and len(after) <= DIGITS_MAX:
        return int(after), ""
    if is_id(after, "job"):
        return None, after
    if not is_id(after, "evt"):
        raise BadInput(
            "after is the id of an event, a sequence number, or what a page before said",
            place="query", pointer="/after", found=after[:100],
        )  # fmt: skip
    link = await store.linked(connection, after, endpoint["id"])
    if link is not None:
        return (link["sequence"], "") if endpoint["sequence"] and link["sequence"] else (None, link["job_id"])
    return None, f"job_{after[4:]}"  # ids of one time sort alike


def _item(row: Row, now_us: int) -> dict[str, Any]:
    body = row["body"]
    if body and row["sequence"] is not None:
        body = numbered(body.encode(), row["sequence"]).decode()
    return {
        "id": row["event_id"],
        "type": row["type"],
        "sequence": row["sequence"],
        "delivery_id": row["job_id"],
        "state": shown_state(row["state"], row["run_at"], row["attempt"], now_us) if row["state"] else None,
        "created_at": rfc3339(row["created_at"]),
        "erased_at": rfc3339(row["erased_at"]),
        "payload": orjson.Fragment(body) if body else None,
    }
