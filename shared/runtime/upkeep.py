"""Upkeep: one `PurgeHistory` an hour, whoever's relay asks first; retention must not wait for a person.

A tick is a UTC hour, unique with its name in `cron_tick`, and commits with the job that it made, so two relays make
one. An hour that nobody was there for is not made up: the next purge does its work.
"""

from shared.contracts.command import Command
from shared.contracts.commands.api import PurgeHistory
from shared.db.sql import Statement
from shared.kernel.clock import SECOND_US
from shared.runtime.resources import Resources
from shared.transport.enqueue import enqueue

HOUR_US = 3600 * SECOND_US
LOOK_S = 60.0
TENANT = "system"  # nobody's: it stands in no customer's list of jobs
_TICK = Statement(
    "tick",
    """
    INSERT INTO cron_tick (schedule_id, tick_at) VALUES (:name, :tick)
    ON CONFLICT (schedule_id, tick_at) DO NOTHING RETURNING tick_at
    """,
)
_NOTE = Statement("tick_job", "UPDATE cron_tick SET job_id = :job WHERE schedule_id = :name AND tick_at = :tick")
_FORGET = Statement("tick_forget", "DELETE FROM cron_tick WHERE schedule_id = :name AND tick_at < :before")


async def tick_hourly(resources: Resources, command: Command | None = None) -> str | None:
    """The id of the job that this hour's tick made, or None: it had been made. The latest tick is never forgotten."""
    wanted = command or PurgeHistory()
    async with resources.tx() as tx:
        tick = tx.now_us - tx.now_us % HOUR_US
        if not await tx.fetch(_TICK, {"name": wanted.task, "tick": tick}):
            return None
        job_id = await enqueue(tx, wanted, tenant=TENANT)
        await tx.fetch(_NOTE, {"name": wanted.task, "tick": tick, "job": job_id})
        await tx.fetch(_FORGET, {"name": wanted.task, "before": tick - 48 * HOUR_US})
    return job_id
