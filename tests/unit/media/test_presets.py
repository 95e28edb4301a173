import json

import pytest

from services.media.presets import PRESET_SETS, PRESETS_MAX, Preset, PresetSet, focal_point, preset_set
from shared.kernel.errors import BadInput


def test_the_default_set_is_two_webp_boxes():
    assert [(p.name, p.width, p.height, p.content_type) for p in preset_set("default").image] == [
        ("w320", 320, 320, "image/webp"),
        ("w1280", 1280, 1280, "image/webp"),
    ]


def test_a_set_survives_the_trip_to_a_slot():
    own = PresetSet(
        "own",
        image=(
            Preset("a", 10, 20, "avif", 50, 3, "cover", (0.25, 0.5), "#a0B0c0", enlarge=True, lossless=True),
            Preset("b", None, 9, "png", focus="attention", animated=False),
        ),
        damaged="show",
    )
    for one in (*PRESET_SETS.values(), own):
        assert PresetSet.parse(json.loads(json.dumps(one.wire()))) == one


def test_what_a_person_writes_needs_no_more_than_a_name_and_a_side():
    (preset,) = PresetSet.parse({"name": "s", "image": [{"name": "a", "width": 9}]}).image
    assert (preset.fit, preset.format, preset.moves, preset.backdrop) == ("inside", "webp", True, None)


def test_a_focal_point_is_where_every_cut_looks():
    own = PresetSet("own", image=(Preset("a", 9, 9, fit="cover", focus="entropy"), Preset("b", 9)))
    assert [preset.focus for preset in own.focused(focal_point("0.3,1")).image] == [(0.3, 1.0), "centre"]
    for wrong in ("", "0.5", "1.1,0", "0,1.000001", "-0.1,0", "nan,0", "0.5, 0.5", "0.5,0.5\n", "1e0,1"):
        with pytest.raises(BadInput) as caught:
            focal_point(wrong)
        assert (caught.value.details["pointer"], caught.value.details["place"]) == ("/focus", "query")


def test_an_unknown_set_is_refused_with_the_known_ones():
    with pytest.raises(BadInput, match="'huge'; known: default"):
        preset_set("huge")


@pytest.mark.parametrize("name", ["../x", "a b", "w_320", "ä", "a.b", "a\n"])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(ValueError, match="file name"):
        Preset(name, 1, 1)


@pytest.mark.parametrize("side", [0, -1, 8193])
def test_a_side_out_of_bounds_is_refused(side):
    with pytest.raises(ValueError, match="8192"):
        Preset("x", side, 10)


@pytest.mark.parametrize(
    ("given", "pointer", "words"),
    [
        ({"name": "a", "width": None}, "width", "a width, a height, or both"),
        ({"name": "a", "width": 5, "fit": "cover"}, "fit", "cover needs a width and a height"),
        ({"name": "a", "width": 5, "fit": "smart"}, "fit", "one of inside, cover, contain"),
        ({"name": "a", "width": 5, "effort": 7}, "effort", "must be 0 to 6 for webp"),
        ({"name": "a", "width": 5, "format": "jpeg", "effort": 3}, "effort", "must be 0 to 2 for jpeg"),
        ({"name": "a", "width": 5, "format": "jpeg", "lossless": True}, "lossless", "jpeg never"),
        ({"name": "a", "width": 5, "format": "gif"}, "format", "webp, avif, jpeg, png"),
        ({"name": "a", "width": 5, "background": "red"}, "background", "#rrggbb"),
        ({"name": "a", "width": 5, "background": "#12345g"}, "background", "#rrggbb"),
        ({"name": "a", "width": 5, "focus": [0.5, 1.1]}, "focus", "0 to 1"),
        ({"name": "a", "width": 5, "quality": 101}, "quality", "1 to 100"),
        ({"name": "a", "width": 5, "sharpen": 1}, "sharpen", "no such member"),
    ],
)
def test_a_preset_that_makes_no_sense_is_refused_with_a_pointer(given, pointer, words):
    with pytest.raises(BadInput) as caught:
        PresetSet.parse({"name": "s", "image": [{"name": "z", "width": 1}, given]})
    assert caught.value.details["pointer"] == f"/image/1/{pointer}"
    assert words in caught.value.message


def test_a_set_is_bounded_and_has_each_name_once():
    with pytest.raises(BadInput, match=f"0 to {PRESETS_MAX}"):
        PresetSet.parse({"name": "s", "image": [{"name": f"n{n}", "width": 1} for n in range(PRESETS_MAX + 1)]})
    with pytest.raises(BadInput, match="a comes twice") as caught:
        PresetSet.parse({"name": "s", "image": [{"name": "a", "width": 1}, {"name": "a", "width": 2}]})
    assert caught.value.details["pointer"] == "/image"
    for name in ("", "a/b", "-", "a b", "x" * 65):
        with pytest.raises(BadInput):
            PresetSet.parse({"name": name})
