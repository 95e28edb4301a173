"""Retention: what is old goes, in batches; what people must still see stays; the audit holds all the way."""

import asyncio
import itertools
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from services.api.app import create_app
from services.api.settings import ApiSettings
from services.api.upkeep import sweeps
from shared.contracts.commands.api import PurgeHistory
from shared.db.engine import Database
from shared.db.sql import Statement
from shared.db.sweep import Swept, sweep_all
from shared.db.tx import open_tx
from shared.kernel.clock import SECOND_US
from shared.kernel.ids import id_floor, new_id
from shared.ledger.audit import audit
from shared.ledger.store_action import NOTE_ACTION
from shared.ledger.store_retention import ADD_TALLY, compact_tally
from shared.transport.enqueue import enqueue
from tests.integration.api.test_jobs import make
from tests.integration.api.worker import working
from tests.integration.http.places import Place
from tests.stalls import Stalls

DAY_US = 86_400 * SECOND_US
SMALL = ApiSettings(purge_batch=3)


async def purge(
    database: Database, settings: ApiSettings = SMALL, stopping: Callable[[], bool] = lambda: False, **at: object
) -> Swept:
    chosen = sweeps(settings, database.clock.now_us())
    return await sweep_all(database, chosen, batch=settings.purge_batch, budget_s=60, stopping=stopping, **at)  # type: ignore[arg-type]


async def ids(place: Place, table: str = "job", column: str = "id") -> set[str]:
    return {row[column] for row in await place.rows(f"SELECT {column} FROM {table}")}


async def age(place: Place, days: float) -> None:
    """Everything that has ended so far ended that much earlier."""
    shift = int(days * DAY_US)
    await place.rows("UPDATE job SET finished_at = finished_at - :s WHERE finished_at IS NOT NULL", s=shift)
    await place.rows("UPDATE job_attempt SET finished_at = finished_at - :s", s=shift)


async def test_nothing_young_goes(place: Place) -> None:
    jobs = await make(place, 3)
    await place.end(jobs[:2], "completed")
    assert set((await purge(place.database)).rows.values()) == {0}
    assert await ids(place) == set(jobs)


async def test_finished_jobs_go_after_a_day_and_dead_ones_never(place: Place) -> None:
    jobs = await make(place, 12)
    completed, dead, waiting = jobs[:8], jobs[8:10], jobs[10:]
    await place.end(completed, "completed")
    await place.end(dead)
    await age(place, 1.1)
    assert (await purge(place.database)).rows["job"] == 8
    assert await ids(place) == {*dead, *waiting}
    found = await audit(place.database)
    assert (found.ok, found.accepted, found.purged, found.rows) == (True, 12, 8, 4)
    assert await ids(place, "job_attempt", "job_id") == {*completed, *dead}


async def test_what_jobs_have_written_goes_with_them(place: Place) -> None:
    gone, kept = await make(place, 2)
    for job in (gone, kept):
        await place.rows(
            "INSERT INTO job_output (job_id, fence, number, offset_chars, text) VALUES (:j, 1, 1, 0, 'x')", j=job
        )
        await place.rows("UPDATE job SET fence = 1, output_chunks = 1 WHERE id = :j", j=job)
    await place.end([gone], "completed")
    await age(place, 1.1)
    gone_rows = (await purge(place.database)).rows
    assert (gone_rows["job"], gone_rows["job_output"]) == (1, 1)
    assert await ids(place, "job_output", "job_id") == {kept}
    assert (await audit(place.database)).ok


