"""Schedules on both databases: each tick makes one job, by whomever, whatever the clock does and whoever dies when."""

import asyncio
from types import SimpleNamespace
from typing import ClassVar

import pytest

from shared.contracts.command import Command, command_table
from shared.contracts.cron import CronLine
from shared.contracts.unique import Unique
from shared.db.engine import Database
from shared.kernel.clock import SECOND_US, ManualClock
from shared.ledger.audit import audit
from shared.ledger.store_schedule import KEEP_US, hold_schedule, pause_schedule
from shared.runtime import ticker
from shared.runtime.ticker import POLL_S, Ticker
from tests.integration.ledger.jobs import QUEUE, rows

NOON_US = 1_767_268_800 * SECOND_US
MINUTE_US = 60 * SECOND_US


class Report(Command):
    task: ClassVar[str] = "suite.report"
    queue: ClassVar[str] = QUEUE
    schedule: ClassVar[tuple[CronLine, ...]] = (CronLine(cron="* * * * *", args={"days": 3}, missed="once"),)
    days: int = 1


def with_line(line):
    return type("Report", (Report,), {"schedule": (line,), "__annotations__": {}})


class SteppedClock(ManualClock):
    """A wall clock that somebody sets, beside a monotonic one that runs on."""

    def __init__(self, start_us):
        super().__init__(start_us)
        self.steps_us = 0

    def now_us(self):
        return super().now_us() + self.steps_us

    def step(self, seconds):
        self.steps_us += round(seconds * SECOND_US)


@pytest.fixture
def clock():
    return SteppedClock(NOON_US - 30 * SECOND_US)


@pytest.fixture
def code(monkeypatch):
    def deploy(*commands):
        monkeypatch.setattr(ticker, "ALL", command_table(*commands))

    deploy(Report)
    return deploy


@pytest.fixture
async def open_ticker(database_url, clock, code):
    """A ticker with connections of its own, as each relay process has one."""
    opened = []

    async def one():
        database = Database(database_url, clock=clock, tx_cap_s=15)
        await database.open()
        opened.append(database)
        return Ticker(SimpleNamespace(database=database, waker=SimpleNamespace(wake=lambda _: None)))

    yield one
    for database in opened:
        await database.close()


async def look(*tickers):
    """Until there is nothing left to do at this moment; returns how long the last one waits."""
    for _ in range(50):
        waits = await asyncio.gather(*(each.run_once([QUEUE]) for each in tickers))
        if all(waits):
            return max(waits)
    raise AssertionError("it never rests")


async def jobs(database):
    return [
        (one["run_at"] - NOON_US) // MINUTE_US for one in await rows(database, "SELECT run_at FROM job ORDER BY run_at")
    ]


