"""What a preset makes of a picture's size: bounds and proportions for any of both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.pictures.geometry import Plan, Size, corner, largest, plan
from services.media.presets import SIDE_MAX_PX, Preset

sides = st.integers(1, SIDE_MAX_PX)
pictures = st.builds(Size, st.integers(1, 70_000), st.integers(1, 70_000))
presets = st.builds(
    Preset, st.just("x"), sides, sides, fit=st.sampled_from(["inside", "cover", "contain"]), enlarge=st.booleans()
)


@given(presets, pictures)
def test_a_plan_stays_within_the_picture_and_the_box(preset, picture):
    made = plan(preset, picture)
    assert all(least <= side <= most for least, side, most in zip((1, 1), made.scaled, picture, strict=True))
    assert all(1 <= side <= most for side, most in zip(made.cut, made.scaled, strict=True))
    assert all(1 <= side <= most for side, most in zip(made.canvas, (preset.width, preset.height), strict=True))
    assert all(side <= most for side, most in zip(made.size, made.canvas, strict=True))
    if preset.fit == "contain" or (preset.fit == "cover" and preset.enlarge):
        assert made.canvas == (preset.width, preset.height)
    if preset.fit == "inside":
        assert made.cut == made.scaled
        assert made.size == made.canvas
    if not preset.enlarge:
        assert made.size == made.cut


@given(presets, pictures)
def test_proportions_are_kept_to_within_a_pixel(preset, picture):
    made = plan(preset, picture)
    for size, whole in ((made.scaled, picture), (made.size, made.cut)):
        longest = whole.index(max(whole))
        scale = size[longest] / whole[longest]
        coarse = max(
            side / full for side, full in zip(size, whole, strict=True)
        )  # a picture of few pixels is cut by whole ones
        for side, full in zip(size, whole, strict=True):
            assert abs(side - max(1, full * scale)) <= 1 + max(1.0, coarse)


@given(st.lists(presets, min_size=1, max_size=4), pictures)
def test_one_decode_is_large_enough_for_all(chosen, picture):
    plans = [plan(preset, picture) for preset in chosen]
    whole = largest(plans)
    assert all(side <= most for one in plans for side, most in zip(one.scaled, whole, strict=True))
    assert all(side <= most for side, most in zip(whole, picture, strict=True))


@given(pictures, st.tuples(st.floats(0, 1), st.floats(0, 1)), st.data())
def test_a_corner_leaves_the_cut_within_the_picture(scaled, point, data):
    cut = Size(data.draw(st.integers(1, scaled.width)), data.draw(st.integers(1, scaled.height)))
    left, top = corner(point, scaled, cut)
    assert 0 <= left <= scaled.width - cut.width
    assert 0 <= top <= scaled.height - cut.height


@pytest.mark.parametrize(
    ("preset", "picture", "expected"),
    [
        (Preset("x", 320, 320), (1280, 1920), ((213, 320), (213, 320), (213, 320), (213, 320))),
        (Preset("x", 320), (100, 9000), ((91, 8192), (91, 8192), (91, 8192), (91, 8192))),
        (Preset("x", 320, 320), (65535, 1), ((320, 1), (320, 1), (320, 1), (320, 1))),
        (Preset("x", 320, 320, fit="cover"), (65535, 1), ((65535, 1), (1, 1), (1, 1), (1, 1))),
        (Preset("x", 320, 320, fit="cover", enlarge=True), (65535, 1), ((65535, 1), (1, 1), (320, 320), (320, 320))),
        (Preset("x", 200, 200), (100, 50), ((100, 50), (100, 50), (100, 50), (100, 50))),
        (Preset("x", 200, 200, enlarge=True), (100, 50), ((100, 50), (100, 50), (200, 100), (200, 100))),
        (Preset("x", 200, 100, fit="cover"), (1000, 1000), ((200, 200), (200, 100), (200, 100), (200, 100))),
        (Preset("x", 200, 200, fit="cover"), (100, 50), ((100, 50), (50, 50), (50, 50), (50, 50))),
        (Preset("x", 200, 200, fit="contain"), (100, 50), ((100, 50), (100, 50), (100, 50), (200, 200))),
        (Preset("x", 50, 50, fit="contain"), (100, 50), ((50, 25), (50, 25), (50, 25), (50, 50))),
    ],
)
def test_sizes_as_people_expect_them(preset, picture, expected):
    assert plan(preset, Size(*picture)) == Plan(*(Size(*size) for size in expected))


def test_a_focal_point_is_in_the_middle_where_the_edges_let_it():
    assert corner((0.5, 0.5), Size(100, 50), Size(20, 50)) == (40, 0)
    assert corner((0.0, 1.0), Size(100, 50), Size(20, 10)) == (0, 40)
    assert corner((0.8, 0.2), Size(100, 50), Size(20, 10)) == (70, 5)
