import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.pictures.exif import TEXT_MAX_CHARS, safe_facts

SHOWN = {
    "exif-ifd0-Make": "Canon (Canon, ASCII, 6 components, 6 bytes)",
    "exif-ifd0-Model": "5D (Mark II), best (5D (Mark II), best, ASCII, 18 components, 18 bytes)",
    "exif-ifd2-DateTimeOriginal": "2026:05:04 03:02:01 (2026:05:04 03:02:01, ASCII, 20 components, 20 bytes)",
    "exif-ifd2-ExposureTime": "1/125 sec. (1/125, Rational, 1 components, 8 bytes)",
    "exif-ifd2-FNumber": "f/2.8 (28/10, Rational, 1 components, 8 bytes)",
    "exif-ifd2-ISOSpeedRatings": "400 (400, Short, 1 components, 2 bytes)",
    "exif-ifd2-FocalLength": "35.0 mm (35/1, Rational, 1 components, 8 bytes)",
    "exif-ifd3-GPSLatitude": "52 31 12 (52/1 31/1 12/1, Rational, 3 components, 24 bytes)",
    "exif-ifd2-BodySerialNumber": "1234 (1234, ASCII, 5 components, 5 bytes)",
    "exif-ifd0-Artist": "Ada (Ada, ASCII, 4 components, 4 bytes)",
}


def test_facts_are_read_and_what_tells_of_people_and_places_is_not():
    assert safe_facts(SHOWN) == {
        "camera_make": "Canon", "camera_model": "5D (Mark II), best", "taken_at": "2026-05-04T03:02:01",
        "exposure_s": 0.008, "f_number": 2.8, "iso": 400, "focal_length_mm": 35.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    ["", "x", "0/0 (0/0, Rational, 1 components, 8 bytes)", "(-1/2, Rational, 1 components, 8 bytes)",
     "1e999 (1e999, Rational, 1 components, 8 bytes)", "nan (nan, Rational, 1 components, 8 bytes)"],
)  # fmt: skip
def test_what_makes_no_sense_is_left_out(wrong):
    names = ("ExposureTime", "FNumber", "ISOSpeedRatings", "DateTimeOriginal", "FocalLength")
    assert safe_facts({f"exif-ifd2-{name}": wrong for name in names}) == {}


@given(
    st.dictionaries(
        st.sampled_from(sorted(SHOWN)), st.text() | st.text().map(lambda t: f"{t} ({t}, ASCII, 1 components, 1 bytes)")
    )
)
def test_whatever_a_camera_writes_is_short_and_printable(fields):
    for value in safe_facts(fields).values():
        assert not isinstance(value, str) or (value.isprintable() and len(value) <= TEXT_MAX_CHARS)
