"""Reports are bounded, and the throttle keeps its pace, loses no last value and holds one report of an attempt."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ledger.progress import NOTE_LIMIT_CHARS, PACE_S, Report, Throttle, make_report, shown_progress

KEYS = [(f"job_{n}", 1, "inc_a") for n in range(3)]


@given(st.floats(allow_nan=False), st.text(st.characters(), max_size=500), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_report_is_what_a_database_holds(fraction: float, note: str, now_us: int, before_us: int) -> None:
    made = make_report(fraction, note, now_us, Report(0.5, "", before_us))
    assert 0 <= made.fraction <= 1
    assert made.fraction == fraction or not 0 <= fraction <= 1
    assert len(made.note) <= NOTE_LIMIT_CHARS
    assert "\x00" not in made.note
    made.note.encode()
    assert made.at >= now_us
    assert made.at > before_us


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        make_report(math.nan, "", 0)
    with pytest.raises(TypeError):
        make_report("half", "", 0)  # type: ignore[arg-type]


def test_a_job_that_has_reported_nothing_shows_nothing() -> None:
    assert shown_progress({"progress": None, "progress_note": None, "progress_at": None}) is None
    shown = shown_progress({"progress": 0.25, "progress_note": None, "progress_at": 1_000_000})
    assert shown == {"fraction": 0.25, "note": "", "at": "1970-01-01T00:00:01.000000Z"}


Step = tuple[float, int, bool]  # seconds since the step before, whose report, whether the write works


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, len(KEYS) - 1), st.booleans()), max_size=60))
def test_the_pace_is_kept_and_the_last_value_arrives(steps: list[Step]) -> None:
    throttle, now_s = Throttle(), 100.0
    written: dict[int, list[tuple[float, int]]] = {n: [] for n in range(len(KEYS))}
    tried: dict[int, list[float]] = {n: [] for n in range(len(KEYS))}
    last: dict[int, int] = {}

    def flush(*, works: bool) -> None:
        for key, report in throttle.due(now_s):
            tried[KEYS.index(key)].append(now_s)
            if works:
                written[KEYS.index(key)].append((now_s, report.at))
                throttle.written(key, report)

    for number, (pause_s, who, works) in enumerate(steps):
        now_s += pause_s
        throttle.put(KEYS[who], Report(0.1, "", number))
        last[who] = number
        flush(works=works)
        assert len(throttle) <= len(KEYS)
    while (due_s := throttle.next_s()) is not None:
        now_s = max(now_s, due_s)
        flush(works=True)
    for who, writes in written.items():
        assert all(later - sooner >= PACE_S for sooner, later in zip(tried[who], tried[who][1:], strict=False))
        assert [at for _, at in writes] == sorted({at for _, at in writes}), "newer ones only"
        assert (writes[-1][1] if writes else None) == last.get(who)


def test_the_first_report_goes_at_once_and_an_ended_attempt_leaves_nothing() -> None:
    throttle = Throttle()
    throttle.put(KEYS[0], Report(0.1, "", 1))
    assert throttle.due(5.0) == [(KEYS[0], Report(0.1, "", 1))]
    throttle.put(KEYS[0], Report(0.2, "", 2))
    assert throttle.due(5.1) == []
    throttle.written(KEYS[0], Report(0.1, "", 1))  # the newer one still waits
    assert throttle.next_s() == 5.0 + PACE_S
    assert throttle.forget(KEYS[0]) == Report(0.2, "", 2)
    assert (len(throttle), throttle.next_s()) == (0, None)
    throttle.written(KEYS[0], Report(0.2, "", 2))  # after its attempt's end
    assert len(throttle) == 0
