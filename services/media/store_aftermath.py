"""Which assets have a dead job and no error: along the index of dead letters by when they died.

From the job to its asset by what its arguments say, as that is a primary key.
"""

from collections.abc import Sequence

from shared.contracts.commands.media import AssembleUpload, FetchAsset, ProcessAsset, ProcessInBulk
from shared.db.engine import Database
from shared.db.reading import looking
from shared.db.sql import Row, Statement

_TASKS = ", ".join(f"'{command.task}'" for command in (ProcessAsset, ProcessInBulk, AssembleUpload, FetchAsset))
_UNTOLD = f"""
    SELECT a.id, a.tenant, a.job_id, j.error_type, j.error_message
      FROM job AS j JOIN media_assets AS a ON a.id = {{asset_id}} AND a.job_id = j.id
     WHERE j.state = 'dead' AND j.finished_at >= :since AND j.finished_at < :until AND j.task IN ({_TASKS})
       AND a.error IS NULL
     ORDER BY j.finished_at, j.id LIMIT :most
"""
UNTOLD = Statement(
    "untold_assets",
    _UNTOLD.replace("{asset_id}", "json_extract(j.args, '$.asset_id')"),
    postgres=_UNTOLD.replace("{asset_id}", "CAST(j.args AS json) ->> 'asset_id'"),
)


async def read_untold(database: Database, since_us: int, until_us: int, most: int) -> Sequence[Row]:
    """`since_us` to `until_us`: when the job died."""
    async with looking(database) as connection:
        return await connection.fetch(UNTOLD, {"since": since_us, "until": until_us, "most": most})
