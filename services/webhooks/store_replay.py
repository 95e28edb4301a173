"""Every statement of sending again: what there is to send, in bounded steps from a position, and what was made of it.

`look_*` read the next rows of one index after a position, whether or not anything is to be sent for them. `advance`
is a compare-and-set of the position: of two attempts at one replay only one goes on from each place, so nothing is made
twice by them, and the unique links refuse what anything else would make twice.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.webhooks.models_replay import Replay
from services.webhooks.store_events import LINK_NEW
from services.webhooks.store_sequence import INSERT_NUMBERED, numbering
from shared.db.sql import Connection, Row, Statement
from shared.db.sweep import Sweep
from shared.db.tx import Tx
from shared.kernel.ids import id_floor

LOOK_ROWS: Final = 500
COUNT_MOST: Final = 1_000_000
COLUMNS: Final = tuple(Replay.model_fields)
_WAIT: Final = "('ready', 'dispatched', 'running')"

# With the last failure of a job that is purged already: its attempts are kept for longer.
_MISSING = Statement(
    "look_missing",
    """
    SELECT e.id, e.type, e.created_at, e.ordering_key, e.channels, e.erased_at, d.job_id, j.state AS job_state,
           CASE WHEN d.job_id IS NULL THEN NULL WHEN j.id IS NOT NULL THEN j.error_type
                ELSE (SELECT a.error_type FROM job_attempt AS a WHERE a.job_id = d.job_id ORDER BY a.fence DESC LIMIT 1)
            END AS error_type,
           CASE WHEN d.job_id IS NOT NULL AND EXISTS (SELECT 1 FROM webhooks_redeliveries AS r
                      WHERE r.event_id = e.id AND r.endpoint_id = :endpoint) THEN 1 ELSE 0 END AS again,
           CASE WHEN f.event_id IS NOT NULL AND f.finished_at IS NULL THEN 1 ELSE 0 END AS spreading
      FROM webhooks_events AS e
      LEFT JOIN webhooks_deliveries AS d ON d.event_id = e.id AND d.endpoint_id = :endpoint
      LEFT JOIN job AS j ON j.id = d.job_id
      LEFT JOIN webhooks_fanouts AS f ON f.event_id = e.id
     WHERE e.tenant = :tenant AND e.id > :after AND e.id < :end
     ORDER BY e.tenant, e.id LIMIT :limit
    """,
)
_FAILED = Statement(
    "look_failed",
    """
    SELECT l.event_id, l.job_id AS id, l.job_id, j.state AS job_state, j.finished_at, e.id AS there, e.erased_at
      FROM (SELECT event_id, job_id FROM (
              SELECT event_id, job_id FROM webhooks_deliveries
               WHERE endpoint_id = :endpoint AND job_id > :after AND job_id < :end ORDER BY job_id LIMIT :limit) AS a
            UNION ALL SELECT event_id, job_id FROM (
              SELECT event_id, job_id FROM webhooks_redeliveries
               WHERE endpoint_id = :endpoint AND job_id > :after AND job_id < :end ORDER BY job_id LIMIT :limit) AS b
           ) AS l
      LEFT JOIN job AS j ON j.id = l.job_id AND j.tenant = :tenant
      LEFT JOIN webhooks_events AS e ON e.id = l.event_id
     ORDER BY l.job_id LIMIT :limit
    """,
)
_EVENT = Statement(
    "look_endpoints",
    f"""
    SELECT p.*, d.job_id, j.state AS job_state,
           CASE WHEN EXISTS (SELECT 1 FROM webhooks_redeliveries AS r JOIN job AS k ON k.id = r.job_id
                              WHERE r.event_id = :event AND r.endpoint_id = p.id AND k.state IN {_WAIT})
                THEN 1 ELSE 0 END AS again
      FROM webhooks_endpoints AS p
      LEFT JOIN webhooks_deliveries AS d ON d.event_id = :event AND d.endpoint_id = p.id
      LEFT JOIN job AS j ON j.id = d.job_id
     WHERE p.tenant = :tenant AND p.id > :after AND p.id < :end
     ORDER BY p.tenant, p.id LIMIT :limit
    """,
)
_COUNTS: Final[Mapping[str, Statement]] = {
    "missing": Statement(
        "count_missing",
        """
        SELECT count(*) AS n FROM (SELECT 1 FROM webhooks_events
         WHERE tenant = :tenant AND id > :after AND id < :end LIMIT :most) AS counted
        """,
    ),
    "failed": Statement(
        "count_failed",
        """
        SELECT count(*) AS n FROM (SELECT 1 FROM webhooks_deliveries
         WHERE endpoint_id = :endpoint AND job_id > :after AND job_id < :end LIMIT :most) AS counted
        """,
    ),
    "event": Statement(
        "count_endpoints",
        """
        SELECT count(*) AS n FROM (SELECT 1 FROM webhooks_endpoints
         WHERE tenant = :tenant AND id > :after AND id < :end LIMIT :most) AS counted
        """,
    ),
}
LOOKS: Final[Mapping[str, Statement]] = {"missing": _MISSING, "failed": _FAILED, "event": _EVENT}
PREFIXES: Final[Mapping[str, str]] = {"missing": "evt", "failed": "job", "event": "ep"}

_INSERT = Statement(
    "insert_replay",
    f"INSERT INTO webhooks_replays ({', '.join(COLUMNS)}) VALUES ({', '.join(':' + name for name in COLUMNS)})",
)
_READ = Statement("read_replay", "SELECT * FROM webhooks_replays WHERE id = :id")
_SHOW = Statement(
    "show_replays",
    """
    SELECT r.*, j.state AS job_state FROM webhooks_replays AS r LEFT JOIN job AS j ON j.id = r.id
     WHERE r.tenant = :tenant AND r.id < :before ORDER BY r.tenant DESC, r.id DESC LIMIT :limit
    """,
)
_SHOW_ONE = Statement(
    "show_replay",
    """
    SELECT r.*, j.state AS job_state FROM webhooks_replays AS r LEFT JOIN job AS j ON j.id = r.id
     WHERE r.id = :id AND r.tenant = :tenant
    """,
)
_OPEN = Statement(
    "open_replays",
    f"""
    SELECT count(*) AS n FROM webhooks_replays AS r JOIN job AS j ON j.id = r.id
     WHERE r.tenant = :tenant AND r.state = 'running' AND j.state IN {_WAIT}
    """,
)
_ADVANCE = Statement(
    "advance_replay",
    """
    UPDATE webhooks_replays SET position = :position, seen = :seen, total = :total, sent = :sent, kinds = :kinds
     WHERE id = :id AND position = :was AND state = 'running' RETURNING id
    """,
)
_END = Statement(
    "end_replay",
    "UPDATE webhooks_replays SET state = :state, finished_at = :now WHERE id = :id AND state = 'running' RETURNING id",
)
_RELINK = Statement(
    "insert_redeliveries",
    """
    INSERT INTO webhooks_redeliveries (replay_id, event_id, endpoint_id, job_id)
    SELECT replay_id, event_id, endpoint_id, job_id FROM {rows} AS i WHERE true
    ON CONFLICT (replay_id, event_id, endpoint_id) DO NOTHING RETURNING event_id, endpoint_id
    """,
    rows={"replay_id": "text", "event_id": "text", "endpoint_id": "text", "job_id": "text"},
)
_ENDPOINT = Statement("replay_endpoint", "SELECT * FROM webhooks_endpoints WHERE id = :id AND tenant = :tenant")
_HEAD = Statement(
    "replay_event",
    """
    SELECT id, tenant, type, ordering_key, channels, created_at, erased_at FROM webhooks_events
     WHERE id = :id AND tenant = :tenant
    """,
)
_LOOK_REPLAYS = Statement(
    "sweep_look_replays",
    "SELECT id FROM webhooks_replays WHERE id < :floor AND id > :after_id ORDER BY id LIMIT :limit",
)
_DELETE_REPLAYS = Statement(
    "sweep_replays",
    f"""
    DELETE FROM webhooks_replays WHERE id IN (SELECT id FROM {{rows}} AS i)
       AND NOT EXISTS (SELECT 1 FROM job AS j WHERE j.id = webhooks_replays.id AND j.state IN {_WAIT})
    RETURNING id
    """,
    rows={"id": "text"},
)


async def look(connection: Connection, what: str, span: Mapping[str, Any], after: str, limit: int) -> Sequence[Row]:
    return await connection.fetch(LOOKS[what], {**span, "after": after, "limit": limit})


async def count(connection: Connection, what: str, span: Mapping[str, Any], after: str) -> int:
    """How many rows are to be looked at, up to COUNT_MOST."""
    values = {**span, "after": after, "most": COUNT_MOST}
    return int((await connection.fetch(_COUNTS[what], values))[0]["n"])


async def add(tx: Tx, replay: Replay) -> None:
    await tx.fetch(_INSERT, replay.model_dump())


async def read(connection: Connection, replay_id: str) -> Row | None:
    rows = await connection.fetch(_READ, {"id": replay_id})
    return rows[0] if rows else None


async def show(connection: Connection, replay_id: str, tenant: str) -> Row | None:
    """With `job_state`, None when the job is purged."""
    rows = await connection.fetch(_SHOW_ONE, {"id": replay_id, "tenant": tenant})
    return rows[0] if rows else None


async def show_all(connection: Connection, tenant: str, *, before: str | None, limit: int) -> Sequence[Row]:
    return await connection.fetch(_SHOW, {"tenant": tenant, "before": before or "job_~", "limit": limit})


async def count_open(connection: Connection, tenant: str) -> int:
    return int((await connection.fetch(_OPEN, {"tenant": tenant}))[0]["n"])


async def advance(connection: Connection, values: Mapping[str, Any]) -> bool:
    """False when somebody else has moved it, or it has ended."""
    return bool(await connection.fetch(_ADVANCE, values))


async def end(connection: Connection, replay_id: str, state: str, now_us: int) -> bool:
    return bool(await connection.fetch(_END, {"id": replay_id, "state": state, "now": now_us}))


async def link_first(
    connection: Connection, links: Sequence[tuple[str, str, str]], *, numbered: bool
) -> set[tuple[str, str]]:
    """Event and endpoint of those that had none yet; `numbered` gives them their numbers, of one endpoint."""
    if not links:
        return set()
    if not numbered:
        return {(row["event_id"], row["endpoint_id"]) for row in await connection.fetch(LINK_NEW, None, links)}
    made: set[tuple[str, str]] = set()
    for statement, rows in numbering(links):
        found = await connection.fetch(statement, None, rows)
        if statement is INSERT_NUMBERED:
            made = {(row["event_id"], row["endpoint_id"]) for row in found}
    return made


async def link_again(
    connection: Connection, replay_id: str, links: Sequence[tuple[str, str, str]]
) -> set[tuple[str, str]]:
    """Event and endpoint of those that this replay had not sent yet."""
    if not links:
        return set()
    rows = await connection.fetch(_RELINK, None, [(replay_id, *one) for one in links])
    return {(row["event_id"], row["endpoint_id"]) for row in rows}


async def endpoint_row(connection: Connection, endpoint_id: str, tenant: str) -> Row | None:
    rows = await connection.fetch(_ENDPOINT, {"id": endpoint_id, "tenant": tenant})
    return rows[0] if rows else None


async def event_head(connection: Connection, event_id: str, tenant: str) -> Row | None:
    """Without its body."""
    rows = await connection.fetch(_HEAD, {"id": event_id, "tenant": tenant})
    return rows[0] if rows else None


def replay_sweep(before_us: int) -> Sweep:
    values = {"floor": id_floor("job", before_us)}
    return Sweep("webhooks_replays", _LOOK_REPLAYS, _DELETE_REPLAYS, ("id",), ("",), values)
