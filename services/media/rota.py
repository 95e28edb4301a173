"""Which waiting call goes to which seat.

Invariant: no call waits in a seat's channel while another seat is idle. A slot that has had its share of calls gets no
more, so that it can be replaced once it is empty.
"""

from collections import deque

from services.media.call import Call
from services.media.errors import SlotDied
from services.media.seat import DEPTH, Seat
from shared.kernel.errors import HoldfastError

GIVEN_BACK_MAX = 1000


class Rota:
    """`seats` are those that are ready, by their place; `waiting` are the calls that no seat holds."""

    def __init__(self, recycle_after: int) -> None:
        self._recycle_after = recycle_after
        self.waiting: deque[Call] = deque()
        self.seats: dict[int, Seat] = {}

    def give_back(self, calls: list[Call]) -> None:
        """Calls that a dead slot had not begun go to the front, in their order, and without blame."""
        for call in reversed(calls):
            call.verdict = None
            call.given_back += 1
            if call.given_back > GIVEN_BACK_MAX:
                call.fail(SlotDied("the call was given back too often", given_back=call.given_back))
            else:
                self.waiting.appendleft(call)

    def fail_waiting(self, error: HoldfastError) -> None:
        while self.waiting:
            self.waiting.popleft().fail(error)

    def retire(self) -> None:
        """End the slots that have had their share and hold nothing; the pool replaces them."""
        for seat in self.seats.values():
            if seat.taken >= self._recycle_after and not seat.in_flight:
                seat.kill()

    def fill(self) -> None:
        """Hand out what waits: idle slots first, then one queued call for each busy one."""
        for depth in range(1, DEPTH + 1):
            for seat in self.seats.values():
                if not self.waiting:
                    break
                if seat.accepts(depth) and seat.taken < self._recycle_after:
                    self._hand(self.waiting.popleft(), seat)
        if not self.waiting:
            self._level()

    def _level(self) -> None:
        """Move a queued call from behind a busy slot to an idle one, so that no short call waits for a long one."""
        idle = [s for s in self.seats.values() if s.accepts(1) and s.taken < self._recycle_after]
        busy = [s for s in self.seats.values() if len(s.in_flight) > 1]
        for taker, giver in zip(idle, busy, strict=False):
            call = giver.in_flight[-1]
            if giver.withdraw(call):
                self._hand(call, taker)

    def _hand(self, call: Call, seat: Seat) -> None:
        try:
            seat.send(call)
        except OSError:
            seat.kill()
            self.waiting.appendleft(call)
