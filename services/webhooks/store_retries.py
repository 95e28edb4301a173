"""Retry schedules of event types, read when an attempt failed; of one that has none, that is known for a while."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from services.webhooks.retry import policy_of
from shared.contracts.retry import Schedule
from shared.db.sql import Connection, Statement

TYPE_RETRIES = Statement(
    "type_retries",
    """
    SELECT t.tenant, t.name, t.retry_schedule_s FROM {rows} AS i
      JOIN webhooks_event_types AS t ON t.tenant = i.tenant AND t.name = i.name
     WHERE t.retry_schedule_s IS NOT NULL
    """,
    rows={"tenant": "text", "name": "text"},
)


class TypeRetry(NamedTuple):
    schedule: Schedule | None


def type_key(tenant: str, event_type: str) -> str:
    return f"{event_type} {tenant}"  # in no type is a space


async def read_type_retries(connection: Connection, keys: Sequence[str]) -> dict[str, TypeRetry]:
    """By `type_key`; of every key."""
    parted = [key.partition(" ") for key in keys]
    rows = await connection.fetch(TYPE_RETRIES, None, [(tenant, name) for name, _, tenant in parted])
    found = {
        type_key(row["tenant"], row["name"]): TypeRetry(policy_of(orjson.loads(row["retry_schedule_s"])))
        for row in rows
    }
    return {key: found.get(key, TypeRetry(None)) for key in keys}
