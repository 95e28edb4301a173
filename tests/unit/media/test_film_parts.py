"""The pure parts of films: shapes, places, waveforms, colours, boxes."""

import itertools
import json
import math
import struct
from array import array
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.films import tone as film_tone
from services.media.films.boxes import ends_early
from services.media.films.elements import is_whole
from services.media.films.pace import Pace
from services.media.films.preview import delays_of, places
from services.media.films.shape import fitted, is_sideways, rotation_of, shown_size, turns_of
from services.media.films.sound_peaks import FIRST_SAMPLES, Peaks
from services.media.films.still import interest

sides = st.integers(1, 8192)
boxes = st.tuples(st.integers(16, 4096), st.integers(16, 4096))


def matrix(a, b, c, d):
    one = 1 << 16
    return struct.pack("=9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)


@pytest.mark.parametrize(
    ("numbers", "turns", "degrees"),
    [
        ((1, 0, 0, 1), (), 0),
        ((0, 1, -1, 0), (("transpose", "clock"),), 90),
        ((-1, 0, 0, -1), (("hflip", ""), ("vflip", "")), 180),
        ((0, -1, 1, 0), (("transpose", "cclock"),), 270),
        ((-1, 0, 0, 1), (("hflip", ""),), 0),
        ((1, 0, 0, -1), (("vflip", ""),), 0),
        ((0, 1, 1, 0), (("transpose", "cclock_flip"),), 270),
        ((0, -1, -1, 0), (("transpose", "clock_flip"),), 90),
        ((0, 0, 0, 0), (), 0),
    ],
)
def test_a_display_matrix_is_turned_as_players_turn_it(numbers, turns, degrees):
    found = turns_of(matrix(*numbers))
    assert found == turns
    assert rotation_of(found) == degrees
    assert is_sideways(found) is (degrees in (90, 270))


@given(st.binary(max_size=40))
def test_no_matrix_is_too_strange(data):
    assert len(turns_of(data)) <= 2


@given(sides, sides, boxes)
def test_what_is_fitted_is_even_fits_its_box_and_is_never_larger(width, height, box):
    across, down = fitted((width, height), box)
    long, short = max(box), min(box)
    most = (short, long) if height > width else (long, short)
    assert across % 2 == down % 2 == 0
    assert across <= max(2, min(width, most[0]))
    assert down <= max(2, min(height, most[1]))
    if min(across, down) > 16:
        assert across / down == pytest.approx(width / height, rel=0.13)


@given(sides, sides, boxes)
def test_a_still_need_not_be_even(width, height, box):
    across, down = fitted((width, height), box, even=False)
    assert 1 <= across <= width
    assert 1 <= down <= height


@pytest.mark.parametrize(
    ("size", "pixel", "turns", "expected"),
    [
        ((720, 576), Fraction(16, 11), (), (1047, 576)),
        ((1440, 1080), Fraction(4, 3), (), (1920, 1080)),
        ((100, 100), Fraction(1, 2), (), (100, 200)),
        ((100, 50), None, (("transpose", "clock"),), (50, 100)),
        ((100, 50), Fraction(2), (("transpose", "clock"),), (50, 200)),
        ((100, 50), Fraction(1, 1000), (), (100, 50)),
        ((100, 50), Fraction(0), (), (100, 50)),
    ],
)
def test_the_size_as_shown(size, pixel, turns, expected):
    assert shown_size(*size, pixel, turns) == expected


@given(st.none() | st.floats(0.01, 1e5), st.integers(1, 10))
def test_a_preview_looks_at_places_within_the_film_that_do_not_overlap(duration_s, seconds):
    found = places(duration_s, seconds)
    assert sum(length for _, length in found) == pytest.approx(seconds)
    assert all(start >= 0 for start, _ in found)
    for (start, length), (following, _) in itertools.pairwise(found):
        assert start + length <= following
    if duration_s and duration_s > seconds + 1:
        assert found[-1][0] + found[-1][1] <= duration_s


def test_each_picture_of_a_preview_is_shown_until_the_next():
    assert delays_of([0.0, 0.1, 0.4, 9.0], 8) == [100, 300, 1000, 125]
    assert delays_of([], 8) == []


@given(st.lists(st.integers(-32768, 32767), max_size=3000), st.integers(10, 40), st.integers(1, 700))
def test_peaks_hold_the_lowest_and_the_highest_of_every_part(samples, points, cut):
    peaks = Peaks(points)
    for at in range(0, len(samples), cut):
        peaks.take(array("h", samples[at : at + cut]))
    told = json.loads(peaks.document())
    each = told["samples_per_pixel"]
    parts = [samples[at : at + each] for at in range(0, len(samples), each)]
    assert told["data"] == [value >> 8 for part in parts for value in (min(part), max(part))]
    assert told["length"] == len(parts) <= points
    assert each == FIRST_SAMPLES or len(parts) > points // 2


def test_what_is_all_but_black_or_white_is_of_no_interest():
    scene = bytes(range(0, 256, 4)) * 8
    for dull in (bytes(512), b"\xff" * 512, b"\x05\x09" * 256, b"\xfa\xff" * 256):
        assert interest(dull) < interest(scene) / 10
    assert interest(b"\x80" * 512) == 0


def test_the_curves_of_hdr_meet_their_published_points():
    assert film_tone.pq_light(0.5) == pytest.approx(92.2457, abs=0.01)
    assert film_tone.pq_light(0.7518) == pytest.approx(1000, rel=0.002)
    assert film_tone.pq_light(1.0) == pytest.approx(10_000)
    for light in (0.1, 5, 203, 4000):
        assert film_tone.pq_light(film_tone.pq_code(light)) == pytest.approx(light)
    assert film_tone.hlg_scene(0.5) == pytest.approx(1 / 12)
    assert film_tone.hlg_scene(1.0) == pytest.approx(1.0, abs=1e-4)


def test_light_is_rolled_off_towards_white_and_dark_is_left_alone():
    lights = [0.01, 1, 50, 80, 150, 203, 400, 700, 1000, 4000]
    rolled = [film_tone.rolled_off(light) for light in lights]
    assert rolled == sorted(rolled)
    assert rolled[:4] == pytest.approx(lights[:4], rel=1e-6)
    assert rolled[5] == pytest.approx(160, abs=3)
    assert rolled[-2:] == pytest.approx([203, 203], rel=1e-3)


@pytest.mark.parametrize("curve", ["pq", "hlg", "sdr"])
def test_a_table_of_colours_leads_grey_to_grey_and_only_upwards(curve):
    lines = film_tone.cube(curve).splitlines()
    assert lines[0] == f"LUT_3D_SIZE {film_tone.STEPS}"
    assert len(lines) == 1 + film_tone.STEPS**3
    step = 1 + film_tone.STEPS + film_tone.STEPS**2
    greys = [tuple(map(float, lines[1 + n * step].split())) for n in range(film_tone.STEPS)]
    assert greys[0] == (0, 0, 0)
    assert greys[-1] == pytest.approx((1, 1, 1), abs=0.005)
    for grey in greys:
        assert max(grey) - min(grey) < 0.002
    assert [grey[1] for grey in greys] == sorted(grey[1] for grey in greys)
    if curve == "sdr":
        assert [grey[1] for grey in greys] == pytest.approx([n / 32 for n in range(33)], abs=0.001)
    red = tuple(map(float, lines[film_tone.STEPS].split()))  # red runs fastest
    assert red[0] > 0.9
    assert max(red[1:]) < 0.1
    assert all(math.isfinite(value) for line in lines[1:] for value in map(float, line.split()))


@pytest.mark.parametrize(
    ("data", "early"),
    [
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x10mdat12345678", False),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x11mdat12345678", True),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\0mdat12345678", False),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x18" + bytes(8), False),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x01mdat\0\0\0\0\0\0\1\0" + bytes(8), True),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0", True),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\2abcd", False),
        (b"<no> <boxes>, <text>", False),
        (b"", False),
    ],
)
def test_a_file_of_boxes_that_was_cut_off_is_known_by_its_last_one(tmp_path, data, early):
    (tmp_path / "in").write_bytes(data)
    assert ends_early(str(tmp_path / "in")) is early


