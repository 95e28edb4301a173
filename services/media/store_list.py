"""Lists of a tenant's assets, newest first: one page looks at so many of them at most, however few of those match."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from services.media.documents import State
from shared.db.engine import Database

LOOK_MOST = 5_000
# What `documents.asset_state` says, as conditions on the job `j`, which retention may have taken, and the asset `a`.
SHOWN: Mapping[State, str] = {
    "fetching": "a.source_key = '' AND j.state IN ('ready', 'dispatched', 'running')",
    "accepted": "a.source_key <> '' AND j.state IN ('ready', 'dispatched')",
    "processing": "a.source_key <> '' AND j.state = 'running'",
    "processed": "(j.state = 'completed' OR (j.id IS NULL AND a.error IS NULL AND a.renditions IS NOT NULL))",
    "failed": "(j.state = 'dead' OR (j.id IS NULL AND a.error IS NOT NULL))",
    "cancelled": "(j.state = 'cancelled' OR (j.id IS NULL AND a.error IS NULL AND a.renditions IS NULL))",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """`from_id` and `before_id` bound the ids, which sort as time does: from the one, up to and without the other."""

    state: State | None = None
    kind: str | None = None
    from_id: str | None = None
    before_id: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """`looked_to`: the last asset that was looked at, when there may be more that match beyond it."""

    rows: Sequence[Mapping[str, Any]]
    looked_to: str | None


async def list_assets(database: Database, tenant: str, wanted: Wanted, limit: int) -> Found:
    """At most `limit` rows: an asset's, with `job_state`, and its job's progress and error."""
    bounds, values = ["tenant = :tenant"], {"tenant": tenant, "look": LOOK_MOST, "limit": limit}
    for test, bound in (("id >= :from_id", wanted.from_id), ("id < :before_id", wanted.before_id)):
        if bound is not None:
            bounds.append(test)
            values[test[test.index(":") + 1 :]] = bound
    where = ["true"] if wanted.state is None else [SHOWN[wanted.state]]
    if wanted.kind is not None:
        where.append("a.kind = :kind")
    look = f"SELECT id FROM media_assets WHERE {' AND '.join(bounds)} ORDER BY tenant DESC, id DESC LIMIT :look"
    page = text(f"""
        SELECT a.*, j.state AS job_state, j.progress, j.progress_note, j.progress_at, j.error_type, j.error_message
          FROM ({look}) AS looked JOIN media_assets AS a ON a.id = looked.id LEFT JOIN job AS j ON j.id = a.job_id
         WHERE {" AND ".join(where)} ORDER BY a.id DESC LIMIT :limit""")
    edge = text(f"SELECT count(*) AS n, min(id) AS last FROM ({look}) AS looked")
    async with database.reader.connect() as connection:
        given = values if wanted.kind is None else {**values, "kind": wanted.kind}
        rows = [dict(row) for row in (await connection.execute(page, given)).mappings()]
        if len(rows) >= limit:
            return Found(rows, None)
        values.pop("limit")
        seen = (await connection.execute(edge, values)).mappings().one()
    return Found(rows, seen["last"] if seen["n"] >= LOOK_MOST else None)
