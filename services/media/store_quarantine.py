"""Every statement on contents that have ended slots. Time is in µs; nobody sees another tenant's rows."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from shared.db.engine import Database
from shared.db.sql import Statement
from shared.db.sweep import Sweep
from shared.db.tx import Tx

_COLUMNS = "sha256, deaths, ended_by, first_at, last_at, quarantined_at"
_READ = Statement(
    "read_casualty", f"SELECT {_COLUMNS} FROM media_casualties WHERE tenant = :tenant AND sha256 = :sha256"
)
_LIST = Statement(
    "list_casualties",
    f"""
    SELECT {_COLUMNS} FROM media_casualties WHERE tenant = :tenant AND sha256 > :after
       AND deaths > 0 AND (CAST(:every AS integer) = 1 OR quarantined_at IS NOT NULL)
     ORDER BY sha256 LIMIT :limit
    """,
)
_NOTE = Statement(
    "note_casualty",
    f"""
    INSERT INTO media_casualties (tenant, sha256, deaths, ended_by, first_at, last_at, quarantined_at)
    VALUES (:tenant, :sha256, CAST(:counted AS integer), :ended_by, :now, :now,
            CASE WHEN CAST(:counted AS integer) >= CAST(:most AS integer) THEN CAST(:now AS bigint) END)
    ON CONFLICT (tenant, sha256) DO UPDATE
       SET deaths = media_casualties.deaths + excluded.deaths, ended_by = excluded.ended_by, last_at = excluded.last_at,
           quarantined_at = CASE WHEN media_casualties.quarantined_at IS NOT NULL THEN media_casualties.quarantined_at
                                 WHEN excluded.deaths = 1 AND media_casualties.deaths + 1 >= CAST(:most AS integer)
                                 THEN excluded.last_at END
    RETURNING {_COLUMNS}
    """,
)
_OTHERS = Statement(
    "other_casualties",
    """
    SELECT 1 AS found FROM media_casualties
     WHERE last_at > :since AND ended_by {any:ended_by} AND (sha256 <> :sha256 OR tenant <> :tenant) LIMIT 1
    """,
)
_FORGET = Statement(
    "forget_casualty",
    "UPDATE media_casualties SET deaths = 0, quarantined_at = NULL WHERE tenant = :tenant AND sha256 = :sha256",
)
_LIFT = Statement(
    "lift_quarantine",
    "DELETE FROM media_casualties WHERE tenant = :tenant AND sha256 = :sha256 AND deaths > 0 RETURNING sha256",
)
_LOOK = Statement(
    "sweep_look_casualties",
    """
    SELECT last_at, tenant, sha256 FROM media_casualties
     WHERE last_at < :before AND last_at >= :after_last_at
       AND (last_at, tenant, sha256) > (:after_last_at, :after_tenant, :after_sha256)
     ORDER BY last_at, tenant, sha256 LIMIT :limit
    """,
)
_DELETE = Statement(
    "sweep_casualties",
    """
    DELETE FROM media_casualties
     WHERE (tenant, sha256) IN (SELECT tenant, sha256 FROM {rows} AS i) AND last_at < :before
    RETURNING sha256
    """,
    rows={"last_at": "bigint", "tenant": "text", "sha256": "text"},
)


@dataclass(frozen=True, slots=True)
class Casualty:
    """A content that has ended slots: so often (as counted), last by this; kept out since `quarantined_at`, or not."""

    sha256: str
    deaths: int
    ended_by: str
    first_at: int
    last_at: int
    quarantined_at: int | None


async def read_casualty(database: Database, tenant: str, sha256: str) -> Casualty | None:
    rows = await database.fetch(_READ, {"tenant": tenant, "sha256": sha256})
    return Casualty(**rows[0]) if rows else None


async def list_casualties(
    database: Database, tenant: str, *, every: bool, after: str, limit: int
) -> Sequence[Casualty]:
    """By hash; `every`: those that are not kept out (yet) as well."""
    values = {"tenant": tenant, "every": int(every), "after": after, "limit": limit}
    return [Casualty(**row) for row in await database.fetch(_LIST, values)]


async def note_casualty(
    database: Database, tenant: str, sha256: str, ended_by: str, *, counted: bool = True, most: int
) -> Casualty:
    """One death more, committed when this returns; quarantined from the `most`-th on that is counted."""
    now_us = database.clock.now_us()
    values = {
        "tenant": tenant, "sha256": sha256, "ended_by": ended_by, "counted": int(counted), "most": most, "now": now_us
    }  # fmt: skip
    return Casualty(**(await database.fetch(_NOTE, values))[0])


async def others_ended(database: Database, tenant: str, sha256: str, *, by: Collection[str], within_us: int) -> bool:
    """True when another content, of whichever tenant, has ended a slot in one of these ways lately."""
    since = database.clock.now_us() - within_us
    values = {"tenant": tenant, "sha256": sha256, "ended_by": list(by), "since": since}
    return bool(await database.fetch(_OTHERS, values))


async def forget_casualty(database: Database, tenant: str, sha256: str) -> None:
    """It has been processed after all: whatever ended its slots was not it. When they ended stays known."""
    await database.fetch(_FORGET, {"tenant": tenant, "sha256": sha256})


async def lift_quarantine(tx: Tx, tenant: str, sha256: str) -> bool:
    return bool(await tx.fetch(_LIFT, {"tenant": tenant, "sha256": sha256}))


def casualty_sweep(before_us: int) -> Sweep:
    """Contents that have ended no slot since then; a quarantine ends with its row."""
    key = ("last_at", "tenant", "sha256")
    return Sweep("media_casualties", _LOOK, _DELETE, key, (0, "", ""), {"before": before_us})
