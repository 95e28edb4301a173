"""What a delivery needs to know of its endpoint: where to, signed with what, for how long, how often.

Held in clear in a worker's memory only, for at most a second. An endpoint whose secrets cannot be opened has a
`fault` in place of them: it must not take the other endpoints of the same read with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from services.webhooks.retry import policy_of
from services.webhooks.secrets import Box, UnsealError
from services.webhooks.store_endpoints import read_targets
from shared.contracts.retry import Schedule
from shared.db.sql import Connection, Row


@dataclass(frozen=True, slots=True)
class Target:
    """`secrets`: the newest first; `previous_until` is when the second one stops signing, in microseconds."""

    id: str
    tenant: str
    url: str
    timeout_s: float
    retry: Schedule
    enabled: bool
    disabled_reason: str | None = None
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    previous_until: int | None = None
    fault: str | None = None

    def signing(self, now_us: int) -> tuple[str, ...]:
        if self.previous_until is None or now_us < self.previous_until:
            return self.secrets
        return self.secrets[:1]


def secret_context(endpoint_id: str) -> str:
    """Where a sealed signing secret belongs; see `services.webhooks.secrets`."""
    return f"endpoint:{endpoint_id}"


def headers_context(endpoint_id: str) -> str:
    return f"endpoint-headers:{endpoint_id}"


async def load_targets(connection: Connection, box: Box, ids: Sequence[str]) -> dict[str, Target]:
    return {row["id"]: _target(row, box) for row in await read_targets(connection, ids)}


def _target(row: Row, box: Box) -> Target:
    fault = None
    headers: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    try:
        sealed = (row["secret"], row["previous_secret"])
        secrets = tuple(box.open(token, secret_context(row["id"])) for token in sealed if token)
        if row["headers"]:
            headers = orjson.loads(box.open(row["headers"], headers_context(row["id"])))
    except UnsealError as error:
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
        previous_until=row["previous_until"],
        fault=fault,
    )
