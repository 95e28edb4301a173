"""Frames whose colours are reserved numbers, or such as no scaler knows."""

import av
import pytest

from services.media.films.frames import Shaper
from services.media.films.look import BT709, BT2020, UNKNOWN, Look
from services.media.films.still import interest_of, picture_of


def grey(**said):
    frame = av.VideoFrame(64, 48, "yuv420p")
    for plane, value in zip(frame.planes, (126, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    for name, value in said.items():
        setattr(frame, name, value)
    return frame


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("colorspace", value) for value in (0, 2, 3, 4, 10, 12, 13, 15, 18)),
        *(("color_primaries", value) for value in (0, 3, 13, 21, 23)),
        *(("color_trc", value) for value in (0, 3, 9, 10, 19)),
    ],
)
def test_a_frame_is_shown_whatever_number_its_colours_have(name, value):
    assert interest_of(grey(**{name: value})) == 0
    (shaped,) = Shaper((32, 24), "yuv420p").shape(grey(**{name: value}), 0)
    assert (shaped.width, shaped.height) == (32, 24)
    shown = picture_of(grey(**{name: value}), Shaper((32, 24), "rgb24"))(8, 8)
    assert shown == pytest.approx([128] * 3, abs=4)


@pytest.mark.parametrize(
    ("primaries", "matrix"), [(UNKNOWN, BT709), (BT709, BT709), (5, 5), (6, 6), (BT2020, BT2020), (0, BT709)]
)
def test_a_matrix_that_follows_from_the_primaries_does_so(primaries, matrix):
    assert Look.of(grey(colorspace=12, color_primaries=primaries)).matrix == matrix


def test_what_is_put_on_a_frame_is_its_look():
    frame = grey(colorspace=10, color_primaries=0, color_trc=9)
    look = Look.of(frame)
    look.put_on(frame)
    assert (look.matrix, look.primaries, look.transfer) == (BT2020, UNKNOWN, UNKNOWN)
    assert Look.of(frame) == look
