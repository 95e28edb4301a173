"""Reading who a tenant's events go to: a mark that tells whether anything has changed, and the rows if so.

The mark is read from an index alone: how many endpoints there are, the sum of their versions, the newest id; of types
likewise. So a tenant with 10,000 endpoints costs a process one narrow statement a second, and is read whole (in pages,
never in one transaction) only after a change. The invariant that it rests on: whatever changes who is told of what
raises the row's `version`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from services.webhooks.events import Audience, KnownType, Subscription
from services.webhooks.filters import parse
from services.webhooks.retry import policy_of
from services.webhooks.schemas import Validator, compiled
from shared.db.sql import Connection, Row, Statement

PAGE: Final = 1_000
_TENANTS = {"tenant": "text"}
MARKS = Statement(
    "audience_marks",
    """
    SELECT i.tenant,
           (SELECT count(*) || ' ' || coalesce(sum(e.version), 0) || ' ' || coalesce(max(e.id), '')
              FROM webhooks_endpoints AS e WHERE e.tenant = i.tenant) AS endpoints,
           (SELECT count(*) || ' ' || coalesce(sum(t.version), 0) || ' ' || coalesce(max(t.updated_at), 0)
              FROM webhooks_event_types AS t WHERE t.tenant = i.tenant) AS types
      FROM {rows} AS i
    """,
    rows=_TENANTS,
)
_COLUMNS = """id, tenant, event_types, retry_schedule_s, timeout_s, filter, channels, ordering, sequence, created_at,
           enabled"""
SUBSCRIPTIONS = Statement(
    "read_subscriptions",
    f"""SELECT {_COLUMNS} FROM webhooks_endpoints
     WHERE tenant {{any:tenants}} AND (tenant, id) > (:tenant, :after) AND enabled ORDER BY tenant, id LIMIT :limit""",
)
ENDPOINT_PAGE = Statement(
    "fan_out_page",
    f"""
    SELECT {_COLUMNS}
      FROM webhooks_endpoints WHERE tenant = :tenant AND id > :after ORDER BY tenant, id LIMIT :limit
    """,
)
TYPES = Statement(
    "read_known_types",
    """
    SELECT tenant, name, retry_schedule_s, archived, version, updated_at, json_schema IS NOT NULL AS has_schema
      FROM webhooks_event_types WHERE tenant {any:tenants}
    """,
)
SCHEMAS = Statement(
    "read_schemas",
    """
    SELECT t.tenant, t.name, t.version, t.updated_at, t.json_schema
      FROM {rows} AS i JOIN webhooks_event_types AS t ON t.tenant = i.tenant AND t.name = i.name
     WHERE t.json_schema IS NOT NULL
    """,
    rows={**_TENANTS, "name": "text"},
)


async def read_marks(connection: Connection, tenants: Sequence[str]) -> dict[str, str]:
    rows = await connection.fetch(MARKS, None, [(tenant,) for tenant in tenants])
    return {row["tenant"]: f"{row['endpoints']} {row['types']}" for row in rows}


async def read_audiences(
    connection: Connection, tenants: Sequence[str], marks: Mapping[str, str] | None = None
) -> dict[str, Audience]:
    """By tenant; one without endpoints has an empty one. `marks` were read before."""
    pairs: dict[str, list[tuple[list[str], Subscription]]] = {tenant: [] for tenant in tenants}
    cursor = {"tenant": "", "after": ""}
    while True:
        rows = await connection.fetch(SUBSCRIPTIONS, {"tenants": list(tenants), **cursor, "limit": PAGE})
        for row in rows:
            pairs[row["tenant"]].append((orjson.loads(row["event_types"]), subscription(row)))
        if len(rows) < PAGE:
            break
        cursor = {"tenant": rows[-1]["tenant"], "after": rows[-1]["id"]}
    types = defaultdict(list)
    for row in await connection.fetch(TYPES, {"tenants": list(tenants)}):
        types[row["tenant"]].append(_known(row))
    return {tenant: Audience(found, types[tenant], (marks or {}).get(tenant)) for tenant, found in pairs.items()}


def subscription(row: Row) -> Subscription:
    schedule = orjson.loads(row["retry_schedule_s"]) if row["retry_schedule_s"] else None
    return Subscription(
        row["id"],
        policy_of(schedule).max_attempts,
        row["timeout_s"],
        bool(row["sequence"]),
        scheduled=schedule is not None,
        ordering=row["ordering"],
        channels=frozenset(orjson.loads(row["channels"])) if row["channels"] else None,
        filter=parse(orjson.loads(row["filter"])) if row["filter"] else None,
    )


async def read_endpoint_page(connection: Connection, tenant: str, after: str, limit: int) -> Sequence[Row]:
    """All endpoints of the tenant, enabled or not, in the order of their ids."""
    return await connection.fetch(ENDPOINT_PAGE, {"tenant": tenant, "after": after, "limit": limit})


async def read_validators(connection: Connection, keys: Sequence[str]) -> dict[str, tuple[Validator, int]]:
    """By `schema_key`; those that have changed since are not there. With the size of each, in bytes."""
    wanted = sorted({tuple(key.split("/")[:2]) for key in keys})
    rows = await connection.fetch(SCHEMAS, None, wanted)
    return {
        schema_key(_known({**row, "has_schema": True, "retry_schedule_s": None, "archived": False})): (
            compiled(orjson.loads(row["json_schema"])),
            len(row["json_schema"]),
        )
        for row in rows
    }


def schema_key(known: KnownType) -> str:
    return f"{known.tenant}/{known.name}/{known.made}"


def _known(row: Row) -> KnownType:
    schedule = orjson.loads(row["retry_schedule_s"]) if row["retry_schedule_s"] else None
    return KnownType(
        row["tenant"],
        row["name"],
        f"{row['version']}.{row['updated_at']}",
        bool(row["has_schema"]),
        None if schedule is None else policy_of(schedule).max_attempts,
        bool(row["archived"]),
    )