ticks = st.lists(st.integers(0, 200_000), min_size=1, max_size=300)


@given(ticks, st.integers(1, 60))
def test_no_rate_above_the_limit_comes_out(steps, fps):
    pace, shown = Pace(fps, 90_000), []
    for at in itertools.accumulate(steps):
        if pace.due(at):
            shown.append(pace.taken(at))
            assert 0 <= shown[-1] - at <= 181
    for n, at in enumerate(shown):
        assert (at - shown[0]) * fps >= n * 90_000
    assert all((after - before) * fps * 2 >= 90_000 - fps * 2 for before, after in itertools.pairwise(shown))


@given(st.integers(1, 60), st.integers(1, 300), st.integers(1, 500))
def test_a_film_at_or_below_the_limit_loses_no_picture(fps, least, count):
    """Even with times in whole milliseconds."""
    pace = Pace(fps, 90_000)
    rate = min(fps, least)
    for n in range(count):
        at = 90 * round(1000 * n / rate)
        assert pace.due(at)
        pace.taken(at)


def element(name, content, size=None):
    return bytes.fromhex(name) + ((1 << 56) | (len(content) if size is None else size)).to_bytes(8, "big") + content


HEAD = element("1a45dfa3", b"matroska")
CLUSTER = element("1f43b675", b"12345")


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (HEAD + element("18538067", element("1549a966", b"i") + CLUSTER * 3 + element("ec", bytes(9))), True),
        (HEAD + element("18538067", CLUSTER) + b"more", True),
        (HEAD + element("18538067", CLUSTER, size=100), False),
        (HEAD + element("18538067", CLUSTER + bytes(50)), False),
        (HEAD + element("18538067", CLUSTER, size=(1 << 56) - 1), False),
        (HEAD + element("18538067", element("1f43b675", b"12345", size=(1 << 56) - 1)), False),
        (HEAD + element("18538067", element("1f43b675", b"12345", size=6)), False),
        (HEAD + element("18538067", b""), True),
        (HEAD, False),
        (HEAD + b"\x18\x53", False),
        (b"", False),
        (b"\0" * 64, False),
        (b"<no> elements", False),
    ],
)
def test_a_matroska_file_is_whole_when_its_elements_fill_it(tmp_path, data, whole):
    (tmp_path / "in").write_bytes(data)
    assert is_whole(str(tmp_path / "in")) is whole


@given(st.binary(max_size=80))
def test_no_elements_are_too_strange(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "strange"
    for start in (b"", HEAD, HEAD + bytes.fromhex("18538067")):
        path.write_bytes(start + data)
        assert is_whole(str(path)) in (True, False)
