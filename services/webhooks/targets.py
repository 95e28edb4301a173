"""What a delivery needs to know of its endpoint: where to, signed with what, for how long, how often.

Held in clear in a worker's memory only, for at most a second. An endpoint whose secrets cannot be opened has a
`fault` in place of them: it must not take the other endpoints of the same read with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from services.webhooks.breaker import FRESH, State
from services.webhooks.destinations import KINDS
from services.webhooks.keyring import sealed_secrets, secret_context
from services.webhooks.reach import HTTP, reach_context
from services.webhooks.retry import policy_of
from services.webhooks.secrets import Box, UnsealError
from services.webhooks.store_endpoints import read_targets
from services.webhooks.store_health import state_of
from shared.contracts.commands.webhooks import DeliverWebhook
from shared.contracts.retry import Schedule
from shared.db.sql import Connection, Row
from shared.kernel.errors import HoldfastError

LIMIT: Final = DeliverWebhook.lanes.concurrency or 1


class UnknownKind(HoldfastError):
    """Of an endpoint that newer code has made."""


@dataclass(frozen=True, slots=True)
class Target:
    """`secrets` sign as long as they do: (secret, until when in µs), the newest first, None for ever.

    `limit`: attempts at once that its lane allows; `own_retry`: its schedule comes before that of the event's type.
    """

    id: str
    tenant: str
    url: str
    timeout_s: float
    retry: Schedule
    enabled: bool
    disabled_reason: str | None = None
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[tuple[str, int | None], ...] = field(default=(), repr=False)
    limit: int = LIMIT
    own_retry: bool = False
    health: State = FRESH
    numbered: bool = False  # some of its deliveries have a number
    fault: str | None = None
    kind: str = HTTP
    config: Any = field(default=None, repr=False)
    """What the destination of that kind made of what was sealed; see `Destination.open`."""

    def signing(self, now_us: int) -> tuple[str, ...]:
        return tuple(secret for secret, until in self.secrets if until is None or now_us < until)


def headers_context(endpoint_id: str) -> str:
    return f"endpoint-headers:{endpoint_id}"


async def load_targets(connection: Connection, box: Box, ids: Sequence[str]) -> dict[str, Target]:
    return {row["id"]: _target(row, box) for row in await read_targets(connection, ids)}


def _target(row: Row, box: Box) -> Target:
    fault = None
    headers: dict[str, str] = {}
    secrets: tuple[tuple[str, int | None], ...] = ()
    config = None
    try:
        secrets = tuple(
            (box.open(token, secret_context(row["id"])), until) for token, until, _ in sealed_secrets(row) if token
        )
        if row["headers"]:
            headers = orjson.loads(box.open(row["headers"], headers_context(row["id"])))
        if row["reach"] or row["kind"] != HTTP:
            config = _config(row, box)
    except (UnsealError, UnknownKind) as error:
        fault = error.message
    schedule = orjson.loads(row["retry_schedule_s"]) if row["retry_schedule_s"] else None
    return Target(
        id=row["id"],
        tenant=row["tenant"],
        url=row["url"],
        timeout_s=row["timeout_s"],
        retry=policy_of(schedule),
        enabled=bool(row["enabled"]),
        disabled_reason=row["disabled_reason"],
        headers=headers,
        secrets=secrets,
        limit=row["concurrency"] or LIMIT,
        own_retry=schedule is not None,
        health=state_of(row),
        numbered=row["sequenced_at"] is not None,
        fault=fault,
        kind=row["kind"],
        config=config,
    )


def _config(row: Row, box: Box) -> Any:
    kind = KINDS.get(row["kind"])
    if kind is None:
        raise UnknownKind(f"this process knows no destination of kind {row['kind']!r}")
    kept = orjson.loads(box.open(row["reach"], reach_context(row["id"]))) if row["reach"] else {}
    return kind.open(kept, row["id"])
