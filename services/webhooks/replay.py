"""Sending again: what there is to send of one event, of what failed, of what was missed; counted, or done at a pace.

A step looks at the next rows after the replay's position and says of each whether it is to be sent and why (pure); it
is carried out in one transaction: deliveries, links and the new position. So a replay that is killed anywhere goes on
where its last commit was, and neither repeats nor leaves out anything. A delivery that had failed goes out as the job
that it was; an event that the endpoint was never given gets its first link; one that it was given, a link of its own.
Refuses to send what waits already, what was erased, and the past of before the events that are kept.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final, Literal

import orjson

from services.webhooks import store_replay as store
from services.webhooks.events import NewEvent
from services.webhooks.publishing import delivery_job
from services.webhooks.standing import Happening, Terms, may_want, terms_at, terms_of, wants
from services.webhooks.store_audience import subscription
from services.webhooks.store_events import read_bodies
from services.webhooks.store_past import read_terms
from shared.db.sql import Connection, Row
from shared.db.tx import Tx
from shared.kernel.ids import id_floor
from shared.ledger.store_accept import NewJob
from shared.ledger.store_dead import retry_jobs
from shared.transport.enqueue import enqueue_all

What = Literal["event", "failed", "missing"]
BODIES_AT_ONCE: Final = 32
PRIORITY: Final = 6  # after what is new
SENT: Final = frozenset({"unattempted", "disabled", "filtered", "before_endpoint", "failed", "cancelled", "delivered"})
"""What is sent; `pending` and `erased` are counted, and left alone."""
_UNWANTED: Final = ("EndpointDisabled",)


@dataclass(frozen=True, slots=True)
class Candidate:
    """`job_id` is the delivery that there is, of state `job_state` (None when it is purged)."""

    position: str
    event_id: str
    endpoint: Row
    kind: str
    type: str = ""
    ordering_key: str | None = None
    job_id: str | None = None
    job_state: str | None = None


@dataclass(frozen=True)
class Step:
    """`seen` rows up to `position`; `done` when there are none after it."""

    position: str
    seen: int
    candidates: Sequence[Candidate] = field(default_factory=tuple)
    done: bool = False

    @property
    def kinds(self) -> Counter[str]:
        return Counter(one.kind for one in self.candidates)

    @property
    def to_send(self) -> list[Candidate]:
        return [one for one in self.candidates if one.kind in SENT]

    def cut(self, most: int) -> "Step":
        """Up to the `most`-th delivery; what comes after it is for the next step."""
        if len(self.to_send) <= most:
            return self
        last = self.to_send[most - 1].position
        kept = [one for one in self.candidates if one.position <= last]
        return Step(last, len(kept), kept)


class Source:
    """Where a replay's rows come from. `of` reads what all its steps need; None when its endpoint or event is gone."""

    def __init__(
        self, row: Mapping[str, Any], endpoint: Row | None, event: Row | None, history: Sequence[Terms]
    ) -> None:
        self.what: What = row["what"]
        self.tenant: str = row["tenant"]
        self.since: int = row["since"]
        self.until: int = row["until"]
        self.endpoint = endpoint
        self.event = event
        self.history = history
        end_us = self.until + 1_000
        self.span = {"tenant": self.tenant, "endpoint": row["endpoint_id"], "event": row["event_id"]}
        if self.what == "event":
            only = row["endpoint_id"]
            self.span["end"] = f"{only}~" if only else "ep_~"
        else:
            self.span["end"] = id_floor(store.PREFIXES[self.what], end_us)

    @classmethod
    async def of(cls, connection: Connection, row: Mapping[str, Any]) -> "Source | None":
        endpoint = event = None
        history: list[Terms] = []
        if row["endpoint_id"] is not None:
            endpoint = await store.endpoint_row(connection, row["endpoint_id"], row["tenant"])
            if endpoint is None:
                return None
            history = [terms_of(one, one["at"]) for one in await read_terms(connection, row["endpoint_id"])]
        if row["event_id"] is not None:
            event = await store.event_head(connection, row["event_id"], row["tenant"])
            if event is None:
                return None
        return cls(row, endpoint, event, history)

    def start(self, keep_s: float) -> str:
        """The position before the first row. A failure of later may be of a delivery that was accepted before."""
        if self.what == "missing":
            return id_floor("evt", self.since)
        if self.what == "failed":
            return id_floor("job", max(0, self.since - round(keep_s * 1e6)))
        only = self.endpoint["id"] if self.endpoint is not None else None
        return f"{only[:-1]}" if only else "ep_"

    async def step(self, connection: Connection, after: str, limit: int = store.LOOK_ROWS) -> Step:
        rows = await store.look(connection, self.what, self.span, after, limit)
        if self.what == "missing":
            found = await self._missing(connection, rows)
        elif self.what == "failed":
            found = [one for row in rows if (one := self._failed(row)) is not None]
        else:
            found = await self._of_event(connection, rows)
        position = rows[-1]["id"] if rows else after
        return Step(position, len(rows), found, done=len(rows) < limit)

    async def _missing(self, connection: Connection, rows: Sequence[Row]) -> list[Candidate]:
        assert self.endpoint is not None
        now = terms_of(self.endpoint, self.endpoint["updated_at"])
        rows = [row for row in rows if self.since <= row["created_at"] < self.until]
        found = []
        for some in _pieces(rows):
            bodies = await _bodies(connection, [row for row in some if self._by_filter(row, now)], [now, *self.history])
            for row in some:
                event = happening(row, bodies)
                if row["job_id"] is None and not wants(now, event):
                    continue
                kind = missing_kind(row, self.endpoint["created_at"], terms_at(self.history, row["created_at"]), event)
                if kind is not None:
                    given = (row["type"], row["ordering_key"], row["job_id"], row["job_state"])
                    found.append(Candidate(row["id"], row["id"], self.endpoint, kind, *given))
            await asyncio.sleep(0)  # filters of a hundred large bodies: others have their turn
        return found

    def _by_filter(self, row: Row, now: Terms) -> bool:
        """Whether its payload is looked at: by the filter of now, or, when there is none, by that of then."""
        asks = now if now.filter is not None else terms_at(self.history, row["created_at"])
        return row["job_id"] is None and asks is not None and may_want(asks, happening(row, {}))

    def _failed(self, row: Row) -> Candidate | None:
        assert self.endpoint is not None
        if row["job_state"] != "dead" or not self.since <= row["finished_at"] < self.until:
            return None
        kind = "erased" if row["there"] is None or row["erased_at"] is not None else "failed"
        return Candidate(row["id"], row["event_id"], self.endpoint, kind, "", None, row["job_id"], "dead")

    async def _of_event(self, connection: Connection, rows: Sequence[Row]) -> list[Candidate]:
        """Every endpoint that wants it now; one that was named gets it whatever it subscribes to."""
        assert self.event is not None
        event = self.event
        terms = [terms_of(row, row["updated_at"]) for row in rows]
        happened = happening(event, await _bodies(connection, [event], terms))
        return [
            Candidate(
                row["id"], event["id"], row, event_kind(row, erased=event["erased_at"] is not None),
                event["type"], event["ordering_key"], row["job_id"], row["job_state"],
            )
            for row, one in zip(rows, terms, strict=True)
            if one.enabled and (self.endpoint is not None or wants(one, happened))
        ]  # fmt: skip