async def test_attempts_go_after_their_fortnight_and_never_before_their_job(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = await make(place, 8)
    await place.end(jobs[:5], "completed")
    await place.end(jobs[5:])
    await age(place, 15)
    # The ids were made a moment ago; the jobs are to have been made long before.
    monkeypatch.setattr("shared.ledger.store_retention.id_floor", lambda prefix, _: f"{prefix}_zzz")
    gone = (await purge(place.database)).rows
    assert (gone["job"], gone["job_attempt"]) == (5, 5)
    assert await ids(place, "job_attempt", "job_id") == set(jobs[5:])
    assert (await audit(place.database)).ok


async def test_what_was_decided_goes_after_its_quarter(place: Place) -> None:
    """An action's id is as old as the action."""
    now_us = place.database.clock.now_us()
    async with place.database.transaction() as connection:
        for days in (100, 95, 94, 91, 89, 1):
            at = now_us - days * DAY_US
            values = {
                "tenant": "acme",
                "caller": "key_1",
                "action": "retry",
                "job_id": None,
                "target": "{}",
                "outcome": "{}",
            }
            await connection.fetch(NOTE_ACTION, {**values, "id": id_floor("act", at), "at": at})
    assert (await purge(place.database)).rows["job_action"] == 4
    assert sorted(row["at"] for row in await place.rows("SELECT at FROM job_action")) == [
        now_us - 89 * DAY_US, now_us - DAY_US,
    ]  # fmt: skip


async def test_expired_keys_go(place: Place) -> None:
    for number in range(7):
        await place.rows(
            "INSERT INTO dedup (scope, key, fingerprint, created_at, expires_at) VALUES ('s', :k, 'f', 1, :e)",
            k=str(number), e=1 << 60 if number == 0 else 5,
        )  # fmt: skip
    assert (await purge(place.database)).rows["dedup"] == 6
    assert await ids(place, "dedup", "key") == {"0"}


async def test_tallies_become_one_and_young_ones_are_left(place: Place) -> None:
    for _ in range(5):
        await make(place, 2)
    now_us = place.database.clock.now_us()
    assert await compact_tally(place.database, now_us - 3600 * SECOND_US) == 0
    assert await compact_tally(place.database, now_us + SECOND_US) == 5
    assert await place.rows("SELECT accepted, purged FROM job_tally") == [{"accepted": 10, "purged": 0}]
    assert (await audit(place.database)).ok


async def test_two_purges_at_once_count_every_job_once(place: Place) -> None:
    jobs = await make(place, 20)
    await place.end(jobs, "completed")
    await age(place, 2)
    both = await asyncio.gather(purge(place.database), purge(place.database))
    assert sum(found.rows["job"] for found in both) == 20
    found = await audit(place.database)
    assert (found.ok, found.purged, found.rows) == (True, 20, 0)


@pytest.mark.parametrize("batches", [0, 1, 2, 5])
async def test_one_that_is_stopped_goes_on_where_it_was(place: Place, batches: int) -> None:
    jobs = await make(place, 14)
    await place.end(jobs[:12], "completed")
    await place.end(jobs[12:])
    await age(place, 2)
    looks = itertools.count()
    first = await purge(place.database, stopping=lambda: next(looks) >= batches)
    assert first.rows["job"] == min(3 * batches, 12)
    assert first.at == ("job" if batches < 5 else "job_attempt")
    found = await audit(place.database)
    assert (found.ok, found.purged, found.rows) == (True, first.rows["job"], 14 - first.rows["job"])
    rest = await purge(place.database, at=first.at, after=first.after)
    assert (rest.at, first.rows["job"] + rest.rows["job"]) == (None, 12)
    assert (await audit(place.database)).ok


async def test_one_that_is_cut_off_within_a_batch_leaves_nothing_half_done(place: Place) -> None:
    """The process dies, or the drain ends: what is not committed is as if it had never begun."""
    jobs = await make(place, 30)
    await place.end(jobs, "completed")
    await age(place, 2)
    for patience_s in (0.001, 0.003, 0.005, 0.01, 0.02, 0.04):
        cut = asyncio.create_task(purge(place.database))
        await asyncio.wait({cut}, timeout=patience_s)
        cut.cancel()
        await asyncio.wait({cut})
        found = await audit(place.database)
        assert (found.ok, found.lost) == (True, 0)
    assert (await purge(place.database)).at is None
    assert await ids(place) == set()


async def test_new_work_goes_on_while_old_work_goes(place: Place) -> None:
    old = await make(place, 60)
    await place.end(old, "completed")
    await age(place, 2)
    purging = asyncio.create_task(purge(place.database))
    new = []
    while not purging.done():
        some = await make(place, 2)
        await place.end(some[:1], "completed")
        new += some
    assert (await purging).rows["job"] == 60
    assert len(new) > 2
    assert await ids(place) == set(new)
    found = await audit(place.database)
    assert (found.ok, found.accepted, found.purged) == (True, 60 + len(new), 60)


async def test_what_has_to_stay_holds_nothing_up(place: Place) -> None:
    """The attempts of dead letters are the oldest: a batch that met them again and again would never get past them."""
    dead = await make(place, 10)
    await place.end(dead)
    done = await make(place, 4)
    await place.end(done, "completed")
    await age(place, 30)
    await place.rows("UPDATE job_attempt SET job_id = 'job_00' || substr(job_id, 7)")
    await place.rows("UPDATE job SET id = 'job_00' || substr(id, 7)")
    gone = (await purge(place.database)).rows
    assert (gone["job"], gone["job_attempt"]) == (4, 4)
    assert len(await ids(place)) == 10


BULK = Statement(
    "bulk",
    """
    INSERT INTO job (id, queue, task, args, tenant, priority, run_at, state, due, fence, attempt, max_attempts, crashes,
                     releases, timeout_s, created_at, finished_at)
    SELECT id, 'api', 'a.b', '{}', 'acme', 5, 1, 'completed', FALSE, 1, 1, 1, 0, 0, 1, 1, 1 FROM {rows} AS i
    """,
    rows={"id": "text"},
)


async def test_a_large_purge_holds_no_transaction_for_long(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the batch may be: one that took long makes the next ones smaller."""
    many = 20_000
    async with place.database.transaction() as connection:
        await connection.fetch(BULK, None, [(new_id("job"),) for _ in range(many)])
        await connection.fetch(ADD_TALLY, {"id": new_id("tly"), "accepted": many, "purged": 0})
    monkeypatch.setattr("shared.db.sweep.BATCH_AIM_S", 0.02)
    took: list[tuple[float, int]] = []
    begin = place.database.transaction

    @asynccontextmanager
    async def timed():
        began = time.monotonic()
        async with begin() as connection:
            yield connection
        took.append((time.monotonic() - began, len(took)))

    monkeypatch.setattr(place.database, "transaction", timed)
    with Stalls() as stalls:
        found = await purge(place.database, ApiSettings(purge_batch=5_000))
    assert (found.at, found.rows["job"]) == (None, many)
    assert max(took)[0] - stalls.seconds < 1.5
    assert len(took) > many / 5_000 + 5, "no batch was made smaller"
    assert (await audit(place.database)).ok


LANE = "INSERT INTO lane (queue, tenant, name, own, burst, ordered, paused_at, tat, updated_at) VALUES "


async def test_lanes_that_say_nothing_go(place: Place) -> None:
    now_us = place.database.clock.now_us()
    (job,) = await make(place, 1)
    await place.rows("UPDATE job SET lane = 'busy' WHERE id = :id", id=job)
    past, ahead = now_us - 120 * SECOND_US, now_us + 120 * SECOND_US
    for name, own, paused, tat in (
        ("idle", False, None, past), ("idle2", False, None, 0), ("idle3", False, None, past), ("idle4", False, None, 0),
        ("limits", True, None, 0), ("paused", False, now_us, 0), ("spent", False, None, ahead),
        ("busy", False, None, 0),
    ):  # fmt: skip
        await place.rows(
            LANE + "('api', 'acme', :name, :own, 1, FALSE, CAST(:paused AS bigint), :tat, 0)",
            name=name, own=own, paused=paused, tat=tat,
        )  # fmt: skip
    assert (await purge(place.database)).rows["lane"] == 4
    assert await ids(place, "lane", "name") == {"limits", "paused", "spent", "busy"}
    await place.end([job], "completed")
    assert (await purge(place.database)).rows["lane"] == 1
    assert await ids(place, "lane", "name") == {"limits", "paused", "spent"}


async def test_the_hourly_job_reports_and_leaves_the_rest_when_its_process_is_to_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real worker, told to stop in the middle of a purge that would take much longer than its drain may."""
    jobs = await make(place, 200)
    await place.end(jobs, "completed")
    await age(place, 2)
    monkeypatch.setattr("shared.db.sweep.PAUSE_MOST_S", 0.01)
    app = create_app(place.settings, SMALL)
    async with app.router.lifespan_context(app):
        async with working(place.settings, app, {}):
            async with open_tx(place.database) as tx:
                first = await enqueue(tx, PurgeHistory(), tenant="system")
            app.state.resources.waker.wake("api")
            async with asyncio.timeout(20):
                while len(await ids(place)) > 195:  # noqa: ASYNC110 - another transaction's work
                    await asyncio.sleep(0.005)
        stopped = await result(place, first)
        assert (stopped["more"] is not None, 0 < stopped["job"] < 200) == (True, True)
        async with working(place.settings, app, {}):
            async with asyncio.timeout(20):
                while await state(place, stopped["more"]) != "completed":  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.01)
    rest = await result(place, stopped["more"])
    assert (stopped["job"] + rest["job"], rest["more"]) == (200, None)
    assert await ids(place) == {first, stopped["more"]}
    assert (await audit(place.database)).ok


async def state(place: Place, job_id: str) -> str:
    return (await place.rows("SELECT state FROM job WHERE id = :id", id=job_id))[0]["state"]


async def result(place: Place, job_id: str) -> dict[str, Any]:
    return orjson.loads((await place.rows("SELECT result FROM job WHERE id = :id", id=job_id))[0]["result"])
