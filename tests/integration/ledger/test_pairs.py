"""Everything that can happen to a family of two and to two jobs of one key, by the ledger's own statements: all of it.

`pytest tests/integration/ledger/test_pairs.py -s` prints how much that is.
"""

from collections.abc import Callable

import pytest

from shared.contracts.unique import Unique
from shared.db.sql import Statement
from shared.ledger.audit import CHECKS
from shared.ledger.states import TERMINAL
from shared.ledger.store_accept import Sole
from shared.ledger.store_unique import accept_unique
from tests.integration.ledger.jobs import NOW_US, born, job
from tests.integration.ledger.pairs import IDS, INCARNATION, LATER_US, Pair, Row, moves, put, there

pytestmark = pytest.mark.slow
KIN = ("waits_for_other_than_its_children", "started_before_its_children", "done_and_not_counted")
HELD = ("key_of_what_does_not_wait",)


async def walk(database, start: Pair, names, judge: Callable[[Pair, str], None], more=lambda _: {}):
    """Every state that can come of `start`; `judge` and the audit's checks hold in each. State → words → next state."""
    checks = {name: Statement(name, CHECKS[name]) for name in names}
    ways: dict[Pair, dict[str, Pair]] = {}
    waiting = [start]
    await born(database, INCARNATION)
    sqlite = database.dialect == "sqlite"
    async with database.transaction() as connection:
        while waiting:
            pair = waiting.pop()
            if pair in ways:
                continue
            ways[pair] = {}
            for words, do in {**moves(pair, sqlite=sqlite), **more(pair)}.items():
                await put(connection, pair, sqlite=sqlite)
                await do(connection)
                after = await there(connection)
                ways[pair][words] = after
                if after in ways:
                    continue
                for name, check in checks.items():
                    assert not await connection.fetch(check), f"{name}: {pair} → {words} → {after}"
                judge(after, f"{pair} → {words} → {after}")
                waiting.append(after)
    print(f"\n{len(ways)} states, {sum(map(len, ways.values()))} steps")
    return ways


def without_an_end(ways, wanted: Callable[[Pair], bool]) -> list[Pair]:
    """States from which nothing but people could lead to what is wanted."""
    good = {pair for pair in ways if wanted(pair)}
    grown = True
    while grown:
        found = {p for p, to in ways.items() if p not in good and any(
            after in good for words, after in to.items() if not words.startswith("they"))}  # fmt: skip
        good |= found
        grown = bool(found)
    return [pair for pair in ways if pair not in good]


def reached(ways, start: Pair, without: str) -> set[Pair]:
    found, waiting = set(), [start]
    while waiting:
        pair = waiting.pop()
        if pair not in found:
            found.add(pair)
            waiting += [after for words, after in ways[pair].items() if words != without]
    return found


@pytest.mark.parametrize("on_dead", [None, "run", "cancel"])
async def test_a_job_waits_for_its_child_and_is_never_forgotten(database, on_dead):
    parent, child = IDS
    start = (Row(parent, waits_for=1, on_dead=on_dead), Row(child, due=True, parent=parent))

    def judge(pair: Pair, way: str) -> None:
        waits, other = pair
        if waits.state in ("dispatched", "running", "completed"):
            assert other.counted, way
        assert waits.waits_for == int(not other.counted), way

    ways = await walk(database, start, KIN, judge)
    assert len(ways) > 50
    stuck = without_an_end(ways, lambda pair: pair[0].state in TERMINAL)
    by_dead = [pair for pair in stuck if pair[1].state == "dead" and not pair[1].counted]
    assert stuck == by_dead, "what waits for a dead child waits for a person, and nothing else does"
    assert bool(stuck) == (on_dead != "run")
    if on_dead == "cancel":  # it ends with its child, unless somebody has run it again beside a dead one
        assert not set(stuck) & reached(ways, start, without="they retry A")


@pytest.mark.parametrize("on_conflict", ["keep", "replace", "reschedule"])
async def test_of_what_waits_under_one_key_there_is_one(database, on_conflict):
    key = Unique(key="k").key_of("suite.work", "t1", {})

    def enqueues(pair: Pair):
        """Whoever of the two is not there comes, now or for later."""
        found = {}
        for name, job_id in zip("AB", IDS, strict=True):
            if job_id in {row.id for row in pair}:
                continue
            for words, run_at in (("", NOW_US), (" for later", LATER_US)):
                new = job(
                    id=job_id, max_attempts=2, run_at=run_at, unique_key=key, sole=Sole(on_conflict, None, run_at)
                )

                async def come(connection, new=new) -> None:
                    (found,) = await accept_unique(connection, [new])
                    (stands,) = [row for row in await there(connection) if row.id == found.id]
                    assert stands.state in ("ready", "dispatched"), f"{found} stands for one that has started"
                    assert (found.what == "made") == (found.id == new.id)

                found[f"{name} is enqueued{words}"] = come
        return found

    def judge(pair: Pair, way: str) -> None:
        waiting = [row for row in pair if row.unique_key and row.state in ("ready", "dispatched")]
        assert len(waiting) <= 1, way

    ways = await walk(database, (), HELD, judge, enqueues)
    assert len(ways) > 200
    assert [pair for pair in without_an_end(ways, lambda p: all(row.state in TERMINAL for row in p)) if pair] == []
