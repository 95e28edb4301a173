"""Recording how attempts ended: every way out of `running`, in one fenced statement for a whole group.

A row is written only while id, fence, incarnation and `running` all still match. For the others there are two cases:
our own attempt row is there (an ambiguous commit that had succeeded), or somebody else's decision came first, and then
this one is stale and writes nothing. What would go back to `ready` ends as cancelled when somebody has asked for that,
however late the worker heard of it; an end that the attempt itself came to stays what it is.
"""

from collections.abc import Sequence
from typing import Any, Literal

from shared.db.sql import Connection, Statement
from shared.ledger.states import TERMINAL, Transition
from shared.ledger.store_family import count_ends
from shared.ledger.store_output import write_output
from shared.ledger.store_progress import write_progress

Recorded = Literal["recorded", "repeated", "stale"]

_INPUT = {
    "id": "text", "fence": "integer", "incarnation": "text", "state": "text", "run_at": "bigint",
    "attempt": "integer", "crashes": "integer", "releases": "integer", "finished_at": "bigint", "result": "text",
    "error_type": "text", "error_message": "text", "error_fingerprint": "text",
    "outcome": "text", "started_at": "bigint", "error_trace": "text", "detail": "text",
}  # fmt: skip
# Whoever ends the attempt may not have heard of the request: its claim is older than that.
_STOPPED = "i.state = 'ready' AND job.cancel_requested_at IS NOT NULL"
_SET = f"""
       SET state = CASE WHEN {_STOPPED} THEN 'cancelled' ELSE i.state END, due = FALSE,
           run_at = coalesce(i.run_at, job.run_at), attempt = i.attempt, crashes = i.crashes,
           releases = i.releases, incarnation = NULL, deadline = NULL, result = i.result,
           finished_at = CASE WHEN i.state <> 'ready' OR {_STOPPED} THEN i.finished_at END,
           error_type = CASE WHEN {_STOPPED} THEN 'Cancelled' ELSE i.error_type END,
           error_message = CASE WHEN {_STOPPED} THEN 'cancelled on request' ELSE i.error_message END,
           error_fingerprint = i.error_fingerprint
      FROM {{rows}} AS i
     WHERE job.id = i.id AND job.fence = i.fence AND job.incarnation = i.incarnation AND {{guard:job.state}} = 'running'
"""
_ATTEMPT = (
    "job_id, fence, incarnation, started_at, finished_at, outcome, error_type, error_message, error_trace, detail"
)
_PICK = _ATTEMPT.replace("job_id", "i.id").replace(", ", ", i.")

END_ATTEMPTS = Statement(
    "end_attempts",
    "UPDATE job " + _SET + " RETURNING job.id, job.fence",
    rows=_INPUT,
    postgres=f"""
    WITH i AS MATERIALIZED (SELECT * FROM {{rows}} AS given),
    ended AS (UPDATE job {_SET.replace("{rows} AS i", "i")} RETURNING job.id, job.fence),
    noted AS (INSERT INTO job_attempt ({_ATTEMPT})
              SELECT {_PICK} FROM ended AS e JOIN i ON i.id = e.id AND i.fence = e.fence WHERE i.outcome IS NOT NULL)
    SELECT id, fence FROM ended
    """,
)

NOTE_ATTEMPTS = Statement(
    "note_attempts",
    f"INSERT INTO job_attempt ({_ATTEMPT}) SELECT {_PICK} FROM {{rows}} AS i WHERE i.outcome IS NOT NULL",
    rows=_INPUT,
)

OWN_ATTEMPTS = Statement(
    "own_attempts",
    "SELECT job_id AS id, fence FROM job_attempt WHERE job_id {any:ids}",
)


def is_one_statement(transitions: Sequence[Transition]) -> bool:
    """Nobody may wait for one of these, and nothing else is to be written: on PostgreSQL it needs no transaction."""
    return all(t.claim.parent is None and t.progress is None and not t.output for t in transitions)


async def record(
    connection: Connection, transitions: Sequence[Transition], *, sqlite: bool, freed: set[str] | None = None
) -> list[Recorded]:
    """Write the group in the caller's transaction; says of each whether it was recorded, repeated or stale.

    `freed` gets the queues in which a job has nothing more to wait for: their relays are to be woken after the commit.
    """
    await _last_words(connection, transitions)
    rows = [_row(transition) for transition in transitions]
    ended = {(row["id"], row["fence"]) for row in await connection.fetch(END_ATTEMPTS, None, rows)}
    if sqlite and ended:
        await connection.fetch(NOTE_ATTEMPTS, None, [row for row in rows if (row[0], row[1]) in ended])
    children = [t.claim.id for t in transitions if t.claim.parent is not None and (t.claim.id, t.claim.fence) in ended]
    if children:
        found = await count_ends(connection, children, max(t.finished_at for t in transitions))
        if freed is not None:
            freed |= found
    missing = [t.claim.id for t in transitions if (t.claim.id, t.claim.fence) not in ended]
    known: set[tuple[str, int]] = set()
    if missing:
        noted = await connection.fetch(OWN_ATTEMPTS, {"ids": sorted(missing)})
        known = {(row["id"], row["fence"]) for row in noted}
    return [_verdict(transition, ended, known) for transition in transitions]


async def _last_words(connection: Connection, transitions: Sequence[Transition]) -> None:
    """Before the ends, after which nothing of an attempt may be written."""
    reports = [(t.claim.key, t.progress) for t in transitions if t.progress is not None]
    if reports:
        await write_progress(connection, sorted(reports, key=lambda report: report[0]))
    output = [(t.claim.key, t.output) for t in transitions if t.output]
    if output:
        await write_output(connection, sorted(output, key=lambda written: written[0]))


def _verdict(transition: Transition, ended: set[tuple[str, int]], known: set[tuple[str, int]]) -> Recorded:
    key = (transition.claim.id, transition.claim.fence)
    if key in ended:
        return "recorded"
    return "repeated" if key in known else "stale"


def _row(t: Transition) -> tuple[Any, ...]:
    failure = t.failure
    kept = failure if t.state in TERMINAL or t.state == "ready" else None
    return (
        t.claim.id, t.claim.fence, t.claim.incarnation, t.state, t.run_at,
        t.attempt, t.crashes, t.releases, t.finished_at, t.result,
        kept.type if kept else None, kept.message if kept else None, kept.fingerprint if kept else None,
        t.outcome, t.started_at, failure.trace if failure else None, t.detail,
    )  # fmt: skip
