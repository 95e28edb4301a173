"""Which waiting call goes to which seat.

Invariants: no call waits in a seat's channel while another seat is idle; bulk calls are handed out only when no other
one can be. A slot that has had its share of calls, or has grown, gets no more, so that it can be replaced once it is
empty. That long calls leave room for short ones is seen to before: by queues.
"""

from collections import deque
from collections.abc import Iterator

from services.media.errors import SlotDied
from services.media.slots.call import Call
from services.media.slots.seat import DEPTH, Seat
from shared.kernel.errors import HoldfastError

GIVEN_BACK_MAX = 1000


class Rota:
    """`seats` are those that are ready, by their place. What no seat holds waits in two lines, bulk in the second."""

    def __init__(self, recycle_after: int, recycle_growth_bytes: int) -> None:
        self._recycle_after = recycle_after
        self._recycle_growth_bytes = recycle_growth_bytes
        self._lines: tuple[deque[Call], deque[Call]] = (deque(), deque())
        self.seats: dict[int, Seat] = {}

    @property
    def waiting(self) -> int:
        return sum(map(len, self._lines))

    def add(self, call: Call, waiting_max: int) -> bool:
        """Put a call in line, or hand it out at once; False when it would be one too many of its line."""
        line = self._lines[call.bulk]
        line.append(call)
        self.fill()
        if len(line) > waiting_max and line[-1] is call:
            line.pop()
            return False
        return True

    def withdraw(self, call: Call) -> bool:
        """True when it was in line, and is not any more."""
        line = self._lines[call.bulk]
        if call not in line:
            return False
        line.remove(call)
        return True

    def give_back(self, calls: list[Call]) -> None:
        """Calls that a dead slot had not begun go to the front, in their order, and without blame."""
        for call in reversed(calls):
            call.verdict = None
            call.given_back += 1
            if call.given_back > GIVEN_BACK_MAX:
                call.fail(SlotDied("the call was given back too often", given_back=call.given_back))
            else:
                self._lines[call.bulk].appendleft(call)

    def fail_waiting(self, error: HoldfastError) -> None:
        for line in self._lines:
            while line:
                line.popleft().fail(error)

    def retire(self) -> None:
        """End the slots that have had their share and hold nothing; the pool replaces them."""
        for seat in self.seats.values():
            if self._is_worn(seat) and not seat.in_flight:
                seat.kill()

    def fill(self) -> None:
        """Hand out what waits: idle slots first, then one queued call for each busy one."""
        for call in list(self._in_turn()):
            seat = self._seat_for(call)
            if seat is None:
                break
            self._lines[call.bulk].remove(call)
            self._hand(call, seat)
        self._level()

    def _in_turn(self) -> Iterator[Call]:
        for line in self._lines:
            yield from line

    def _seat_for(self, call: Call) -> Seat | None:
        idle = next(self._idle(), None)
        if idle is not None:
            return idle
        busy = (seat for seat in self.seats.values() if seat.accepts(DEPTH) and not self._is_worn(seat))
        found = next(busy, None)
        return found if found is not None or call.bulk else self._overtaken()

    def _overtaken(self) -> Seat | None:
        """A seat whose queued call was a bulk one, which has gone back to the front of its line."""
        for seat in self.seats.values():
            if len(seat.in_flight) == DEPTH and seat.in_flight[-1].bulk and not seat.killed:
                call = seat.in_flight[-1]
                if not self._is_worn(seat) and seat.withdraw(call):
                    self._lines[call.bulk].appendleft(call)
                    return seat
        return None

    def _level(self) -> None:
        """Move a queued call from behind a busy slot to an idle one, so that no short call waits for a long one."""
        busy = [seat for seat in self.seats.values() if len(seat.in_flight) > 1]
        for taker, giver in zip(list(self._idle()), busy, strict=False):
            call = giver.in_flight[-1]
            if giver.withdraw(call):
                self._hand(call, taker)

    def _idle(self) -> Iterator[Seat]:
        return (seat for seat in self.seats.values() if seat.accepts(1) and not self._is_worn(seat))

    def _is_worn(self, seat: Seat) -> bool:
        grown_bytes = seat.resident_bytes - seat.baseline_bytes
        return seat.taken >= self._recycle_after or grown_bytes > self._recycle_growth_bytes

    def _hand(self, call: Call, seat: Seat) -> None:
        try:
            seat.send(call)
        except OSError:
            seat.kill()
            self._lines[call.bulk].appendleft(call)
