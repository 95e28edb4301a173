"""The steps of one worker, in the order of `shared.transport.pump`: read, claim, drop, run, record; its beat; its end.

Each step yields its words, what fault it is if it is one, and the state after it. A commit that did not happen, unknown
to the worker, is no step of its own: it is tried again, as if for the first time. A claim may also happen later.
"""

from tests.simulation.model_state import (
    GONE,
    UNREAD,
    Record,
    Worker,
    claimed,
    ended,
    left,
    reborn,
    with_worker,
    without_entries,
)

NAMES = ("A", "B")


def steps(state, number, rules):
    worker = state.workers[number]
    who = NAMES[number]
    if worker.late:
        yield from _late(state, number, rules)
    if not worker.up:
        yield f"{who} is declared dead and has a successor", "", reborn(state, number)
        return
    yield from _PHASES[worker.phase](state, number, worker, rules)
    yield from _recording(state, number, worker, rules)
    yield from _beating(state, number, worker, rules)
    yield from _dying(state, number, worker)


def _idle(state, number, worker, rules):
    if UNREAD not in state.stream:
        return
    place = state.stream.index(UNREAD)
    stream = (*state.stream[:place], number, *state.stream[place + 1 :])
    who = NAMES[number]
    reading = worker._replace(phase="read", entry=place)
    yield f"{who} reads the entry", "", with_worker(state, number, reading, stream=stream)
    yield f"{who}'s read loses its answer", "read", state._replace(stream=stream)


def _claiming(state, number, worker, rules):
    who = NAMES[number]
    won = claimed(state, number, rules)
    if won is not None:
        mine = won.workers[number]
        known = mine._replace(phase="won", early=not won.job.due)
        yield f"{who} claims the job", "", with_worker(won, number, known)
        doubtful = mine._replace(phase="doubt")
        yield f"{who}'s claim commits and loses its answer", "commit", with_worker(won, number, doubtful)
    elif worker.phase == "doubt" and rules.look_up:
        yield f"{who}'s second claim is refused", "", with_worker(state, number, worker._replace(phase="look_up"))
    else:
        yield f"{who}'s claim is refused", "", with_worker(state, number, worker._replace(phase="refused"))
    if not worker.late:
        late = worker._replace(phase="doubt", late=True)
        yield (
            f"{who} gives up on the answer to a claim that is still on its way",
            "late",
            with_worker(state, number, late),
        )


def _late(state, number, rules):
    done = claimed(state, number, rules)
    words = f"{NAMES[number]}'s late claim {'takes effect' if done else 'is refused'}"
    done = done or state
    yield words, "", with_worker(done, number, done.workers[number]._replace(late=False))


def _looking_up(state, number, worker, rules):
    ours = state.job.state == "running" and state.job.holder == (number, 0)
    found = worker._replace(phase="won", early=not state.job.due) if ours else worker._replace(phase="refused")
    yield f"{NAMES[number]} looks up what it has", "", with_worker(state, number, found)


def _dropping(state, number, worker, rules):
    """Acknowledge and delete, whether the claim was won or refused; then the handler starts, if there is one."""
    who, won = NAMES[number], worker.phase == "won"
    broken = "a handler starts before its run_at" if worker.early else ""
    kept = worker._replace(phase="running" if won else "idle", entry=GONE, early=False)
    next_state = with_worker(state, number, kept, broken=broken)
    then = ", and its handler starts" if won else ""
    yield f"{who} acknowledges and deletes{then}", "", without_entries(next_state, [worker.entry])
    yield f"{who} fails to acknowledge{then}", "acknowledge", next_state


def _running(state, number, worker, rules):
    """It returns, it raises, or it commits its own completion with `attempt.tx()`."""
    who, free = NAMES[number], worker._replace(phase="idle", stale=False)
    record = Record("completed", worker.stale)
    done = ended(state, number, record, rules)
    if done is None and rules.fence and rules.holder:
        late = free._replace(records=(*worker.records, Record("late", stale=True)))
        yield f"{who}'s handler ends too late", "", with_worker(state, number, late)
        yield f"{who}'s transaction is stale", "", with_worker(state, number, free)
        return
    for kind, words in (("completed", "returns"), ("failed", "fails, to be retried later")):
        end = free._replace(records=(*worker.records, Record(kind, worker.stale)))
        yield f"{who}'s handler {words}", "", with_worker(state, number, end)
    if done is None:
        return
    free = done.workers[number]._replace(phase="idle", stale=False)
    yield f"{who}'s transaction completes the job", "", with_worker(done, number, free)
    # The handler sees an exception, and its attempt is judged to have failed.
    judged = "late" if rules.fence and rules.holder else "failed"
    doubtful = free._replace(records=(*free.records, Record(judged, worker.stale or judged == "late")))
    yield f"{who}'s transaction completes the job and loses its answer", "commit", with_worker(done, number, doubtful)


def _recording(state, number, worker, rules):
    if not worker.records:
        return
    record = worker.records[0]
    words = f"{NAMES[number]} records the end ({record.kind})"
    done = ended(state, number, record, rules)
    if done is None:
        yield f"{words} and is refused", "", with_worker(state, number, worker._replace(records=worker.records[1:]))
        return
    known = done.workers[number]._replace(records=done.workers[number].records[1:])
    yield words, "", with_worker(done, number, known)
    yield f"{words} and loses the answer", "commit", done


def _beating(state, number, worker, rules):
    """The beat finds its tombstone, or reads what the ledger thinks runs here: what nobody here knows of goes back.

    A beat that finds out late is no other: what it gives back waits in the recorder, under the fence that it saw.
    """
    who, job = NAMES[number], state.job
    if worker.buried:
        if worker.phase in ("idle", "running"):  # the pump ends what it is about before it looks up
            yield f"{who} finds its tombstone and begins again", "", reborn(state, number)
    elif rules.self_check and job.state == "running" and job.holder == (number, 0):
        knows = worker.phase in ("won", "running") and not worker.stale
        if not knows and worker.phase not in ("doubt", "look_up") and not worker.records:
            given = worker._replace(records=(Record("released", stale=False),))
            yield f"{who}'s beat sees a job that nobody here knows", "", with_worker(state, number, given)


def _dying(state, number, worker):
    """SIGKILL takes all that a process remembers. What was sent before is the server's: a late claim stays."""
    who = NAMES[number]
    killed = Worker(up=False, buried=worker.buried, late=worker.late and not worker.buried)
    yield f"{who} is killed", "kill", with_worker(state, number, killed)
    if not worker.buried:
        yield (
            f"{who} loses its lease and does not know",
            "lease",
            with_worker(state, number, worker._replace(buried=True)),
        )


def rescue(state, rules):
    """The rescuer: what the dead had goes back; a deadline that passes spends an attempt, so it counts as a fault."""
    job = state.job
    if job.state != "running":
        return
    number, lives_ago = job.holder
    if lives_ago or state.workers[number].buried:
        if rules.rescue:
            yield f"the job of the dead {NAMES[number]} goes back", "", left(state, "lost", rules)
    else:
        yield "the job's deadline passes", "deadline", left(state, "overdue", rules)


_PHASES = {
    "idle": _idle, "read": _claiming, "doubt": _claiming, "look_up": _looking_up, "won": _dropping,
    "refused": _dropping, "running": _running,
}  # fmt: skip
