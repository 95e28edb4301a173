import json

import pytest

from services.media.errors import MediaError
from services.media.limits import ImageLimits, Limits


def test_what_is_exactly_at_the_limit_passes():
    limits = ImageLimits(size_bytes=100, pixels=200, frames=2)
    limits.check_size(100)
    limits.check_shape(10, 10, 2)


@pytest.mark.parametrize(
    ("width", "height", "frames", "code", "text"),
    [
        (
            10_000,
            6_250,
            1,
            "too_many_pixels",
            "the image has 62.5 megapixels (10000 x 6250); the limit is 50 megapixels",
        ),
        (1000, 1000, 60, "too_many_pixels", "60.0 megapixels (1000 x 1000 x 60 frames); the limit is 50 megapixels"),
        (1, 1, 101, "too_many_frames", "the image has 101 frames; the limit is 100"),
    ],
)
def test_a_refusal_names_the_limit_its_value_and_what_was_found(width, height, frames, code, text):
    with pytest.raises(MediaError) as caught:
        ImageLimits().check_shape(width, height, frames)
    assert caught.value.code == code
    assert text in caught.value.message
    assert caught.value.details["limit"] < caught.value.details["found"]


def test_a_large_file_is_refused_by_its_size():
    with pytest.raises(MediaError, match=r"the file has 33\.0 MiB; the limit is 32 MiB"):
        ImageLimits().check_size(33 * 2**20)


def test_limits_survive_the_trip_to_a_slot():
    own = Limits(image=ImageLimits(size_bytes=1, pixels=2, frames=3, output_pixels=4))
    assert Limits.parse(json.loads(json.dumps(own.wire()))) == own
    assert Limits.parse({}) == Limits()
    assert Limits.parse({"image": {"frames": 7}}).image == ImageLimits(frames=7)
