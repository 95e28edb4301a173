"""The steps of the relay and of reconcile, and what befalls Redis and the marks of the relay.

Reconcile looks at the stream, then at the ledger. Here it is one step, at its second look: nobody but the relay
dispatches and publishes, which does neither meanwhile, so nothing is new. An entry that was seen and went, or was read
by somebody who died, makes the first look see less to do than there is; to do nothing is always possible here.
"""

from tests.simulation.model_state import NOBODY, PAST, UNREAD, without_entries


def steps(state, rules):
    job = state.job
    if state.marked:
        yield "the relay publishes", "", state._replace(marked=False, stream=(*state.stream, UNREAD))
        # So it goes too when its commit loses its answer: the pass fails, and the next begins with a reconcile.
        yield "the relay is killed before it publishes", "kill", state._replace(marked=False)
    elif job.state == "ready" and job.due:
        marked = job._replace(state="dispatched")
        yield "the relay marks the job dispatched", "", state._replace(job=marked, marked=True)
    elif job.state == "dispatched":
        yield from _reconciling(state, rules, deaf=False)
        if rules.deaf_readers and any(holder in (0, 1) for holder in state.stream):
            yield from _reconciling(state, rules, deaf=True)
    elif state.stream and rules.strays:
        yield "reconcile deletes what is not dispatched", "", without_entries(state, range(len(state.stream)))
    if not job.due:
        yield "its time comes", "", state._replace(job=job._replace(due=True))
    yield from _misfortunes(state)


def _reconciling(state, rules, *, deaf):
    """Give back what has no entry that somebody will claim, then delete the others. `deaf`: it was read long ago."""
    lost = {NOBODY} if rules.held_by_nobody else set()
    if rules.dead_readers:
        lost |= {PAST} | {number for number, worker in enumerate(state.workers) if worker.buried}
    if deaf:
        lost |= {0, 1}
    if not all(holder in lost for holder in state.stream) or not (state.stream or rules.missing):
        gone = [place for place, holder in enumerate(state.stream) if holder in lost]
        if gone:
            yield "reconcile deletes what nobody will claim", "", without_entries(state, gone)
        return
    given = state._replace(job=state.job._replace(state="ready"))
    words = "reconcile gives the job back" + (": its entry was read long ago" if deaf else "")
    yield words, "", without_entries(given, range(len(state.stream)))
    if state.stream:
        yield f"{words}, and the relay is killed", "kill", given


def _misfortunes(state):
    if state.stream:
        yield "Redis is wiped", "wipe", without_entries(state, range(len(state.stream)))
    if state.job.state == "dispatched":
        # The relay commits without waiting for the disk. To lose what reconcile gave back is to be killed after a mark.
        yield "the database forgets the dispatch", "mark", state._replace(job=state.job._replace(state="ready"))
    if any(holder in (0, 1) for holder in state.stream):
        # It was born after reconcile had read who is alive, and had read this before its consumer was looked at.
        stream = tuple(NOBODY if holder in (0, 1) else holder for holder in state.stream)
        yield "reconcile deletes the consumer of a reader that was just born", "consumer", state._replace(stream=stream)
