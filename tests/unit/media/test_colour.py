from hypothesis import given
from hypothesis import strategies as st

from services.media.pictures.colour import dominant_colour


def surface(*parts):
    return b"".join(bytes(colour) * count for colour, count in parts)


def test_most_of_what_is_seen_decides():
    assert dominant_colour(surface(((200, 30, 30, 255), 60), ((10, 10, 250, 255), 40))) == "#c81e1e"


def test_what_is_transparent_does_not_count():
    assert dominant_colour(surface(((200, 30, 30, 127), 90), ((10, 10, 250, 128), 1))) == "#0a0afa"
    assert dominant_colour(surface(((200, 30, 30, 0), 90))) is None
    assert dominant_colour(b"") is None


def test_two_shades_of_one_surface_beat_a_smaller_even_one():
    shades = (((127, 127, 127, 255), 30), ((128, 127, 127, 255), 30))
    assert dominant_colour(surface(*shades, ((250, 0, 0, 255), 40))) == "#807f7f"


@given(st.lists(st.binary(min_size=4, max_size=4), min_size=1, max_size=30))
def test_the_answer_is_among_the_colours_that_are_seen(pixels):
    found = dominant_colour(b"".join(pixels))
    seen = [pixel for pixel in pixels if pixel[3] > 127]
    if found is None:
        assert not seen
        return
    for at, text in enumerate((found[1:3], found[3:5], found[5:7])):
        values = [pixel[at] for pixel in seen]
        assert min(values) <= int(text, 16) <= max(values)
