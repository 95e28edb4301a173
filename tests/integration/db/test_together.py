"""What is written together is there as a whole or not at all, on both databases."""

from __future__ import annotations

import pytest

from shared.db.engine import Database
from shared.db.sql import Statement
from shared.db.together import Part, write_together
from shared.kernel.ids import new_id
from shared.ledger.store_accept import INSERT_TALLY, acceptance, new_job
from shared.testing.lab import Noop

COUNTS = Statement("counts", "SELECT (SELECT count(*) FROM job) AS jobs, (SELECT sum(accepted) FROM job_tally) AS said")
BREAKS = Statement("breaks", "INSERT INTO job_tally (id, accepted, purged) VALUES (:id, :accepted, NULL)")


async def counts(database: Database) -> tuple[int, int | None]:
    (row,) = await database.fetch(COUNTS)
    return row["jobs"], row["said"]


async def test_parts_of_one_and_of_many_statements_are_written(database: Database) -> None:
    jobs = [new_job(Noop(number=number), tenant="acme", now_us=number + 1) for number in range(3)]
    await write_together(database, acceptance(jobs))
    assert await counts(database) == (3, 3)
    tally: Part = (INSERT_TALLY, {"id": new_id("tly"), "accepted": 4, "purged": 0}, ())
    await write_together(database, [tally])
    await write_together(database, [*acceptance(jobs[:1], tally_id="tly_again"), tally, tally])  # by id: seen before
    assert await counts(database) == (3, 8)
    await write_together(database, [])


async def test_one_that_fails_takes_the_others_with_it(database: Database) -> None:
    jobs = [new_job(Noop(), tenant="acme", now_us=1)]
    with pytest.raises(Exception, match=r"(?i)null"):
        await write_together(database, [*acceptance(jobs), (BREAKS, {"id": "tly_x", "accepted": 1}, ())])
    assert await counts(database) == (0, None)
