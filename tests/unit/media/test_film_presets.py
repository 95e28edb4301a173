import json

import pytest

from services.media.films.presets import AUDIO_DEFAULT, VIDEO_DEFAULT, AudioPreset, VideoPreset
from shared.kernel.errors import BadInput


def test_the_default_of_a_video_and_of_a_sound():
    assert [(p.name, p.make, p.format, p.content_type) for p in (*VIDEO_DEFAULT, *AUDIO_DEFAULT)] == [
        ("poster", "poster", "webp", "image/webp"),
        ("720p", "mp4", "mp4", "video/mp4"),
        ("480p", "mp4", "mp4", "video/mp4"),
        ("preview", "preview", "webp", "image/webp"),
        ("peaks", "peaks", "json", "application/json"),
        ("aac", "mp4", "m4a", "audio/mp4"),
    ]


@pytest.mark.parametrize("preset", [*VIDEO_DEFAULT, *AUDIO_DEFAULT], ids=lambda preset: preset.name)
def test_a_preset_survives_the_trip_to_a_slot(preset):
    assert type(preset).parse(json.loads(json.dumps(preset.wire()))) == preset


@pytest.mark.parametrize(
    ("given", "pointer", "words"),
    [
        ("mp4", "/video/0", "an object"),
        ({"name": "x", "make": "mp4", "width": 64, "height": 64, "depth": 3}, "/video/0/depth", "no such member"),
        ({"name": "x", "make": "mp4", "width": "64", "height": 64}, "/video/0/width", "whole number"),
        ({"name": "x", "make": "mp4", "width": True, "height": 64}, "/video/0/width", "whole number"),
        ({"name": "../x", "make": "mp4", "width": 64, "height": 64}, "/video/0/name", "file name"),
        ({"name": "x", "make": "mp4"}, "/video/0/width", "missing"),
        ({"name": "x", "make": "gif", "width": 64, "height": 64}, "/video/0/make", "poster, mp4, preview"),
        (
            {"name": "x", "make": "poster", "width": 64, "height": 64, "format": "png"},
            "/video/0/format",
            "must be one of",
        ),
        ({"name": "x", "make": "mp4", "width": 3840, "height": 64}, "/video/0/width", "16 to 1920"),
        ({"name": "x", "make": "mp4", "width": 64, "height": 64, "speed": "placebo"}, "/video/0/speed", "ultrafast"),
    ],
)
def test_a_preset_that_makes_no_sense_is_refused_with_its_place(given, pointer, words):
    with pytest.raises(BadInput, match=words) as caught:
        VideoPreset.parse(given, "/video/0")
    assert caught.value.details["pointer"] == pointer


def test_a_sound_has_presets_of_its_own():
    with pytest.raises(BadInput, match="peaks, mp4"):
        AudioPreset.parse({"name": "x", "make": "poster"}, "/audio/0")
    assert AudioPreset("x", "mp4").format == "m4a"
