"""The relay's window: never below the live slots, never far above what drains in its horizon, bounded in both."""

from hypothesis import given
from hypothesis import strategies as st

from shared.transport.window import HORIZON_S, LEAST, MOST, Window

looks = st.lists(st.tuples(st.integers(0, 20_000), st.floats(0, 2), st.integers(0, 5_000)), max_size=60)


@given(looks, st.integers(0, 20_000))
def test_the_size_stays_within_its_bounds_whatever_is_seen(seen, slots):
    window, now_s = Window(), 1_000.0
    window.slots = slots
    for length, passed_s, added in seen:
        now_s += passed_s
        room = window.room(length, now_s)
        assert room == window.size - length
        assert LEAST <= window.size <= MOST
        assert window.size >= min(slots, MOST)
        assert window.rate >= 0
        assert 0 < window.full_wait_s() <= HORIZON_S
        assert window.sure_room(now_s) in (0, room)
        window.added(length + added)
        sure = window.sure_room(now_s)
        assert sure == 0 or sure == window.size - length - added >= window.size // 2
        assert window.sure_room(now_s + 1) == 0
        assert window.sure_room(now_s - 1) == 0


@given(st.integers(200, 50_000))
def test_a_steady_drain_is_learned_and_gives_a_horizon_of_room(rate):
    window, now_s, step_s = Window(), 0.0, 0.05
    window.room(0, now_s)
    for _ in range(200):
        window.added(int(rate * step_s))
        now_s += step_s
        window.room(0, now_s)
    assert 0.9 * rate <= window.rate <= 1.1 * rate
    assert window.size <= max(2 * LEAST, min(MOST, 1.1 * rate * HORIZON_S))


def test_a_window_that_fills_after_an_idle_while_is_looked_at_soon():
    window, now_s = Window(), 0.0
    for _ in range(20):
        now_s += 0.5
        window.room(0, now_s)
    window.added(window.room(0, now_s))
    assert window.full_wait_s() < 0.01


def test_a_window_that_is_taken_whole_grows_at_once():
    window, now_s, sizes = Window(), 0.0, []
    window.slots = 200
    for _ in range(8):
        room = window.room(0, now_s)
        sizes.append(room)
        window.added(room)
        now_s += 0.02
    assert sizes[:2] == [200, 200]
    assert sizes == sorted(sizes)
    assert sizes[-1] >= 5_000
    for _ in range(3):
        now_s += 0.5
        window.room(0, now_s)
    window.rate = 0.0
    assert window.size == 200, "who was fast an hour ago is given no more than its slots"


def test_idle_slots_that_take_one_window_whole_are_given_no_larger_one():
    window, now_s = Window(), 0.0
    window.slots = 200
    window.added(window.room(0, now_s))
    now_s += 0.01
    assert window.room(0, now_s) == 200  # all slots were free, and have taken it
    window.added(200)
    for _ in range(100):
        now_s += 0.05
        assert window.room(200, now_s) <= 200
    assert window.room(0, now_s + 0.01) <= 400  # they have ended
    window.added(200)
    assert window.size == 200 or window.rate > 2_000


def test_a_queue_of_long_jobs_keeps_the_window_at_the_slots():
    window, now_s = Window(), 0.0
    window.slots = 40
    for _ in range(100):
        now_s += 0.5
        window.room(40, now_s)
        window.added(40)
    assert window.size == 40
    assert window.room(40, now_s) == 0


def test_a_full_window_is_left_alone_longer_while_nothing_moves_and_watched_once_it_does():
    window, now_s, waits = Window(), 0.0, []
    window.room(100, now_s)
    for _ in range(14):
        now_s += 0.01
        window.room(100, now_s)
        waits.append(window.full_wait_s())
    assert waits == sorted(waits)
    assert waits[-1] == HORIZON_S
    window.room(90, now_s + 0.01)
    assert window.full_wait_s() < waits[0]


def test_a_stream_that_shrinks_to_nothing_by_a_wipe_is_no_negative_drain():
    window = Window()
    window.room(0, 0.0)
    window.added(10)
    window.room(500, 0.5)
    assert window.rate == 0
