"""What people and public corpora hold, in every format: what becomes of each, decided here and documented."""

import struct
import zlib
from pathlib import Path

import pytest
import pyvips

from services.media import probe
from services.media.errors import MediaError
from services.media.pictures.images import make_renditions
from services.media.presets import Preset, PresetSet
from tests.integration.media import crafted, pictures

SMALL = PresetSet("small", image=(Preset("r", 64, 64, lossless=True),))
SHOWN = PresetSet("small", image=SMALL.image, damaged="show")


@pytest.fixture(scope="module")
def _set_up():
    probe.set_up()


@pytest.fixture
def make(tmp_path, _set_up):
    """(probe, the one rendition as an image, its entry) of bytes; slots do the same, and have tests of their own."""

    def made(data, presets=SMALL, **limits):
        source = tmp_path / "in"
        source.write_bytes(data)
        result = make_renditions(str(source), str(tmp_path), presets.wire(), {"image": limits})
        (entry,) = result["renditions"]
        return result["probe"], pyvips.Image.new_from_file(entry["path"], n=-1).copy_memory(), entry

    return made


def near(found, wanted, within=12):
    return all(abs(a - b) <= within for a, b in zip(found, wanted, strict=True))


def coloured(image, x=10, y=10):
    """The halves of the pictures module, wherever they are red and blue."""
    return near(image(x, y)[:3], (220, 20, 20), 30) and near(image(image.width - 1 - x, y)[:3], (20, 20, 220), 30)


HALVES = pictures.halves(96, 64)


@pytest.mark.parametrize(
    ("suffix", "fact", "value"),
    [
        (".png[interlace]", "format", "png"),
        (".png[palette]", "format", "png"),
        (".jpg[interlace]", "format", "jpeg"),
        (".jpg[subsample_mode=off,restart_interval=1]", "format", "jpeg"),
        (".webp[lossless]", "format", "webp"),
        (".webp[near_lossless]", "format", "webp"),
        (".gif[interlace]", "format", "gif"),
        (".avif[bitdepth=10]", "bits", 10),
        (".avif[bitdepth=12]", "bits", 12),
        (".avif[lossless]", "format", "avif"),
        (".avif[subsample_mode=off]", "format", "avif"),
    ],
)
@pytest.mark.parametrize("alpha", [False, True])
def test_every_way_of_writing_a_format(make, suffix, fact, value, alpha):
    if suffix.startswith(".jpg") and alpha:
        pytest.skip("JPEG has none")
    image = HALVES.bandjoin(255) if alpha else HALVES
    found, made, _ = make(image.write_to_buffer(suffix))
    assert found[fact] == value
    assert (found["width"], found["height"], made.width, made.height) == (96, 64, 64, 43)
    assert coloured(made), (made(10, 10), made(50, 10))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".avif", ".gif"])
def test_what_is_transparent_stays_so(make, suffix):
    half = HALVES.bandjoin(
        pyvips.Image.black(48, 64).join((pyvips.Image.black(48, 64) + 255), "horizontal").cast("uchar")
    )
    found, made, _ = make(half.write_to_buffer(suffix))
    assert found["alpha"]
    assert (made(5, 5)[3], made(60, 5)[3]) == (0, 255)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_grey_pngs_of_every_depth(make, depth, interlace, alpha):
    if alpha and depth < 8:
        pytest.skip("PNG has none")
    step = pyvips.Image.black(64, 80).join(pyvips.Image.black(64, 80) + 255, "horizontal").cast("uchar")
    step = step.copy(interpretation="b-w")
    image = step.linear(257, 0).cast("ushort").copy(interpretation="grey16") if depth == 16 else step
    if alpha:
        image = image.bandjoin(65535 if depth == 16 else 255)
    found, made, _ = make(image.pngsave_buffer(bitdepth=depth, interlace=interlace))
    assert found["bits"] == depth
    assert made.interpretation == "srgb"
    assert made(1, 5)[0] < 30
    assert made(62, 5)[0] > 225


