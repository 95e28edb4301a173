"""Ids and the floors between them."""

from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.ids import id_floor, is_id, new_id


@given(st.integers(min_value=0, max_value=(1 << 47) * 1000), st.integers(min_value=0, max_value=10**15))
def test_floors_are_ids_and_sort_as_time_does(at_us: int, later_us: int) -> None:
    floor = id_floor("job", at_us)
    assert is_id(floor, "job")
    assert floor <= id_floor("job", at_us + later_us)
    assert (floor < id_floor("job", at_us + 1_000)) is True


def test_an_id_stands_between_the_floors_around_it() -> None:
    import time

    before = time.time_ns() // 1_000
    made = new_id("job")
    after = time.time_ns() // 1_000
    assert id_floor("job", before) <= made < id_floor("job", after + 2_000)


def test_an_id_is_all_that_there_is() -> None:
    made = new_id("job")
    assert is_id(made, "job")
    for wrong in (made + "\n", "\n" + made, made.upper(), made + "0", made[:-1], "jo"):
        assert not is_id(wrong, "job")
