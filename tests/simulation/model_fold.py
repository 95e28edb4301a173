"""Which states of the model are the same for all that can come of them: one of them stands for the others."""

from tests.simulation.model_state import GONE, UNREAD


def folded(state):
    """One for all that differ by nothing that matters, and whether the workers changed places in it.

    Workers are alike. Of entries that were read, the order does not matter, nor how many are in nobody's hands: what
    deletes one of them deletes the others of its holder.
    """
    swapped = state.workers[1] < state.workers[0]
    if swapped:
        state = _swapped(state)
    return (_tidied(state) if len(state.stream) > 1 else state), swapped


def _swapped(state):
    first, second = state.workers
    holder = state.job.holder
    job = state.job if holder is None else state.job._replace(holder=(1 - holder[0], holder[1]))
    stream = tuple(1 - holder if holder in (0, 1) else holder for holder in state.stream)
    return state._replace(job=job, stream=stream, workers=(second, first))


def _tidied(state):
    first, second = state.workers
    hands = {first.entry, second.entry}
    read = [(holder, place in hands, place) for place, holder in enumerate(state.stream) if holder != UNREAD]
    read.sort()
    kept = [one for at, one in enumerate(read) if one[1] or at == 0 or one[:2] != read[at - 1][:2]]
    kept += [(UNREAD, False, place) for place, holder in enumerate(state.stream) if holder == UNREAD]
    if [one[2] for one in kept] == list(range(len(state.stream))):
        return state
    places = {one[2]: number for number, one in enumerate(kept)} | {GONE: GONE}
    workers = tuple(worker._replace(entry=places[worker.entry]) for worker in state.workers)
    return state._replace(stream=tuple(one[0] for one in kept), workers=workers)