@pytest.mark.parametrize("interlace", [False, True])
def test_sixteen_bits_become_eight(make, interlace):
    found, made, _ = make(HALVES.colourspace("rgb16").bandjoin(65535).pngsave_buffer(interlace=interlace))
    assert (found["bits"], found["colour_space"], found["alpha"]) == (16, "rgb16", True)
    assert (made.format, coloured(made)) == ("uchar", True)


def test_a_palette_of_one_bit_and_a_transparent_colour(make):
    chunks = crafted.png_chunk(b"PLTE", bytes([220, 20, 20, 20, 20, 220])) + crafted.png_chunk(b"tRNS", b"\xff\x00")
    data = crafted.png(16, 16, (b"\0" + b"\x00\xff") * 16, depth=1, colour=3, chunks=chunks)
    found, made, _ = make(data)
    assert found["alpha"]
    assert (near(made(2, 2)[:3], (220, 20, 20)), made(2, 2)[3], made(12, 2)[3]) == (True, 255, 0)


@pytest.mark.parametrize("transform", [0, 2])
def test_cmyk_and_ycck_as_photoshop_writes_them(make, transform):
    data = HALVES.colourspace("cmyk").jpegsave_buffer(keep="none")
    at = data.index(b"Adobe") + 11
    assert data[at] == 0, "libvips writes no YCCK"
    found, made, _ = make(data[:at] + bytes([transform]) + data[at + 1 :])
    assert (found["colour_space"], made.bands, made.interpretation) == ("cmyk", 3, "srgb")
    is_red, is_blue = made(10, 10)[0] > made(10, 10)[2] + 60, made(50, 10)[2] > made(50, 10)[0] + 60
    assert (is_red and is_blue) is (transform == 0), "the other has its colours taken for something else"


def test_cmyk_with_a_profile_of_its_own(make):
    image = HALVES.icc_transform("cmyk", input_profile="srgb")
    found, made, _ = make(image.jpegsave_buffer())
    assert (found["icc"], found["colour_space"]) == (True, "cmyk")
    assert made(10, 10)[0] > made(10, 10)[2] + 60


PROFILES = {
    "garbage": b"garbage" * 40,
    "empty": b"",
    "cut": None,
    "of another colour space": "cmyk",
    "huge": b"\0" * 200_000,
}


def _profile(kind):
    whole = HALVES.icc_transform("cmyk" if kind == "of another colour space" else "srgb", input_profile="srgb")
    given = PROFILES[kind]
    return (
        bytes(whole.get("icc-profile-data"))[: 100 if kind == "cut" else None]
        if not isinstance(given, bytes)
        else given
    )


@pytest.mark.parametrize("kind", sorted(PROFILES))
@pytest.mark.parametrize("suffix", ["jpg", "png", "grey.png"])
def test_a_profile_that_is_none_does_no_harm(make, kind, suffix):
    profile = _profile(kind)
    image = HALVES.colourspace("b-w") if suffix.startswith("grey") else HALVES
    if suffix == "jpg":
        data = image.jpegsave_buffer(keep="none")
        for number, at in enumerate(range(0, len(profile), 60_000)):
            part = b"ICC_PROFILE\0" + bytes([number + 1, -(-len(profile) // 60_000)]) + profile[at : at + 60_000]
            data = crafted.with_jpeg_segment(data, 0xE2, part)
    else:
        chunk = crafted.png_chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))
        data = crafted.with_png_chunks(image.pngsave_buffer(keep="none"), chunk)
    _, made, _ = make(data)
    assert suffix.startswith("grey") or coloured(made), kind


def test_a_wide_profile_is_applied_in_every_format(make):
    wide = HALVES.icc_transform("p3", input_profile="srgb")
    plain = bytes(wide.write_to_memory())
    assert plain != bytes(HALVES.write_to_memory())
    for suffix in (".png", ".jpg[Q=100,subsample_mode=off]", ".webp[lossless]", ".avif[lossless]"):
        found, made, _ = make(wide.write_to_buffer(suffix))
        assert found["icc"], suffix
        assert coloured(made), suffix
        assert near(made(10, 10)[:3], (220, 20, 20), 8), suffix


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_shown_upright(make, suffix, orientation):
    corners = pyvips.Image.black(60, 40, bands=3).cast("uchar").copy(interpretation="srgb")
    corners = corners.draw_rect([255, 255, 255], 0, 0, 20, 20, fill=True).copy()
    corners.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    wanted = corners.autorot()
    found, made, _ = make(corners.write_to_buffer(suffix))
    assert (made.width, made.height) == (wanted.width, wanted.height) == (found["width"], found["height"])
    for x, y in ((5, 5), (made.width - 6, 5), (5, made.height - 6), (made.width - 6, made.height - 6)):
        assert abs(made(x, y)[0] - wanted(x, y)[0]) < 40, (x, y)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none_is_upright(make, value):
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, value, 0, 0)
    found, made, _ = make(crafted.with_jpeg_segment(HALVES.jpegsave_buffer(keep="none"), 0xE1, exif))
    assert (found["orientation"], made.width, made.height) == (1, 64, 43)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (65535, 1), (1, 65535), (8193, 3), (2, 1)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".webp", ".avif"])
