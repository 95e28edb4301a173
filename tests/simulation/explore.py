"""Walking a model to its end: every state that is reachable with so many faults, by the fewest faults, then steps.

What can still happen depends on a state and on the faults that are left; whoever gets there with fewer can do all that
the others can. So each state is walked once, from where it was reached with the fewest. A step says whether the two
workers have changed their names on the way; a path is told with the names of its beginning.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Steps = Callable[[Any], Iterable[tuple[str, bool, Any, bool]]]
_OTHER_NAMES = str.maketrans("AB", "BA")


class Came(NamedTuple):
    number: int  # from which state
    words: str  # by which step
    swapped: bool
    length: int  # of the path to here


@dataclass
class Walk:
    states: list[Any] = field(default_factory=list)
    numbers: dict[Any, int] = field(default_factory=dict)
    came: list[Came] = field(default_factory=list)
    before: list[list[int]] = field(default_factory=list)  # by steps that are no faults
    by_faults: list[int] = field(default_factory=list)  # how many states were new with so many
    steps: int = 0

    def add(self, state: Any, came: Came) -> int:
        number = self.numbers[state] = len(self.states)
        self.states.append(state)
        self.came.append(came)
        self.before.append([])
        return number

    def path(self, number: int) -> list[str]:
        steps = []
        while number:
            steps.append(self.came[number])
            number = steps[-1].number
        words, swapped = [], False
        for step in reversed(steps):
            words.append(step.words.translate(_OTHER_NAMES) if swapped else step.words)
            swapped ^= step.swapped
        return words

    def leading_to(self, is_goal: Callable[[Any], bool]) -> set[int]:
        """From where a goal can still be reached when nothing goes wrong any more."""
        found = {number for number, state in enumerate(self.states) if is_goal(state)}
        waiting = list(found)
        while waiting:
            for number in self.before[waiting.pop()]:
                if number not in found:
                    found.add(number)
                    waiting.append(number)
        return found


def walk(start: Any, steps: Steps, faults: int) -> Walk:
    done = Walk()
    entries = {start: Came(0, "", swapped=False, length=0)}
    for _ in range(faults + 1):
        known = len(done.states)
        entries = _walk_level(done, entries, steps)
        done.by_faults.append(len(done.states) - known)
    return done


def _walk_level(done: Walk, entries: dict[Any, Came], steps: Steps) -> dict[Any, Came]:
    """All that follows from `entries` without a fault, the shorter paths first; returns what follows by one fault."""
    coming = sorted(entries.items(), key=lambda entry: -entry[1].length)
    beyond: dict[Any, Came] = {}
    waiting: list[int] = []
    length = 0
    while waiting or coming:
        length = length if waiting else coming[-1][1].length
        while coming and coming[-1][1].length <= length:
            state, came = coming.pop()
            if state not in done.numbers:
                waiting.append(done.add(state, came))
        waiting = _walk_on(done, waiting, steps, beyond)
        length += 1
    return beyond


def _walk_on(done: Walk, waiting: list[int], steps: Steps, beyond: dict[Any, Came]) -> list[int]:
    """One step further, from all of these; returns where nobody had been."""
    following: list[int] = []
    for number in waiting:
        length = done.came[number].length + 1
        for words, is_fault, state, swapped in steps(done.states[number]):
            done.steps += 1
            found = done.numbers.get(state)
            if is_fault:
                if found is None and state not in beyond:
                    beyond[state] = Came(number, words, swapped, length)
                continue
            if found is None:
                found = done.add(state, Came(number, words, swapped, length))
                following.append(found)
            done.before[found].append(number)
    return following
