"""A sound whose times are late, early, twice or none at all."""

from array import array

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.films.sound_track import DRIFT_S, OVERLAP_S, SoundTrack

RATE, SAMPLES = 8000, 800
PIECE_S = SAMPLES / RATE


def piece(value=0, samples=SAMPLES, rate=RATE):
    frame = av.AudioFrame("s16", "mono", samples)
    frame.sample_rate = rate
    frame.planes[0].update(array("h", [value] * (frame.planes[0].buffer_size // 2)).tobytes())
    return frame


def played(starts, *, rate=RATE):
    """The samples, of which those of piece n are 1000 + n."""
    track, samples = SoundTrack(rate, "mono", "s16"), array("h")
    frames = [made for n, at_s in enumerate(starts) for made in track.take(piece(1000 + n), at_s)]
    for frame in [*frames, *track.end()]:
        assert frame.pts == len(samples)
        samples.extend(array("h", bytes(frame.planes[0])[: 2 * frame.samples]))
    return samples


def heard(samples, n, rate=RATE):
    """When piece n begins, and how long it is."""
    assert (1000 + n) in samples
    return samples.index(1000 + n) / rate, samples.count(1000 + n) / rate


@pytest.mark.parametrize("late_s", [0.001, 0.014, 0.03, 0.099, 0.5])
def test_the_first_piece_is_heard_exactly_when_it_starts(late_s):
    assert heard(played([late_s]), 0) == pytest.approx((late_s, PIECE_S), abs=0.001)


def test_what_lies_before_the_start_is_left_out():
    samples = played([-0.04, 0.06])
    assert heard(samples, 0) == pytest.approx((0.0, 0.06))
    assert heard(samples, 1) == pytest.approx((0.06, PIECE_S))


def test_of_what_is_said_twice_the_second_is_left_out():
    samples = played([0.0, 0.1, 0.1, 0.13, 0.15, 0.25])
    assert 1002 not in samples
    assert heard(samples, 3) == pytest.approx((0.2, 0.03))
    assert heard(samples, 4) == pytest.approx((0.23, 0.02))
    assert heard(samples, 5) == pytest.approx((0.25, PIECE_S))


def test_a_time_that_jumps_far_back_counts_for_nothing():
    samples = played([n * PIECE_S for n in (*range(20), *range(20))])
    assert len(samples) == 40 * SAMPLES
    assert heard(samples, 39) == pytest.approx((3.9, PIECE_S))


def test_a_hole_is_filled_with_silence():
    samples = played([0.0, 0.15, 0.25])
    assert not any(samples[SAMPLES : round(0.15 * RATE)])
    assert heard(samples, 1) == pytest.approx((0.15, PIECE_S))


@given(st.lists(st.floats(-0.09, 0.3), min_size=1, max_size=60))
def test_no_piece_is_heard_further_from_its_time_than_the_drift_allows(steps):
    starts, at_s = [], 0.0
    for step in steps:
        starts.append(at_s)
        at_s += PIECE_S + step
    samples = played(starts)
    for n, at_s in enumerate(starts):
        if 1000 + n in samples:
            first_s, length_s = heard(samples, n)
            end_s = first_s + length_s  # its beginning may have been left out
            assert end_s == pytest.approx(at_s + PIECE_S, abs=DRIFT_S + 0.001)
    assert max(-min(steps), 0) < OVERLAP_S


def test_another_rate_changes_no_time():
    track, made = SoundTrack(48_000, "stereo"), 0
    for n in range(50):
        made += sum(frame.samples for frame in track.take(piece(1000), 0.03 + n * 0.12))
    made += sum(frame.samples for frame in track.end())
    assert made / 48_000 == pytest.approx(0.03 + 49 * 0.12 + PIECE_S, abs=0.02)
