"""Translucent pictures: a colour stays the colour that it is, however faint, at every size and on every background."""

import pytest
import pyvips

from services.media import probe
from services.media.pictures.images import make_renditions
from services.media.presets import Preset, PresetSet

COLOUR = (201, 101, 51)
ALPHAS = (1, 3, 10, 50, 128, 200, 254, 255)
CUT = {"fit": "cover", "format": "png"}


@pytest.fixture(scope="module", autouse=True)
def _set_up():
    probe.set_up()


@pytest.fixture
def make(tmp_path):
    def made(data, *presets):
        (tmp_path / "in").write_bytes(data)
        result = make_renditions(str(tmp_path / "in"), str(tmp_path), PresetSet("test", image=presets).wire())
        return {one["name"]: pyvips.Image.new_from_file(one["path"], n=-1) if one["format"] == "webp"
                else pyvips.Image.new_from_file(one["path"]) for one in result["renditions"]}  # fmt: skip

    return made


def even(alpha, width=120, height=80):
    bands = [*COLOUR, alpha]
    return pyvips.Image.black(width, height, bands=4).linear(1, bands).cast("uchar").copy(interpretation="srgb")


def speckled(width=120, height=80):
    """One colour everywhere, more and less of it."""
    alpha = pyvips.Image.gaussnoise(width, height, mean=128, sigma=90, seed=3).cast("uchar")
    return even(255, width, height).extract_band(0, n=3).bandjoin(alpha).copy(interpretation="srgb")


SAVERS = {
    "png": lambda image: image.pngsave_buffer(),
    "webp": lambda image: image.webpsave_buffer(lossless=True, exact=True),
    "avif": lambda image: image.heifsave_buffer(compression="av1", lossless=True, effort=0),
    "png, 16 bits": lambda image: (image.cast("ushort") * 257).copy(interpretation="rgb16").pngsave_buffer(),
}


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("form", list(SAVERS))
def test_an_even_colour_is_the_same_at_every_size(make, form, alpha):
    # what is reduced once, twice, cut, enlarged
    images = make(
        SAVERS[form](even(alpha)),
        Preset("once", 60, 40, format="png"),
        Preset("twice", 31, 21, format="png"),
        Preset("cut", 20, 33, **CUT),
        Preset("large", 200, 200, format="png", enlarge=True),
        Preset("webp", 60, 40, lossless=True),
    )
    for image in images.values():
        for band, value in zip(image.bandsplit(), (*COLOUR, alpha), strict=False):  # WebP drops an opaque one
            if form == "avif":  # libheif's conversions are not to the pixel
                assert band.avg() == pytest.approx(value, abs=1.1)
            else:
                assert (band.min(), band.max()) == (value, value)


@pytest.mark.parametrize("form", ["png", "webp"])
def test_how_much_there_is_of_a_colour_does_not_change_it(make, form):
    for image in make(SAVERS[form](speckled()), Preset("a", 60, 40, **CUT), Preset("b", 24, 16, **CUT)).values():
        colours, alpha = image.extract_band(0, n=3), image.extract_band(3)
        assert alpha.max() - alpha.min() > 40
        off = (colours - list(COLOUR)).abs()
        assert (off * (alpha > 0).ifthenelse(1, 0)).max() == 0


def test_a_picture_that_is_turned_is_made_upright(make):
    wide = even(128).draw_rect([10, 20, 30, 128], 0, 0, 60, 80, fill=True).copy()
    wide.set_type(pyvips.GValue.gint_type, "orientation", 6)
    image = make(wide.pngsave_buffer(), Preset("a", 40, 60, format="png"))["a"]
    assert (image.width, image.height) == (40, 60)
    assert image(20, 10) == [10, 20, 30, 128]
    assert image(20, 50) == [*COLOUR, 128]


def test_an_animation_keeps_its_colours(make):
    strip = even(50, 40, 20).join(even(200, 40, 20), "vertical").copy()
    strip.set_type(pyvips.GValue.gint_type, "page-height", 20)
    data = strip.webpsave_buffer(lossless=True, exact=True, page_height=20)
    image = make(data, Preset("a", 20, 10, lossless=True))["a"]
    assert image.get_n_pages() == 2
    assert image(5, 5) == [*COLOUR, 50]
    assert image(5, 15) == [*COLOUR, 200]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_on_a_background_as_much_is_seen_as_it_covers(make, alpha):
    images = make(
        SAVERS["png"](even(alpha)),
        Preset("grey", 60, 40, format="png", background="#808080"),
        Preset("white", 60, 40, format="jpeg", quality=100),
        Preset("beside", 60, 60, format="png", fit="contain", background="#808080"),
    )
    for name, under, exact in (("grey", 128, 0.51), ("beside", 128, 0.51), ("white", 255, 2)):
        expected = [(value * alpha + under * (255 - alpha)) / 255 for value in COLOUR]
        assert images[name](30, 20 if name != "beside" else 30) == pytest.approx(expected, abs=exact)
    assert images["beside"](30, 2) == [128, 128, 128]
