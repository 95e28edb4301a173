"""Which deliveries the ledger has ended by itself and nobody was told of: along the index of dead letters by when."""

from collections.abc import Sequence

from services.webhooks.patterns import OPERATIONAL
from shared.contracts.commands.webhooks import DeliverWebhook
from shared.db.engine import Database
from shared.db.reading import looking
from shared.db.sql import Row, Statement

_OURS = ", ".join(f"'{each}'" for each in sorted(OPERATIONAL))
_ENDED_BY_LEDGER = "('poison', 'DeadlineExceeded', 'Released')"  # as `shared.ledger.states` names its own failures
_UNTOLD = f"""
    SELECT j.id, j.tenant, j.attempt, j.max_attempts, j.error_type, j.error_message, e.id AS event_id,
           e.type AS event_type, {{endpoint_id}} AS endpoint_id, 'evt_' || substr(j.id, 5) AS told_as
      FROM job AS j JOIN webhooks_events AS e ON e.id = {{event_id}} AND e.tenant = j.tenant
     WHERE j.state = 'dead' AND j.finished_at >= :since AND j.task = '{DeliverWebhook.task}'
       AND j.error_type IN {_ENDED_BY_LEDGER} AND e.type NOT IN ({_OURS})
       AND NOT EXISTS (SELECT 1 FROM webhooks_events AS t WHERE t.id = 'evt_' || substr(j.id, 5))
     ORDER BY j.finished_at, j.id LIMIT :most
"""


def _with(argument: str) -> str:
    """`argument`: how one of a job's is read; both are names of rows, so nothing is looked for."""
    found = {name: argument % name for name in ("event_id", "endpoint_id")}
    return _UNTOLD.format(**found)


UNTOLD = Statement(
    "untold_deliveries", _with("json_extract(j.args, '$.%s')"), postgres=_with("(CAST(j.args AS json) ->> '%s')")
)


async def read_untold(database: Database, since_us: int, most: int) -> Sequence[Row]:
    """`since_us`: when the delivery died, at the earliest."""
    async with looking(database) as connection:
        return await connection.fetch(UNTOLD, {"since": since_us, "most": most})