def test_thin_and_tiny_pictures(make, width, height, suffix):
    if max(width, height) > {".webp": 16383, ".jpg": 65500}.get(suffix, 65535):
        pytest.skip("the format does not hold it")
    if suffix == ".avif" and max(width, height) > 16384:
        pytest.skip("the encoder does not make it")
    image = (pyvips.Image.black(width, height, bands=3) + 90).cast("uchar").copy(interpretation="srgb")
    found, made, _ = make(image.write_to_buffer(suffix))
    assert (found["width"], found["height"]) == (width, height)
    assert (made.width, made.height) == (min(64, width), 1 if width > height else min(64, height))
    assert near(made(0, 0)[:3], (90, 90, 90), 3)


def _flat(width, height):
    return crafted.png(width, height, b"\0" * (1 + 3 * 4) * 4)


EMPTY = {
    "png 0 wide": _flat(0, 4),
    "png 0 high": _flat(4, 0),
    "png of no pixels": crafted.png(4, 4, b""),
    "png 2^31": _flat(2**31 - 1, 1),
    "gif 0 x 0": crafted.gif(0, 0, []),
    "gif without a frame": crafted.gif(9, 9, []),
    "jpeg 0 high": None,
    "webp of a header": b"RIFF\x04\0\0\0WEBP",
    "avif of a header": crafted.box(b"ftyp", b"avif" + bytes(4) + b"avifmif1"),
    "only a start": b"\xff\xd8\xff",
    "only a signature": b"\x89PNG\r\n\x1a\n",
}


@pytest.mark.parametrize("kind", sorted(EMPTY))
def test_a_picture_of_nothing_is_refused(make, kind):
    data = EMPTY[kind]
    if data is None:
        whole = HALVES.jpegsave_buffer(keep="none")
        at = next(at for at, marker, _ in crafted.jpeg_segments(whole) if marker == 0xC0)
        data = whole[: at + 5] + b"\0\0" + whole[at + 7 :]
    with pytest.raises(MediaError) as caught:
        make(data)
    assert caught.value.code in {"corrupt", "truncated", "unsupported_format", "too_many_pixels"}
    if kind != "png of no pixels":  # its size is known: what can be seen of it is black
        with pytest.raises(MediaError):
            make(data, SHOWN)


def test_bytes_after_the_end_are_nobodys_business(make):
    tails = (b"PK\x03\x04" + bytes(400), b"<script>alert(1)</script>", b"\xff\xd8\xff\xe0", bytes(5000))
    for suffix in (".jpg", ".png", ".webp", ".gif", ".avif"):
        for tail in tails:
            _, made, entry = make(HALVES.write_to_buffer(suffix) + tail)
            assert coloured(made), suffix
            assert tail[:16] not in Path(entry["path"]).read_bytes() or tail[:4] == bytes(4)


@pytest.mark.parametrize(
    "kind", [b"tEXt", b"zTXt", b"iTXt", b"gAMA", b"cHRM", b"pHYs", b"tIME", b"eXIf", b"iCCP", b"qwEr"]
)
@pytest.mark.parametrize("crc", [None, 1])
def test_what_is_broken_beside_the_pixels_of_a_png_does_no_harm(make, kind, crc):
    whole = HALVES.pngsave_buffer(keep="none")
    for payload in (b"", b"a\0b", b"a\0\0" + bytes(50), bytes(3000)):
        _, made, _ = make(crafted.with_png_chunks(whole, crafted.png_chunk(kind, payload, crc)))
        assert coloured(made), (kind, payload[:4])


