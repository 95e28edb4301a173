import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st

from services.media.pictures.webp_head import HEAD_BYTES, webp_size


@pytest.mark.parametrize("options", [{}, {"lossless": True}])
@pytest.mark.parametrize("bands", [3, 4])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (37, 1000), (16383, 2)])
def test_the_size_is_the_one_that_was_written(options, bands, width, height):
    image = (pyvips.Image.black(width, height, bands=bands) + 100).cast("uchar").copy(interpretation="srgb")
    assert webp_size(image.webpsave_buffer(effort=0, **options)[:HEAD_BYTES]) == (width, height)


@given(
    st.binary(max_size=40),
    st.sampled_from([b"", b"RIFF\0\0\0\0WEBPVP8X", b"RIFF\0\0\0\0WEBPVP8L", b"RIFF\0\0\0\0WEBPVP8 "]),
)
def test_whatever_comes_has_a_size_or_none(rest, start):
    found = webp_size((start + rest)[:HEAD_BYTES])
    assert found is None or all(0 <= side <= 1 << 24 for side in found)
