"""In which order sides take their turns: nobody always stands first, or always behind the same neighbour."""

from collections.abc import Sequence
from typing import TypeVar

S = TypeVar("S")


def turns(sides: Sequence[S], number: int) -> list[S]:
    """The order of round `number`: begun one further each time, and backwards every other time."""
    at = number % max(len(sides), 1)
    rotated = [*sides[at:], *sides[:at]]
    return rotated[::-1] if number % 2 else rotated
