import pytest

from services.media.presets import PRESET_SETS, Preset, preset_set
from shared.kernel.errors import BadInput


def test_the_default_set_is_two_webp_boxes():
    assert [(p.name, p.width, p.height, p.content_type) for p in preset_set("default")] == [
        ("w320", 320, 320, "image/webp"),
        ("w1280", 1280, 1280, "image/webp"),
    ]


def test_a_preset_survives_the_trip_to_a_slot():
    for preset in PRESET_SETS["default"]:
        assert Preset(**preset.wire()) == preset


def test_an_unknown_set_is_refused_with_the_known_ones():
    with pytest.raises(BadInput, match="'huge'; known: default"):
        preset_set("huge")


@pytest.mark.parametrize("name", ["", "../x", "a b", "w_320"])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(ValueError, match="file name"):
        Preset(name, 1, 1)


@pytest.mark.parametrize("side", [0, -1, 8193])
def test_a_side_out_of_bounds_is_refused(side):
    with pytest.raises(ValueError, match="8192"):
        Preset("x", side, 10)
