"""ThumbHash against the reference implementation (thumbhash 0.1.1 of npm), which made these vectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.pictures.thumbhash import SIDE_MAX_PX, thumbhash

PATTERNS = {
    "noise": lambda x, y, w, h: ((x * 7 + y * 13) % 256, (x * x + 3 * y) % 256, (x * y + 5 * x) % 256, 255),
    "slope": lambda x, y, w, h: (255 * x // w, 255 * y // h, 255 * (x + y) // (w + h), 255),
    "fading": lambda x, y, w, h: (200, 255 * x // w, 30, 255 * y // h),
    "corner": lambda x, y, w, h: (
        255 if x < w / 2 and y < h / 2 else 10,
        40 if x < w / 2 else 200,
        250 if y < h / 3 else 0,
        0 if x < w / 4 else 255,
    ),
    "clear": lambda x, y, w, h: (x % 256, y % 256, 90, 0),
}
VECTORS = [
    ("noise", 100, 100, "1f08020f0221101246361621027188377768f7bd2999890f"),
    ("noise", 37, 80, "1ff805130443226064766776ff8677f8ad"),
    ("slope", 100, 67, "df070e0d9a80878781787788787878787f7008f877"),
    ("slope", 56, 100, "dff70d141a810777787877877778808f08f887"),
    ("fading", 64, 48, "1d9c861c8c378087b887877808888b7f488888078888888707"),
    ("fading", 1, 9, "138aa78962770888878878088888808808f7848b887878"),
    ("corner", 100, 75, "57488d54983b87887f557a7777083b3f9b0752887778887808"),
    ("corner", 32, 32, "57488d5d183b87787f557a776787b0f3b38920757887878878"),
    ("slope", 1, 1, "000802070000000000000000000000000000000000000000"),
    ("noise", 100, 1, "9d173a1984777687888808885f888e8408"),
    ("clear", 10, 10, "00088205000000000000000000000000000000000000000000"),
]


def pixels(pattern, width, height):
    draw = PATTERNS[pattern]
    return bytes(value for y in range(height) for x in range(width) for value in draw(x, y, width, height))


@pytest.mark.parametrize(("pattern", "width", "height", "expected"), VECTORS)
def test_the_hash_is_that_of_the_reference(pattern, width, height, expected):
    """Up to a term that is 0 in theory, so that its last digits say which way its half is rounded."""
    found, wanted = thumbhash(width, height, pixels(pattern, width, height)), bytes.fromhex(expected)
    assert (len(found), found[:5]) == (len(wanted), wanted[:5])
    halves = [(a >> s & 15, b >> s & 15) for a, b in zip(found, wanted, strict=True) for s in (0, 4)]
    assert {pair for pair in halves if pair[0] != pair[1]} <= {(7, 8), (8, 7)}
    assert sum(a != b for a, b in halves) <= 6


@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_any_picture_has_a_short_hash(width, height, data):
    rgba = data.draw(st.binary(min_size=4 * width * height, max_size=4 * width * height))
    assert 5 < len(thumbhash(width, height, rgba)) <= 25


def test_an_even_surface_has_no_terms():
    assert thumbhash(20, 10, bytes([200, 100, 50, 255]) * 200)[5:] == bytes(14)


@pytest.mark.parametrize(("width", "height", "size"), [(0, 1, 0), (SIDE_MAX_PX + 1, 1, 404), (2, 2, 15)])
def test_what_is_no_small_picture_is_refused(width, height, size):
    with pytest.raises(ValueError, match="no picture"):
        thumbhash(width, height, bytes(size))
