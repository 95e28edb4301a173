"""Retention: what is old goes, in batches; what people must still see stays; the audit holds all the way."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.api.settings import ApiSettings
from services.api.upkeep import Purged, compact_tally, id_floor, purge
from shared.kernel.clock import SECOND_US, ManualClock
from shared.ledger.audit import audit
from shared.ledger.store_action import NOTE_ACTION
from shared.runtime.resources import Resources, open_resources
from tests.integration.api.test_jobs import make
from tests.integration.http.places import Place

DAY_US = 86_400 * SECOND_US
SMALL = ApiSettings(purge_batch=3)


@pytest.fixture
async def resources(place: Place) -> AsyncIterator[Resources]:
    async with open_resources(place.settings) as resources:
        yield resources


async def ids(place: Place, table: str = "job", column: str = "id") -> set[str]:
    return {row[column] for row in await place.rows(f"SELECT {column} FROM {table}")}


async def age(place: Place, days: float) -> None:
    """Everything that has ended so far ended that much earlier."""
    shift = int(days * DAY_US)
    await place.rows("UPDATE job SET finished_at = finished_at - :s WHERE finished_at IS NOT NULL", s=shift)
    await place.rows("UPDATE job_attempt SET finished_at = finished_at - :s", s=shift)


async def test_nothing_young_goes(place: Place, resources: Resources) -> None:
    jobs = await make(place, 3)
    await place.end(jobs[:2], "completed")
    assert await purge(resources, SMALL) == Purged(0, 0, 0, 0, 0)
    assert await ids(place) == set(jobs)


async def test_finished_jobs_go_after_a_day_and_dead_ones_never(place: Place, resources: Resources) -> None:
    jobs = await make(place, 12)
    completed, dead, waiting = jobs[:8], jobs[8:10], jobs[10:]
    await place.end(completed, "completed")
    await place.end(dead)
    await age(place, 1.1)
    assert (await purge(resources, SMALL)).jobs == 8
    assert await ids(place) == {*dead, *waiting}
    found = await audit(place.database)
    assert (found.ok, found.accepted, found.purged, found.rows) == (True, 12, 8, 4)
    assert await ids(place, "job_attempt", "job_id") == {*completed, *dead}


async def test_attempts_go_after_their_fortnight_and_never_before_their_job(
    place: Place, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = await make(place, 8)
    await place.end(jobs[:5], "completed")
    await place.end(jobs[5:])
    await age(place, 15)
    resources.database.clock = clock = ManualClock()
    clock._now_us = place.database.clock.now_us()
    # The ids were made a moment ago; the jobs are to have been made long before.
    monkeypatch.setattr("services.api.upkeep.id_floor", lambda prefix, _: f"{prefix}_zzz")
    gone = await purge(resources, SMALL)
    assert (gone.jobs, gone.attempts) == (5, 5)
    assert await ids(place, "job_attempt", "job_id") == set(jobs[5:])
    assert (await audit(place.database)).ok


async def test_what_was_decided_goes_after_its_quarter(place: Place, resources: Resources) -> None:
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
    assert (await purge(resources, SMALL)).actions == 4
    assert sorted(row["at"] for row in await place.rows("SELECT at FROM job_action")) == [
        now_us - 89 * DAY_US, now_us - DAY_US,
    ]  # fmt: skip


async def test_expired_keys_go(place: Place, resources: Resources) -> None:
    for number in range(7):
        await place.rows(
            "INSERT INTO dedup (scope, key, fingerprint, created_at, expires_at) VALUES ('s', :k, 'f', 1, :e)",
            k=str(number), e=1 << 60 if number == 0 else 5,
        )  # fmt: skip
    assert (await purge(resources, SMALL)).keys == 6
    assert await ids(place, "dedup", "key") == {"0"}


async def test_tallies_become_one_and_young_ones_are_left(place: Place, resources: Resources) -> None:
    for _ in range(5):
        await make(place, 2)
    now_us = place.database.clock.now_us()
    assert await compact_tally(resources, now_us - 3600 * SECOND_US) == 0
    assert await compact_tally(resources, now_us + SECOND_US) == 5
    assert await place.rows("SELECT accepted, purged FROM job_tally") == [{"accepted": 10, "purged": 0}]
    assert (await audit(place.database)).ok


async def test_two_purges_at_once_count_every_job_once(place: Place, resources: Resources) -> None:
    jobs = await make(place, 20)
    await place.end(jobs, "completed")
    await age(place, 2)
    first, second = await asyncio.gather(purge(resources, SMALL), purge(resources, SMALL))
    assert first.jobs + second.jobs == 20
    found = await audit(place.database)
    assert (found.ok, found.purged, found.rows) == (True, 20, 0)
