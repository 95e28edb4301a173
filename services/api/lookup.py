"""One job as its tenant sees it, read in full: its row, attempts, children, decisions and what it waits for."""

from functools import partial
from typing import Any

from services.api.documents import job_document, waiting_document
from services.api.stream import Source
from shared.db.engine import Database
from shared.ledger.holds import waiting_for
from shared.ledger.store_action import read_actions
from shared.ledger.store_output import read_output
from shared.ledger.store_read import count_children, read_attempts, read_job
from shared.ledger.store_waiting import read_facts


async def read_whole(database: Database, job_id: str, tenant: str) -> dict[str, Any] | None:
    """The job's document; None when this tenant has no such job."""
    row = await read_job(database, job_id, tenant)
    if row is None:
        return None
    attempts = await read_attempts(database, job_id)
    children = await count_children(database, job_id)
    actions = await read_actions(database, job_id, tenant)
    now_us = database.clock.now_us()
    reason = waiting_document(waiting_for(await read_facts(database, row, now_us)))
    return job_document(row, attempts, now_us, reason, children=children, actions=actions)


def source_of(database: Database, job_id: str, tenant: str) -> Source:
    """For a stream of a job that is known to be this tenant's."""
    return Source(partial(read_whole, database, job_id, tenant), partial(read_output, database, job_id))
