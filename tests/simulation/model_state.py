"""What the model of one job knows: the ledger's row, the stream, the relay, two workers; what changes them together.

Numbers that only rise are kept as what they are compared for, or the model would have no end: a fence is the job's own
or stale, an incarnation is so many lives ago, a `run_at` has come or has not, an entry is its place in the stream. What
an end makes of the job is asked of `shared.ledger.states`, never repeated. Who may take a step is not decided here.
"""

from typing import NamedTuple

from shared.ledger import states
from shared.ledger.states import TERMINAL, Claim, Failure

MAX_ATTEMPTS = 2  # one retry
PAST, NOBODY, UNREAD = -3, -2, 9  # who holds an entry, besides a worker: PAST is an incarnation that was declared dead
GONE = -4  # the place of an entry that is not in the stream any more
_NOW_US, _LATER_S = 10**12, 60.0


class Rules(NamedTuple):
    """The guards, each of which can be taken out."""

    dispatched_only: bool = True  # a claim does not take what is ready
    tombstone: bool = True  # nor for an incarnation that was declared dead
    fence: bool = True  # an end matches the fence of its claim
    holder: bool = True  # and the incarnation, and `running`
    look_up: bool = True  # after a claim without an answer, the worker asks what it has
    self_check: bool = True  # every beat asks that again
    rescue: bool = True  # what the dead had goes back
    missing: bool = True  # reconcile: dispatched, and no entry
    dead_readers: bool = True  # an entry that a dead incarnation holds
    deaf_readers: bool = True  # one that a living one holds for too long: it never heard of it
    held_by_nobody: bool = True  # one whose reader's consumer was deleted
    strays: bool = True  # one whose job is not dispatched


class Job(NamedTuple):
    state: str = "ready"
    due: bool = False
    attempt: int = 0
    holder: tuple[int, int] | None = None  # worker, and how many lives ago


class Record(NamedTuple):
    """An end on its way into the ledger."""

    kind: str
    stale: bool
    lives_ago: int = 0


class Worker(NamedTuple):
    """One slot: the process in it, or the one that died there. One job at a time; the recorder works beside it."""

    up: bool = True
    buried: bool = False  # its incarnation has a tombstone, whether it knows or not
    phase: str = "idle"  # idle, read, doubt, look_up, won, refused, running
    entry: int = GONE
    stale: bool = False  # the claim in hand does not count any more
    early: bool = False  # and was made before its time
    late: bool = False  # a claim that was given up by its client and not by the server
    records: tuple[Record, ...] = ()


class State(NamedTuple):
    job: Job = Job()
    stream: tuple[int, ...] = ()
    marked: bool = False  # the relay has committed a dispatch and has yet to publish it
    workers: tuple[Worker, ...] = (Worker(), Worker())
    broken: str = ""


def is_over(state):
    return state.job.state in TERMINAL


def is_clean(state):
    return not state.stream and state.job.state in TERMINAL


def with_worker(state, number, worker, **changes):
    workers = (worker, state.workers[1]) if number == 0 else (state.workers[0], worker)
    return state._replace(workers=workers, **changes)


# Claims and ends


def claimed(state, number, rules):
    """The claim statement for that worker's incarnation; None when it takes nothing."""
    job, buried = state.job, state.workers[number].buried
    if job.state != "dispatched" and (rules.dispatched_only or job.state != "ready"):
        return None
    if buried and rules.tombstone:
        return None
    workers = tuple(_outdated(worker, rules) for worker in state.workers)
    broken = "claimed for an incarnation that was declared dead" if buried else ""
    job = job._replace(state="running", holder=(number, 0))
    return state._replace(job=job, workers=workers, broken=broken)


def _outdated(worker, rules):
    """The fence has risen, or the job left `running`: what was held until now does not count any more."""
    if worker.phase not in ("won", "running") and not worker.records:
        return worker
    records = tuple(record._replace(stale=True) for record in worker.records)
    if rules.fence:  # and nothing else about it matters
        records = tuple(Record("late", stale=True) for _ in records)
    return worker._replace(stale=worker.phase in ("won", "running"), records=records)


def left(state, kind, rules, broken=""):
    """The job as the ledger holds it after that end."""
    workers = state.workers
    if rules.fence and rules.holder:
        workers = tuple(_outdated(worker, rules) for worker in workers)
    return state._replace(job=after(state.job, kind), workers=workers, broken=broken)


def ended(state, number, record, rules):
    """The fenced statement that ends an attempt; None when it changes nothing."""
    job = state.job
    if record.stale and rules.fence:
        return None
    if rules.holder and (job.state != "running" or job.holder != (number, record.lives_ago)):
        return None
    broken = "a stale worker wrote" if record.stale else ""
    if job.state in TERMINAL:
        broken = "a recorded result was overwritten"
    return left(state, record.kind, rules, broken)


def after(job, kind):
    """The row that the ledger holds then, as the pure functions of the state machine have it."""
    end = _ENDS[kind](_claim(job.attempt))
    due = job.due if end.run_at is None else end.run_at <= _NOW_US
    return Job(end.state, due, end.attempt)


def _claim(attempt):
    return Claim(
        id="job", task="task", args="{}", tenant="tenant", queue="queue", fence=1, incarnation="incarnation",
        attempt=attempt, max_attempts=MAX_ATTEMPTS, crashes=0, releases=0, timeout_s=1.0, created_at=0, claimed_at=0,
    )  # fmt: skip


_ENDS = {
    "completed": lambda claim: states.completed(claim, _NOW_US, started_at=0),
    "failed": lambda claim: states.failed(claim, _NOW_US, Failure("E", "e"), started_at=0, delay_s=_LATER_S),
    "released": lambda claim: states.released(claim, _NOW_US, "an ambiguous claim"),
    "lost": lambda claim: states.lost(claim, _NOW_US, "no beat"),
    "overdue": lambda claim: states.overdue(claim, _NOW_US, _LATER_S),
}


# Lives and entries


def reborn(state, number):
    """A new incarnation in that slot: what the old one held is held by a dead one from now on."""
    job = state.job
    records = tuple(
        record if record.kind == "late" else record._replace(lives_ago=record.lives_ago + 1)
        for record in state.workers[number].records
    )
    if job.holder is not None and job.holder[0] == number:
        job = job._replace(holder=(number, job.holder[1] + 1))
    stream = tuple(PAST if holder == number else holder for holder in state.stream)
    return with_worker(state, number, Worker(records=records), job=job, stream=stream)


def without_entries(state, gone):
    """XACK and XDEL, or a wipe: everybody who had to do with these entries has to do with nothing now."""
    gone = [place for place in gone if place != GONE]
    if not gone:
        return state
    places = {GONE: GONE}
    for place in range(len(state.stream)):
        places[place] = GONE if place in gone else place - sum(one < place for one in gone)
    workers = tuple(worker._replace(entry=places[worker.entry]) for worker in state.workers)
    stream = tuple(holder for place, holder in enumerate(state.stream) if place not in gone)
    return state._replace(stream=stream, workers=workers)
