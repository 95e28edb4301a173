"""Which pictures of a film go into a rendition whose preset says how many a second may have at the most. Pure.

Invariant: the n-th picture comes n periods after the first, or later, so that no rate above the limit can come out,
whatever the times of the source; between two there is half a period at least. Pictures that come a moment early, as
times in whole milliseconds do, are shown that moment later.
"""

from fractions import Fraction

EARLY_S = Fraction(2, 1000)


class Pace:
    """Times are in ticks, `second` of them each."""

    def __init__(self, fps: int, second: int) -> None:
        self._period = Fraction(second, fps)
        self._early = min(EARLY_S * second, self._period / 8)
        self._due: Fraction | None = None

    def due(self, ticks: int) -> bool:
        return self._due is None or ticks >= self._due - self._early

    def taken(self, ticks: int) -> int:
        """When to show the picture of that time, which is due; the next has to wait for its turn."""
        due = self._due if self._due is not None else Fraction(ticks)
        shown = max(ticks, -(-due.numerator // due.denominator))
        self._due = max(due + self._period, shown + self._period / 2)
        return shown
