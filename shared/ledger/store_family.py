"""Families: a job that waits for others (its children) and is moved into line when the last of them is done.

`waits_for` of the waiting job is the number of its children that are not `counted`; a child is counted once, in the
transaction that ends it, whoever ends it. Done is completed or cancelled; a dead child is not done until somebody
retries it and it completes, or discards it, unless the waiting job says otherwise (`on_dead`): `run` counts it,
`cancel` ends the waiting job. A counted child that is run again by hand is not waited for again. Order of locks: child,
parent.
"""

from collections import Counter
from collections.abc import Sequence

from shared.db.sql import Connection, Statement
from shared.db.tx import Tx

GENERATIONS = 20  # of families whose waiting jobs are children themselves, and end with their own

COUNT_CHILDREN = Statement(
    "count_children",
    """
    UPDATE job SET counted = TRUE
     WHERE id {any:ids} AND parent IS NOT NULL AND NOT counted
       AND ({guard:job.state} IN ('completed', 'cancelled') OR ({guard:job.state} = 'dead'
            AND EXISTS (SELECT 1 FROM job AS p WHERE p.id = job.parent AND p.on_dead = 'run')))
    RETURNING parent
    """,
)
# What has no more to wait for is due from now on: the relay does not look for what has been due for long.
_FREE = """
       SET waits_for = job.waits_for - i.done,
           run_at = CASE WHEN job.waits_for = i.done AND job.run_at < i.now THEN i.now ELSE job.run_at END
"""
FREE_PARENTS = Statement(
    "free_parents",
    f"""
    UPDATE job {_FREE} FROM {{rows}} AS i WHERE job.id = i.id AND job.waits_for >= i.done
    RETURNING job.queue, job.waits_for
    """,
    rows={"id": "text", "done": "integer", "now": "bigint"},
    postgres=f"""
    WITH i AS MATERIALIZED (SELECT * FROM {{rows}} AS given),
    held AS MATERIALIZED (SELECT id FROM job WHERE id IN (SELECT id FROM i) ORDER BY id FOR UPDATE)
    UPDATE job {_FREE} FROM i JOIN held ON held.id = i.id WHERE job.id = i.id AND job.waits_for >= i.done
    RETURNING job.queue, job.waits_for
    """,
)
CANCEL_PARENTS = Statement(
    "cancel_parents",
    """
    UPDATE job
       SET state = 'cancelled', finished_at = :now, unique_key = NULL, error_type = 'Cancelled',
           error_message = 'one of the jobs that it waited for is dead'
     WHERE id IN (SELECT parent FROM job AS c WHERE c.id {any:ids} AND c.parent IS NOT NULL AND c.state = 'dead')
       AND {guard:job.state} = 'ready' AND waits_for > 0 AND on_dead = 'cancel'
    RETURNING id, parent
    """,
)


async def count_ends(connection: Connection, ids: Sequence[str], now_us: int) -> set[str]:
    """After an end of any of `ids` was written, in its transaction; returns the queues that have more to do by it."""
    freed: set[str] = set()
    ended = sorted(ids)
    for _ in range(GENERATIONS):
        counted = Counter(row["parent"] for row in await connection.fetch(COUNT_CHILDREN, {"ids": ended}))
        if counted:
            rows = [(parent, done, now_us) for parent, done in sorted(counted.items())]
            found = await connection.fetch(FREE_PARENTS, None, rows)
            freed |= {row["queue"] for row in found if row["waits_for"] == 0}
        given_up = await connection.fetch(CANCEL_PARENTS, {"ids": ended, "now": now_us})
        ended = sorted(row["id"] for row in given_up if row["parent"] is not None)
        if not ended:
            break
    if isinstance(connection, Tx):
        connection.touched |= freed
    return freed
