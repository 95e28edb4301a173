"""The model: one job, two workers, a relay, and every order in which their steps and a few faults can come.

`explore` walks all of it. Not here: other jobs, slots beyond one, suspects, cancelling, two relays; the seeded
simulation has those, with the real code, and never walks all of it. Two jobs of one key or one family, by whole
statements, are walked by `tests/integration/ledger/test_pairs.py`; lanes are numbers and times, which have no end.
"""

from typing import NamedTuple

from tests.simulation import model_relay, model_worker
from tests.simulation.model_fold import folded
from tests.simulation.model_state import Rules, State, is_clean, is_over

START = State()
RULES = Rules()
FAULTS = frozenset({"kill", "wipe", "commit", "lease"})
MORE_FAULTS = FAULTS | {"late", "read", "acknowledge", "mark", "consumer", "deadline"}


def steps(state, rules=RULES, faults=FAULTS):
    """Every step that can be taken now: (words, whether it is a fault, the state after it, whether A is B there)."""
    if state.broken:
        return
    for words, fault, following in _steps(state, rules):
        if not fault or fault in faults:
            yield words, bool(fault), *folded(following)


def _steps(state, rules):
    yield from model_relay.steps(state, rules)
    yield from model_worker.rescue(state, rules)
    for number in range(len(state.workers)):
        yield from model_worker.steps(state, number, rules)


class Flaw(NamedTuple):
    """What a walk has shown to be possible and must not be, and the way there."""

    what: str
    path: list[str]

    def __str__(self):
        return "\n".join([f"{self.what}:", *(f"  {number}. {words}" for number, words in enumerate(self.path, 1))])


def flaw(walk):
    """The first by faults, then by steps: a promise broken at once, or a state that no step leads out of any more."""
    over = walk.leading_to(lambda state: state.broken or is_over(state))
    clean = walk.leading_to(lambda state: state.broken or is_clean(state))
    for number, state in enumerate(walk.states):
        if state.broken:
            return Flaw(state.broken, walk.path(number))
        if number not in over:
            return Flaw("stuck, with nothing that could end the job", walk.path(number))
        if number not in clean:
            return Flaw("leaked, with an entry that nothing could delete", walk.path(number))
    return None
