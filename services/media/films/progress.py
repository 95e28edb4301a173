"""How far a run through a film or a sound is: said at most once for each per cent of the whole."""

from services.media.slots.reporting import report


class Progress:
    """Of the whole, this run is from `start` to `end`; without a known length nothing is said."""

    def __init__(self, start: float, end: float, duration_s: float | None) -> None:
        self._start = start
        self._span = end - start
        self._duration_s = duration_s
        self._said = round(start * 100)

    def reached(self, at_s: float) -> None:
        if not self._duration_s:
            return
        fraction = self._start + self._span * min(1.0, at_s / self._duration_s)
        if int(fraction * 100) > self._said:
            self._said = int(fraction * 100)
            report(fraction, f"at {at_s:.0f} s of {self._duration_s:.0f} s")