def _pieces(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """So few at once that their bodies, of 256 kB at most, fit into 8 MB."""
    return (rows[at : at + BODIES_AT_ONCE] for at in range(0, len(rows), BODIES_AT_ONCE))


def missing_kind(row: Row, made_at: int, then: Terms | None, event: Happening) -> str | None:
    """Why an endpoint has not been given an event that it wants now; None when it has, or is about to be."""
    if row["spreading"] and row["job_id"] is None:
        return "pending"
    if row["job_id"] is not None:
        if row["again"] or row["job_state"] not in (None, "cancelled") or row["error_type"] not in _UNWANTED:
            return None
        kind = "disabled"
    elif row["created_at"] < made_at:
        kind = "before_endpoint"
    elif then is not None and not then.enabled:
        kind = "disabled"
    elif then is not None and not wants(then, event):
        kind = "filtered"
    else:
        kind = "unattempted"
    return "erased" if row["erased_at"] is not None else kind


def event_kind(row: Row, *, erased: bool) -> str:
    """What an endpoint has had of an event so far."""
    if row["again"] or row["job_state"] in ("ready", "dispatched", "running"):
        return "pending"
    if erased:
        return "erased"
    if row["job_id"] is None:
        return "unattempted"
    return {"dead": "failed", "cancelled": "cancelled"}.get(row["job_state"], "delivered")


def happening(row: Row, bodies: Mapping[str, bytes]) -> Happening:
    body = bodies.get(row["id"], b"")
    channels = orjson.loads(row["channels"]) if row["channels"] else ()
    # Read once, and as accepting reads it: orjson has no integers above 64 bits.
    return Happening(row["type"], channels, cache(lambda: json.loads(body) if body else None))


async def carry_out(tx: Tx, replay_id: str, source: Source, step: Step) -> int:
    """The deliveries of a step, in the transaction that moves the position; how many there are."""
    revived = [one for one in step.to_send if one.job_id is not None and one.job_state in ("dead", "cancelled")]
    sent = await revive(tx, source.tenant, revived)
    firsts = [one for one in step.to_send if one.job_id is None]
    agains = [one for one in step.to_send if one.job_id is not None and one not in revived]
    for group, again in ((firsts, False), (agains, True)):
        jobs = {(one.event_id, one.endpoint["id"]): new_delivery(one, source.tenant, tx.now_us) for one in group}
        links = [(*pair, job.id) for pair, job in jobs.items()]
        made = await (store.link_again(tx, replay_id, links) if again else _first(tx, firsts, links))
        await enqueue_all(tx, [job for pair, job in jobs.items() if pair in made])
        sent += len(made)
    return sent


async def revive(tx: Tx, tenant: str, candidates: Sequence[Candidate]) -> int:
    """Failed and cancelled deliveries start over."""
    if not candidates:
        return 0
    ids = [one.job_id for one in candidates if one.job_id is not None]
    queues = await retry_jobs(tx, tenant, ids, tx.now_us, states=("dead", "cancelled"))
    tx.touched.update(queues.values())
    return len(queues)


def new_delivery(one: Candidate, tenant: str, now_us: int) -> NewJob:
    event = NewEvent(one.event_id, tenant, one.type, "", now_us, one.ordering_key)
    return replace(delivery_job(event, subscription(one.endpoint)), priority=PRIORITY)


async def _first(
    tx: Tx, candidates: Sequence[Candidate], links: Sequence[tuple[str, str, str]]
) -> set[tuple[str, str]]:
    numbered = {one.endpoint["id"] for one in candidates if one.endpoint["sequence"]}
    plain = [one for one in links if one[1] not in numbered]
    counted = [one for one in links if one[1] in numbered]
    return await store.link_first(tx, plain, numbered=False) | await store.link_first(tx, counted, numbered=True)


async def _bodies(connection: Connection, rows: Sequence[Row], terms: Sequence[Terms]) -> Mapping[str, bytes]:
    """Only when some filter looks at them."""
    ids = [row["id"] for row in rows if row["erased_at"] is None]
    if not ids or not any(one.filter is not None for one in terms):
        return {}
    return await read_bodies(connection, ids)
