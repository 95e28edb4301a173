"""How many ids a queue's stream may hold: pure arithmetic over the lengths that the relay sees.

At least one for each live slot, so that nobody idles; at most `HORIZON_S` of the measured drain, so that half-hour
jobs are not queued ahead of urgent ones.
"""

HORIZON_S = 0.1
KNOWN_S = 0.05  # how long a length that was seen answers for itself
LEAST = 16
MOST = 10_000
_FASTEST_S = 0.005
_SLOWEST_S = 0.1
_SLOWER = 1.3  # a window that was emptied just after a look stands empty for less than a third of the time that took


class Window:
    def __init__(self) -> None:
        self.slots = 0
        self.rate = 0.0  # ids claimed a second, smoothed
        self._left = 0
        self._seen_s: float | None = None
        self._filled = 0  # added since it was last seen empty
        self._filled_s = 0.0
        self._emptied = 0  # fills in a row that were taken within the horizon
        self._grown = 0
        self._wait_s = _FASTEST_S

    @property
    def size(self) -> int:
        return min(MOST, max(LEAST, self.slots, int(self.rate * HORIZON_S), self._grown))

    def room(self, length: int, now_s: float) -> int:
        """Ids that may be added now, given the stream's length. Learns the drain from what went since last time."""
        if self._seen_s is not None and now_s > self._seen_s:
            gone = max(0, self._left - length)
            elapsed_s = max(now_s - self._seen_s, 0.001)
            weight = min(1.0, elapsed_s / 0.25)
            self.rate += weight * (gone / elapsed_s - self.rate)
            stands = bool(length) and not gone  # an empty stream says nothing of how soon a full one will drain
            self._wait_s = min(_SLOWEST_S, self._wait_s * _SLOWER) if stands else _FASTEST_S
        self._left, self._seen_s = length, now_s
        self._grow(length, now_s)
        return self.size - length

    def _grow(self, length: int, now_s: float) -> None:
        """Twice as much when it was taken whole within the horizon: a rate cannot show more than was there to take.

        Twice in a row, because the first time idle slots may have taken it, which will not come again soon.
        """
        if now_s - self._filled_s > HORIZON_S:  # it was not taken in time, or there was nothing to take
            self._emptied = self._grown = 0
        elif self._filled and length == 0:
            self._emptied += 1
            if self._emptied > 1 and self._filled >= self.size:
                self._grown = min(MOST, 2 * self.size)
        if length == 0:
            self._filled = 0

    def sure_room(self, now_s: float) -> int:
        """Ids that surely fit, without asking: nobody else adds, so the length is at most what it was. 0: ask."""
        if self._seen_s is None or not 0 <= now_s - self._seen_s < KNOWN_S:
            return 0
        room = self.size - self._left
        return room if room >= self.size // 2 else 0  # a window that fills is worth a look: it may have drained

    def added(self, length: int) -> None:
        """The stream's length after our own additions."""
        if not self._filled:
            self._filled_s = self._seen_s or 0.0
        self._filled += max(0, length - self._left)
        self._left = length

    def full_wait_s(self) -> float:
        """How long to leave a full window alone: short while it drains, longer while nothing moves."""
        return self._wait_s