async def ticks(database):
    found = await rows(database, "SELECT * FROM cron_tick ORDER BY tick_at")
    known = {one["id"] for one in await rows(database, "SELECT id FROM job")}
    assert {one["job_id"] for one in found} - {None} <= known
    return [((one["tick_at"] - NOON_US) // MINUTE_US, one["missed"]) for one in found]


async def schedule(database, schedule_id="suite.report"):
    return (await rows(database, "SELECT * FROM schedule WHERE id = :id", id=schedule_id))[0]


async def test_a_tick_makes_one_job_with_its_arguments_at_its_instant(database, clock, open_ticker):
    one = await open_ticker()
    assert await look(one) == POLL_S
    assert await jobs(database) == []
    clock.advance(29.75)
    assert await look(one) == pytest.approx(0.25), "it sleeps until the tick, not until the next look"
    clock.advance(0.25)
    await look(one)
    (job,) = await rows(database, "SELECT * FROM job")
    (tick,) = await rows(database, "SELECT * FROM cron_tick")
    assert (job["task"], job["args"], job["tenant"], job["run_at"]) == ("suite.report", '{"days":3}', "system", NOON_US)
    assert (job["state"], bool(job["due"])) == ("ready", True)
    assert (tick["schedule_id"], tick["tick_at"], tick["job_id"]) == ("suite.report", NOON_US, job["id"])
    assert (await schedule(database))["next_at"] == NOON_US + MINUTE_US
    assert (await audit(database)).ok


@pytest.mark.parametrize("on_conflict", ["keep", "replace", "reschedule"])
async def test_a_tick_for_which_a_job_stands_that_waits_names_none(database, clock, open_ticker, code, on_conflict):
    code(type("Report", (Report,), {"unique": Unique(on_conflict=on_conflict), "__annotations__": {}}))
    one = await open_ticker()
    await look(one)
    clock.advance(30)
    await look(one)
    clock.advance(60)
    await look(one)
    (job,) = await rows(database, "SELECT id FROM job")
    found = await rows(database, "SELECT job_id FROM cron_tick ORDER BY tick_at")
    assert [tick["job_id"] for tick in found] == [job["id"], None]
    assert (await audit(database)).ok


async def test_two_tickers_at_once_make_each_tick_once(database, clock, open_ticker):
    tickers = [await open_ticker() for _ in range(3)]
    for _ in range(12):
        await look(*tickers)
        clock.advance(30)
    await look(*tickers)
    assert await jobs(database) == [0, 1, 2, 3, 4, 5]
    assert await ticks(database) == [(number, 0) for number in range(6)]
    found = await audit(database)
    assert (found.ok, found.accepted) == (True, 6)


async def test_a_ticker_that_saw_the_tick_before_another_made_it_makes_nothing(
    database, clock, open_ticker, monkeypatch
):
    """The slow one has read the row, and comes to write when everything is over."""
    slow, quick = await open_ticker(), await open_ticker()
    await look(slow, quick)
    clock.advance(30)
    read, go = asyncio.Event(), asyncio.Event()
    make = slow._make

    async def held(*args):
        read.set()
        await go.wait()
        return await make(*args)

    monkeypatch.setattr(slow, "_make", held)
    late = asyncio.create_task(slow.run_once([QUEUE]))
    await read.wait()
    await look(quick)
    clock.advance(60)
    await look(quick)
    go.set()
    await late
    assert await jobs(database) == [0, 1]
    assert (await schedule(database))["next_at"] == NOON_US + 2 * MINUTE_US


async def test_a_ticker_that_dies_inside_its_transaction_leaves_the_tick_to_the_next(
    database, clock, open_ticker, monkeypatch
):
    dying, successor = await open_ticker(), await open_ticker()
    await look(dying)
    clock.advance(30)

    def die(point):
        raise ConnectionError(point)

    monkeypatch.setattr(ticker, "strike", die)
    with pytest.raises(ConnectionError, match=r"cron\.ticked"):
        await dying.run_once([QUEUE])
    assert (await jobs(database), await ticks(database)) == ([], [])
    monkeypatch.setattr(ticker, "strike", lambda point: die(point) if point == "cron.committed" else None)
    with pytest.raises(ConnectionError, match=r"cron\.committed"):
        await successor.run_once([QUEUE])
    monkeypatch.undo()
    ticker.ALL.update(command_table(Report))
    await look(dying, successor)
    assert await jobs(database) == [0]


@pytest.mark.parametrize(
    ("policy", "made", "written"),
    [
        ({"missed": "skip"}, [0], [(0, 0), (9, 9)]),
        ({"missed": "once"}, [0, 9], [(0, 0), (9, 8)]),
        ({"missed": "all", "catch_up": 4}, [0, 6, 7, 8, 9], [(0, 0), (6, 5), (7, 0), (8, 0), (9, 0)]),
    ],
)
async def test_downtime_is_made_up_for_as_the_schedule_says(database, clock, open_ticker, code, policy, made, written):
    code(with_line(CronLine(cron="* * * * *", **policy)))
    one = await open_ticker()
    await look(one)
    clock.advance(30)
    await look(one)
    clock.advance(9 * 60 + 50)
    back = [await open_ticker(), await open_ticker()]
    await look(*back)
    assert (await jobs(database), await ticks(database)) == (made, written)
    clock.advance(10)
    await look(*back)
    assert (await jobs(database))[-1] == 10


async def test_a_clock_set_back_makes_no_second_tick_and_loses_none(database, clock, open_ticker):
    one = await open_ticker()
    await look(one)
    for _ in range(5):
        clock.advance(60)
        await look(one)
    assert await jobs(database) == [0, 1, 2, 3, 4]
    clock.step(-150)
    await look(one)
    for _ in range(4):
        clock.advance(60)
        await look(one)
    assert await jobs(database) == [0, 1, 2, 3, 4, 5, 6]


async def test_a_clock_that_was_a_year_ahead_does_not_silence_a_schedule_for_a_year(database, clock, open_ticker):
    one, other = await open_ticker(), await open_ticker()
    await look(one, other)
    clock.step(365 * 86_400)
    await look(one, other)
    assert len(await jobs(database)) == 1, "downtime, as far as anybody can know: once"
    clock.step(-365 * 86_400)
    await look(one, other)
    clock.advance(30)
    await look(one, other)
    assert (await jobs(database))[0] == 0
    assert len(await jobs(database)) == 2


async def test_an_instant_that_was_decided_while_the_clock_was_ahead_is_not_decided_again(database, clock, open_ticker):
    one = await open_ticker()
    await look(one)
    clock.step(330)
    await look(one)
    assert await jobs(database) == [5], "once for six of them"
    clock.step(-330)
    await look(one)
    for _ in range(8):
        clock.advance(60)
        await look(one)
    assert await jobs(database) == [0, 1, 2, 3, 4, 5, 6, 7]


async def test_a_clock_set_back_while_no_ticker_ran_is_noticed_by_the_next(database, clock, open_ticker):
    await look(await open_ticker())
    clock.step(3600)
    await look(await open_ticker())
    clock.step(-3600)
    again = await open_ticker()
    await look(again)
    clock.advance(30)
    await look(again)
    assert (await jobs(database))[0] == 0


async def test_a_pause_holds_through_deploys_and_resuming_begins_with_the_next_tick(database, clock, open_ticker, code):
    one = await open_ticker()
    await look(one)
    async with database.transaction() as connection:
        assert (await hold_schedule(connection, "suite.report"))["next_at"] == NOON_US
        await pause_schedule(connection, "suite.report", paused=True, next_us=None, now_us=clock.now_us())
    clock.advance(300)
    code(with_line(CronLine(cron="*/2 * * * *")))
    deployed = await open_ticker()
    await look(one, deployed)
    stored = await schedule(database)
    assert (stored["cron"], bool(stored["paused"]), stored["next_at"]) == ("*/2 * * * *", True, None)
    assert await jobs(database) == []
    async with database.transaction() as connection:
        next_us = NOON_US + 6 * MINUTE_US
        await pause_schedule(connection, "suite.report", paused=False, next_us=next_us, now_us=clock.now_us())
    clock.advance(90)
    await look(one, deployed)
    assert await jobs(database) == [6]


async def test_a_pause_between_the_look_and_the_tick_wins(database, clock, open_ticker, monkeypatch):
    one = await open_ticker()
    await look(one)
    clock.advance(30)
    make = one._make

    async def paused_meanwhile(*args):
        async with database.transaction() as connection:
            await pause_schedule(connection, "suite.report", paused=True, next_us=None, now_us=clock.now_us())
        return await make(*args)

    monkeypatch.setattr(one, "_make", paused_meanwhile)
    await one.run_once([QUEUE])
    assert (await jobs(database), await ticks(database)) == ([], [])


async def test_what_leaves_the_code_ends_and_keeps_its_row(database, clock, open_ticker, code):
    await look(await open_ticker())
    code(with_line(CronLine(cron="@hourly", name="night")))
    deployed = await open_ticker()
    await look(deployed)
    clock.advance(30)
    await look(deployed)
    assert [row["schedule_id"] for row in await rows(database, "SELECT * FROM cron_tick")] == ["suite.report:night"]
    old = await schedule(database)
    assert (old["source"], old["next_at"]) == ("gone", None)
    code(Report)
    clock.advance(61)
    await look(await open_ticker())
    back = await schedule(database)
    assert (back["source"], back["next_at"]) == ("code", NOON_US + 2 * MINUTE_US)


async def test_only_queues_that_are_ours_are_served(database, clock, open_ticker):
    one = await open_ticker()
    clock.advance(3600)
    assert await one.run_once([]) == POLL_S
    assert await one.run_once(["other"]) == POLL_S
    assert await rows(database, "SELECT id FROM schedule") == []


async def test_a_schedule_that_cannot_be_served_does_not_hold_up_the_others(database, clock, open_ticker, code):
    other = type("Other", (Report,), {"task": "suite.other", "__annotations__": {}})
    code(Report, other)
    one = await open_ticker()
    await look(one)
    clock.advance(30)
    del ticker.ALL["suite.other"]
    assert await look(one) == POLL_S
    assert [row["task"] for row in await rows(database, "SELECT task FROM job")] == ["suite.report"]


async def test_old_ticks_are_forgotten_and_the_latest_never(database, clock, open_ticker):
    one = await open_ticker()
    await look(one)
    for _ in range(3):
        clock.advance(60)
        await look(one)
    clock.advance(KEEP_US / SECOND_US + 3600)
    assert len(await ticks(database)) == 3
    await look(one)
    (left,) = await ticks(database)
    assert left[1] > 900, "what was missed stands beside the tick that ended it"
