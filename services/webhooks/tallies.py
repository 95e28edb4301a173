"""How many attempts of each endpoint succeeded since its last failure: counted in memory, written with the next one.

So a success of an endpoint that is well costs one addition. What was taken to be written is given back when that came
to nothing: the share of failures, which opens a circuit, must not rise by that. Holds TALLIES_HELD endpoints.
"""

from collections import OrderedDict
from typing import Final

TALLIES_HELD: Final = 20_000


class Tallies:
    def __init__(self, window_us: int) -> None:
        self._window_us = window_us
        self._held: OrderedDict[str, tuple[int, int]] = OrderedDict()  # endpoint → since when, how many

    def add(self, endpoint_id: str, now_us: int, count: int = 1) -> None:
        since_us, before = self._held.get(endpoint_id, (now_us, 0))
        if now_us - since_us > self._window_us:
            since_us, before = now_us, 0
        self._held[endpoint_id] = (since_us, before + count)
        if len(self._held) > TALLIES_HELD:
            self._held.popitem(last=False)

    def take(self, endpoint_id: str, now_us: int) -> int:
        """Those of the window; none are left."""
        since_us, count = self._held.pop(endpoint_id, (now_us, 0))
        return 0 if now_us - since_us > self._window_us else count

    def give_back(self, endpoint_id: str, count: int, now_us: int) -> None:
        if count:
            self.add(endpoint_id, now_us, count)