def test_a_png_without_its_end_shows_all(make):
    assert coloured(make(HALVES.pngsave_buffer(keep="none")[:-12])[1])


def test_a_jpeg_that_lacks_only_its_end_mark_shows_all(make):
    for options in ({}, {"interlace": True}):
        whole = pictures.noise(96, 64).jpegsave_buffer(keep="none", **options)
        found, made, _ = make(whole[:-2])
        assert (found["damaged"], made.width) == (False, 64)


def test_a_jpeg_with_bytes_between_its_parts_shows_all(make):
    whole = HALVES.jpegsave_buffer(keep="none")
    found, made, _ = make(whole[:-2] + b"\x00\x11\x22" + whole[-2:])
    assert (found["damaged"], coloured(made)) == (False, True)


def test_an_apng_is_its_first_frame(make):
    whole = HALVES.pngsave_buffer(keep="none")
    control = crafted.png_chunk(b"acTL", struct.pack(">II", 2, 0))
    frame = crafted.png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 96, 64, 0, 0, 1, 10, 0, 0))
    found, made, _ = make(crafted.with_png_chunks(whole, control + frame))
    assert (found["frames"], coloured(made)) == (1, True)


@pytest.mark.parametrize("marker", [0xC9, 0xCA, 0xC3, 0xCB, 0xC5])
def test_rare_kinds_of_jpeg_end_in_words(make, marker):
    """Arithmetic and lossless coding: decoded if the decoder can, else refused, never a crash."""
    data = crafted.with_jpeg_marker(HALVES.jpegsave_buffer(keep="none"), 0xC0, marker)
    refused = None
    try:
        make(data)
    except MediaError as error:
        refused = error
    assert refused is None or refused.code in {"unsupported_format", "corrupt", "truncated"}, refused


def test_huge_notes_of_a_camera_do_no_harm(make):
    data = HALVES.jpegsave_buffer(keep="none")
    for number in range(100):
        data = crafted.with_jpeg_segment(data, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + bytes([number]) * 60_000)
    _, made, entry = make(data)
    assert coloured(made)
    assert entry["size_bytes"] < 10_000


def test_an_avif_in_tiles(make):
    tile = HALVES.crop(16, 0, 64, 64).heifsave_buffer(compression="av1", effort=0, keep="none")
    found, made, _ = make(crafted.avif_grid(tile, 64, 2, 3))
    assert (found["width"], found["height"], made.width, made.height) == (192, 128, 64, 43)
    assert near(made(2, 2)[:3], (220, 20, 20), 30)
    found, made, _ = make(crafted.avif_grid(tile, 64, 2, 3, output=(150, 100)))
    assert (found["width"], found["height"]) == (150, 100)


@pytest.mark.parametrize(
    ("rows", "columns", "output", "code"),
    [
        (2, 2, (65535, 65535), "too_many_pixels"),
        (200, 200, None, "corrupt"),
    ],
)
def test_a_grid_that_lies_is_refused(make, rows, columns, output, code):
    tile = HALVES.crop(16, 0, 64, 64).heifsave_buffer(compression="av1", effort=0, keep="none")
    with pytest.raises(MediaError) as caught:
        make(crafted.avif_grid(tile, 64, rows, columns, output=output))
    assert caught.value.code == (code or caught.value.code)
    assert caught.value.code != "out_of_memory"


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"hevc", b"mif1"])
def test_heic_is_refused_by_name(make, brand):
    tile = HALVES.crop(16, 0, 64, 64).heifsave_buffer(compression="av1", effort=0, keep="none")
    config = crafted.box(b"hvcC", b"\x01" + bytes(20) + b"\x0f\0")
    data = crafted.avif_grid(tile, 64, 1, 1, coding=b"hvc1", config=config).replace(b"avif", brand)
    with pytest.raises(MediaError) as caught:
        make(data)
    assert caught.value.code == "unsupported_format", caught.value
    assert "HEIC; taken are JPEG" in caught.value.message
