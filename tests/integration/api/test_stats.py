"""Hours of work: counted once, made up for after downtime, left alone once retention has been there."""

import asyncio
from typing import Any

import httpx
import pytest

from services.api.hours import HOUR_US, count_hours
from services.api.settings import ApiSettings
from services.api.store_hours import read_mark, write_hour
from services.api.upkeep import sweeps
from shared.db.reading import looking
from shared.db.sweep import sweep_all
from shared.kernel.clock import ManualClock, rfc3339
from shared.ledger.store_hours import count_ended
from tests.integration.api.test_jobs import make
from tests.integration.http.places import Place, bearer, expect_problem

KEEP_S = 86_400.0
HOUR = 480_000 * HOUR_US  # 2024-10-04T00:00:00Z


@pytest.fixture
def clock(place: Place) -> ManualClock:
    """Ten minutes after the end of the hour."""
    place.database.clock = ManualClock(HOUR + HOUR_US + HOUR_US // 6)
    return place.database.clock


async def ended(
    place: Place, count: int, state: str, at_us: int, *, run_us: int = 2_000, wait_us: int = 500, attempt: int = 1,
    tenant: str = "acme",
) -> list[str]:  # fmt: skip
    """Jobs that ended then, as rows."""
    jobs = await make(place, count, tenant=tenant)
    for job in jobs:
        await place.rows(
            "UPDATE job SET state = :state, due = FALSE, finished_at = :at, claimed_at = :claimed, run_at = :run,"
            " attempt = :attempt WHERE id = :id",
            id=job, state=state, at=at_us, claimed=at_us - run_us, run=at_us - run_us - wait_us, attempt=attempt,
        )  # fmt: skip
    return jobs


async def counted(place: Place) -> list[dict[str, Any]]:
    return await place.rows("SELECT * FROM api_hourly ORDER BY tenant, hour, task")


async def test_an_hour_is_counted_by_tenant_and_task(place: Place, clock: ManualClock) -> None:
    await ended(place, 3, "completed", HOUR, run_us=1_000)
    await ended(place, 1, "completed", HOUR + HOUR_US - 1, run_us=5_000, wait_us=100, attempt=3)
    await ended(place, 2, "dead", HOUR + 7, attempt=4)
    await ended(place, 1, "cancelled", HOUR + 9)
    await ended(place, 1, "completed", HOUR - 1)
    await ended(place, 1, "completed", HOUR + HOUR_US)
    await ended(place, 1, "completed", HOUR + 5, tenant="globex")
    await make(place, 1)
    report = await count_hours(place.database, KEEP_S)
    assert (report["lost"], report["until"]) == (0, rfc3339(HOUR + HOUR_US))
    rows = [row for row in await counted(place) if row["hour"] == HOUR]
    assert [row["tenant"] for row in rows] == ["acme", "globex"]
    assert rows[0] == {
        "tenant": "acme", "hour": HOUR, "task": "email.send_welcome", "completed": 4, "dead": 2, "cancelled": 1,
        "retries": 8, "ran": 6, "run_us_sum": 12_000, "run_us_max": 5_000, "wait_us_sum": 2_600, "wait_us_max": 500,
    }  # fmt: skip


async def test_the_same_hour_again_gives_the_same_rows(place: Place, clock: ManualClock) -> None:
    await ended(place, 3, "completed", HOUR + 1)
    await count_hours(place.database, KEEP_S)
    first = await counted(place)
    mark = await read_mark(place.database)
    assert (await count_hours(place.database, KEEP_S))["hours"] == 0
    async with looking(place.database) as connection:
        again = await count_ended(connection, HOUR, HOUR + HOUR_US)
    assert await write_hour(place.database, HOUR, again, seen=mark, mark=mark or 0)
    assert await counted(place) == first != []


async def test_two_at_once_count_every_hour_once(place: Place, clock: ManualClock) -> None:
    await ended(place, 3, "completed", HOUR + 1)
    await asyncio.gather(*(count_hours(place.database, KEEP_S) for _ in range(3)))
    assert [(row["hour"], row["completed"]) for row in await counted(place)] == [(HOUR, 3)]
    assert await read_mark(place.database) == HOUR + HOUR_US


async def test_one_that_was_overtaken_writes_nothing(place: Place, clock: ManualClock) -> None:
    await count_hours(place.database, KEEP_S)
    before = await counted(place)
    row = {"tenant": "acme", "task": "a.b", **dict.fromkeys(("completed", "dead", "cancelled", "retries", "ran"), 9)}
    stale = {**row, **dict.fromkeys(("run_us_sum", "run_us_max", "wait_us_sum", "wait_us_max"), 9)}
    assert not await write_hour(place.database, HOUR, [stale], seen=HOUR, mark=HOUR + HOUR_US)
    assert not await write_hour(place.database, HOUR, [stale], seen=None, mark=HOUR + HOUR_US)
    assert await counted(place) == before


async def test_hours_of_a_downtime_are_made_up_for(place: Place, clock: ManualClock) -> None:
    await count_hours(place.database, KEEP_S)
    for later in range(1, 6):
        await ended(place, later, "completed", HOUR + later * HOUR_US + 1)
    clock.advance(5 * 3600)
    report = await count_hours(place.database, KEEP_S)
    assert (report["hours"], report["lost"]) == (5, 0)
    assert [row["completed"] for row in await counted(place)] == [1, 2, 3, 4, 5]


async def test_hours_are_counted_however_soon_retention_comes(place: Place, clock: ManualClock) -> None:
    """Nothing is whole at the first look: it sets the mark, for which retention waits from then on."""
    keep_s = 1_800.0
    assert (await count_hours(place.database, keep_s))["until"] == rfc3339(HOUR + HOUR_US)
    await ended(place, 2, "completed", HOUR + HOUR_US + 1)
    clock.advance(3600)
    report = await count_hours(place.database, keep_s)
    assert (report["hours"], report["lost"]) == (1, 0)
    assert [row["completed"] for row in await counted(place)] == [2]


async def test_hours_that_retention_has_been_at_keep_what_was_counted(place: Place, clock: ManualClock) -> None:
    await ended(place, 3, "completed", HOUR + 1)
    await count_hours(place.database, KEEP_S)
    first = await counted(place)
    await ended(place, 2, "completed", HOUR + HOUR_US + 1)  # and nobody counts that for days
    clock.advance(40 * 3600)
    await purge(place)
    assert len(await place.rows("SELECT id FROM job")) == 2, "what is not counted yet is held back"
    clock.advance(40 * 3600)
    await purge(place)
    assert await place.rows("SELECT id FROM job") == [], "and not for ever"
    report = await count_hours(place.database, KEEP_S)
    assert report["lost"] == 33
    assert await counted(place) == first


async def test_counted_hours_go_in_the_end(place: Place, clock: ManualClock) -> None:
    await ended(place, 3, "completed", HOUR + 1)
    await count_hours(place.database, KEEP_S)
    clock.advance(399 * 86_400)
    assert (await purge(place))["api_hourly"] == 0
    clock.advance(2 * 86_400)
    assert (await purge(place))["api_hourly"] == 1
    assert await counted(place) == []


async def purge(place: Place) -> dict[str, int]:
    settings = ApiSettings(keep_finished_s=KEEP_S)
    chosen = sweeps(settings, place.database.clock.now_us(), await read_mark(place.database))
    return (await sweep_all(place.database, chosen, batch=3, budget_s=60)).rows


async def test_hours_are_listed_within_a_tenant_and_a_range(place: Place, client: httpx.AsyncClient) -> None:
    place.database.clock = ManualClock(HOUR + 4 * HOUR_US)
    for later in range(3):
        await ended(place, later + 1, "completed", HOUR + later * HOUR_US + 1)
    await ended(place, 5, "cancelled", HOUR + 1, tenant="globex")
    await count_hours(place.database, KEEP_S)
    span = {"from": rfc3339(HOUR), "to": rfc3339(HOUR + 3 * HOUR_US)}

    async def ask(**given: Any) -> Any:
        answer = await client.get("/v1/stats/hourly", params={**span, **given})
        assert answer.status_code == 200, answer.text
        return answer.json()

    found = await ask()
    assert [item["completed"] for item in found["items"]] == [1, 2, 3]
    assert found["items"][0] == {
        "hour": rfc3339(HOUR), "task": "email.send_welcome", "completed": 1, "dead": 0, "cancelled": 0, "retries": 0,
        "run_s": {"mean": 0.002, "max": 0.002}, "wait_s": {"mean": 0.0005, "max": 0.0005},
    }  # fmt: skip
    assert (await ask(task="none.such"))["items"] == []
    assert [i["completed"] for i in (await ask(**{"from": rfc3339(HOUR + HOUR_US)}))["items"]] == [2, 3]
    first = await ask(limit=2)
    second = await ask(limit=2, cursor=first["next_cursor"])
    assert [i["completed"] for i in first["items"] + second["items"]] == [1, 2, 3]
    assert second["next_cursor"] is None
    theirs = await client.get("/v1/stats/hourly", params=span, headers=bearer(await place.key(tenant="globex")))
    (item,) = theirs.json()["items"]
    assert (item["cancelled"], item["run_s"], item["wait_s"]) == (5, None, None)
    assert (await client.get("/v1/stats/hourly")).json()["items"] == []  # of the last day: it was in 2024


@pytest.mark.parametrize(
    "given",
    [
        {"from": "yesterday"},
        {"to": "2026-01-31T12:00:00"},
        {"from": "2026-01-31T12:00:00Z", "to": "2026-01-30T12:00:00Z"},
        {"from": "2025-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
        {"cursor": "2Zm9v"},
        {"cursor": "M2hvdXJzIC9h"},  # of hours, and no hour
        {"task": "\x00"},
        {"task": "email.send_welcome\x00"},
    ],
)
async def test_what_cannot_be_a_range_is_refused(client: httpx.AsyncClient, given: dict[str, str]) -> None:
    expect_problem(await client.get("/v1/stats/hourly", params=given), 422, "invalid")
