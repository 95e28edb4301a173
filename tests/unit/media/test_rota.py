"""Who goes where, with seats of paper: whatever comes, dies and ends, the rota of a pool keeps what it promises."""

import asyncio
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.errors import SlotDied
from services.media.slots.call import Call
from services.media.slots.rota import Rota


class PaperSeat:
    """What the rota sees of a seat; the first call in flight runs, the second can be withdrawn."""

    def __init__(self):
        self.in_flight = deque()
        self.taken = 0
        self.killed = False
        self.resident_bytes = self.baseline_bytes = 100

    def accepts(self, depth=2):
        return not self.killed and len(self.in_flight) < depth

    def send(self, call):
        assert len(self.in_flight) < 2
        self.taken += 1
        self.in_flight.append(call)

    def withdraw(self, call):
        if self.in_flight[0] is call:
            return False
        self.in_flight.remove(call)
        return True

    def kill(self):
        self.killed = True


@pytest.fixture(scope="module")
def loop():
    made = asyncio.new_event_loop()
    yield made
    made.close()


def call(loop, number, *, bulk=False):
    return Call(number, b"", 1.0, loop.create_future(), bulk=bulk)


def rota_of(seats, **options):
    rota = Rota(options.get("recycle_after", 10_000), options.get("recycle_growth_bytes", 10_000))
    rota.seats.update({place: PaperSeat() for place in range(seats)})
    return rota


def running(rota):
    return [seat.in_flight[0] for seat in rota.seats.values() if seat.in_flight]


def lines(rota):
    return [*rota._lines[0]], [*rota._lines[1]]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.booleans()),
        st.tuples(st.just("end"), st.integers(0, 3)),
        st.tuples(st.just("die"), st.integers(0, 3)),
        st.tuples(st.just("leave"), st.integers(0, 9)),
    ),
    max_size=60,
)


@given(seats=st.integers(1, 4), steps=STEPS)
def test_its_invariants_hold_whatever_happens(loop, seats, steps):
    rota, calls = rota_of(seats), []
    for kind, one in steps:
        if kind == "add":
            calls.append(call(loop, len(calls), bulk=one))
            assert rota.add(calls[-1], 100)
        elif kind == "leave":
            waiting = [*lines(rota)[0], *lines(rota)[1]]
            if waiting:
                assert rota.withdraw(waiting[one % len(waiting)])
                rota.fill()
        else:
            seat = rota.seats[one % seats]
            if kind == "end" and seat.in_flight:
                seat.in_flight.popleft()
                rota.fill()
            elif kind == "die":
                del rota.seats[one % seats]
                rota.give_back([*seat.in_flight][1:])
                rota.fill()
                rota.seats[one % seats] = PaperSeat()
                rota.fill()
        check(rota)


def check(rota):
    first, second = lines(rota)
    held = list(rota.seats.values())
    assert all(len(seat.in_flight) <= 2 for seat in held)
    if [seat for seat in held if not seat.in_flight]:
        assert not [*first, *second], "a call waits beside an idle seat"
        assert not [seat for seat in held if len(seat.in_flight) == 2]
    if first:
        behind = [seat for seat in held if len(seat.in_flight) == 2 and seat.in_flight[-1].bulk]
        assert not behind, "a bulk call is queued while somebody waits for another one"


def test_what_somebody_waits_for_overtakes_bulk_calls_even_those_at_hand(loop):
    rota = rota_of(1)
    bulk = [call(loop, number, bulk=True) for number in range(4)]
    for one in bulk:
        rota.add(one, 64)
    quick = call(loop, 9)
    rota.add(quick, 64)
    seat = rota.seats[0]
    assert list(seat.in_flight) == [bulk[0], quick]
    assert lines(rota)[1] == bulk[1:], "and the one that gave way is the next of its kind"


def test_a_full_line_refuses_and_the_other_one_does_not(loop):
    rota = rota_of(1)
    for number in range(2 + 3):
        assert rota.add(call(loop, number, bulk=True), 3)
    assert not rota.add(call(loop, 10, bulk=True), 3)
    assert rota.waiting == 3
    assert rota.add(call(loop, 11), 3)


def test_a_slot_that_has_grown_gets_no_more_and_goes_when_it_is_empty(loop):
    rota = rota_of(1, recycle_growth_bytes=50)
    first, second = call(loop, 1), call(loop, 2)
    rota.add(first, 64)
    seat = rota.seats[0]
    seat.resident_bytes = 151
    rota.add(second, 64)
    assert list(seat.in_flight) == [first]
    rota.retire()
    assert not seat.killed
    seat.in_flight.popleft()
    rota.fill()
    rota.retire()
    assert seat.killed
    assert rota.waiting == 1


def test_a_call_that_is_given_back_for_ever_ends(loop):
    rota, unlucky = Rota(10, 10), call(loop, 1)
    for _ in range(1001):
        rota.give_back([unlucky])
        rota.withdraw(unlucky)
    assert isinstance(unlucky.future.exception(), SlotDied)
