"""Everything that can happen to one job under a few faults is walked; a guard taken out is found, with the way there.

The figures printed are the model's size. `pytest tests/simulation/test_model.py -s` prints the ways as well.
"""

import itertools

import pytest

from shared.ledger import store_claim, store_dispatch, store_line, store_record
from shared.ledger.states import STATES
from shared.ledger.store_record import _INPUT
from tests.simulation.database import mute, shared
from tests.simulation.explore import walk
from tests.simulation.model import FAULTS, MORE_FAULTS, RULES, START, flaw, steps
from tests.simulation.model_state import Job, Record, Rules, State, Worker, after, claimed, ended

RECONCILE = ("missing", "dead_readers", "deaf_readers", "held_by_nobody", "strays")


def explore(rules, faults, most):
    return walk(START, lambda state: steps(state, rules, faults), most)


@pytest.mark.slow
@pytest.mark.parametrize(("faults", "most", "least"), [(FAULTS, 3, 50_000), (MORE_FAULTS, 2, 60_000)])
def test_nothing_is_stuck_or_leaked_or_early_or_written_by_the_stale(faults, most, least):
    walked = explore(RULES, faults, most)
    found = flaw(walked)
    assert found is None, str(found)
    assert len(walked.states) > least  # or the model has lost something
    print(f"\n{len(walked.states)} states, {walked.steps} steps, with {most} of {sorted(faults)}: {walked.by_faults}")


@pytest.mark.parametrize(
    ("guards", "faults", "most", "words"),
    [
        (RECONCILE, {"kill"}, 1, "stuck"),
        (("self_check",), {"late"}, 1, "stuck"),
        (("self_check", "look_up"), {"commit"}, 1, "stuck"),
        (("tombstone",), {"lease"}, 1, "declared dead"),
        (("fence",), {"commit"}, 1, "a stale worker wrote"),
        (("holder",), {"commit"}, 1, "a recorded result was overwritten"),
        (("dispatched_only",), set(), 0, "before its run_at"),
        (("rescue",), {"kill"}, 1, "stuck"),
        (("missing",), {"wipe"}, 1, "stuck"),
        (("dead_readers",), {"kill"}, 1, "stuck"),
        (("deaf_readers",), {"read"}, 1, "stuck"),
        (("held_by_nobody",), {"consumer", "kill"}, 2, "stuck"),
        (("strays",), {"acknowledge"}, 1, "leaked"),
    ],
)
def test_a_guard_taken_out_is_found(guards, faults, most, words):
    found = flaw(explore(Rules(**dict.fromkeys(guards, False)), faults, most))
    assert found is not None
    assert words in found.what
    print(f"\nwithout {', '.join(guards)}: {found}")


def test_either_look_at_what_it_has_is_enough_after_a_lost_answer():
    assert flaw(explore(Rules(look_up=False), MORE_FAULTS, 1)) is None
    assert flaw(explore(Rules(self_check=False), FAULTS, 1)) is None


# The model's guards are those of the statements

NOW_US = 10**12
COLUMNS = {
    "id": "j", "queue": "q", "task": "t", "args": "{}", "tenant": "t", "priority": 0, "max_attempts": 2, "crashes": 0,
    "releases": 0, "timeout_s": 1.0, "created_at": 0, "dispatched_at": NOW_US, "fence": 7, "attempt": 0,
}  # fmt: skip


@pytest.fixture
def ledger():
    raw = shared()
    mute(raw)
    raw.create_function("sim_attempted", 4, lambda *_: None)
    raw.execute("BEGIN")
    for table in ("job", "job_attempt", "incarnation"):
        raw.execute(f"DELETE FROM {table}")
    yield raw
    raw.execute("ROLLBACK")


def insert(raw, table, values):
    marks = ", ".join("?" * len(values))
    raw.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))


def run(raw, statement, params=None, rows=()):
    return raw.execute(statement.sql("sqlite"), statement.bind("sqlite", params, rows)).fetchall()


def put(raw, state, *, due=True, incarnation=None):
    run_at = NOW_US if due else NOW_US + 1
    raw.execute("DELETE FROM job")
    insert(raw, "job", {**COLUMNS, "state": state, "run_at": run_at, "incarnation": incarnation})


def what_is_there(raw):
    row = raw.execute("SELECT state, run_at, attempt, fence FROM job").fetchone()
    return row["state"], row["run_at"] <= NOW_US, row["attempt"], row["fence"]


def test_the_claim_statement_takes_what_the_model_takes(ledger):
    insert(ledger, "incarnation", {"id": "i", "queue": "q", "role": "worker", "host": "h", "pid": 1, "capacity": 1,
                                   "beat": 0, "started_at": 0})  # fmt: skip
    for state, buried in itertools.product(STATES, (False, True)):
        ledger.execute("UPDATE incarnation SET tombstone = ?", ("lost" if buried else None,))
        put(ledger, state)
        run(ledger, store_claim.CLAIM, {"ids": ["j"], "incarnation": "i", "now": NOW_US, "grace": 10.0})
        taken = claimed(State(Job(state, due=True), workers=(Worker(buried=buried), Worker())), 0, RULES)
        expected = (taken.job.state, True, 0, 8) if taken else (state, True, 0, 7)
        assert what_is_there(ledger) == expected, (state, buried)


@pytest.mark.parametrize("kind", ["completed", "failed", "released"])
def test_the_statement_that_ends_attempts_writes_what_the_model_writes(ledger, kind):
    for state, stale, another in itertools.product(STATES, (False, True), (False, True)):
        put(ledger, state, incarnation="i" if state == "running" else None)
        end = after(Job("running", due=True), kind)
        row = dict.fromkeys(_INPUT) | {
            "id": "j", "fence": 6 if stale else 7, "incarnation": "other" if another else "i", "state": end.state,
            "run_at": None if end.due else NOW_US + 1, "attempt": end.attempt, "crashes": 0, "releases": 0,
            "finished_at": NOW_US, "outcome": kind,
        }  # fmt: skip
        run(ledger, store_record.END_ATTEMPTS, None, [tuple(row.values())])
        holder = (0, 0) if state == "running" else None
        done = ended(State(Job(state, due=True, holder=holder)), 0, Record(kind, stale, int(another)), RULES)
        expected = (*done.job[:3], 7) if done else (state, True, 0, 7)
        assert what_is_there(ledger) == expected, (state, stale, another)


def at(state, due):
    return State(Job(state, due, holder=(0, 0) if state == "running" else None))


def test_the_relay_s_statements_move_what_the_model_moves(ledger):
    for state, due in itertools.product(STATES, (False, True)):
        put(ledger, state, due=due)
        run(ledger, store_line.MOVE_INTO_LINE, {"queue": "q", "now": NOW_US, "floor": 0, "most": 1})
        run(ledger, store_dispatch.MARK, {"ids": ["j"], "now": NOW_US})
        marked = [following for words, _, following, _ in steps(at(state, due)) if "marks" in words]
        assert what_is_there(ledger)[0] == (marked[0].job.state if marked else state), (state, due)
        put(ledger, state, due=due)
        run(ledger, store_dispatch.UNDISPATCH, {"ids": ["j"], "seen": NOW_US})
        given = [following for words, _, following, _ in steps(at(state, due)) if "gives the job back" in words]
        assert what_is_there(ledger)[0] == (given[0].job.state if given else state), (state, due)
