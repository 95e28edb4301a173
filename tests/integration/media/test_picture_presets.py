"""What a preset asks for is what comes out: fits, focus, backgrounds, formats, movement, and nothing but pixels."""

import base64
from pathlib import Path

import pytest
import pyvips

from services.media import probe
from services.media.errors import MediaError
from services.media.pictures.images import make_renditions
from services.media.pictures.thumbhash import thumbhash
from services.media.presets import Preset, PresetSet, preset_set
from tests.integration.media import crafted, pictures

FORMATS = ("webp", "avif", "jpeg", "png")


@pytest.fixture(scope="module", autouse=True)
def _set_up():
    probe.set_up()


@pytest.fixture
def make(tmp_path):
    """(probe, images by the name of their preset, entries by it)."""

    def made(data, *presets, damaged="refuse", **limits):
        source = tmp_path / "in"
        source.write_bytes(data if isinstance(data, bytes) else data.pngsave_buffer(keep="none"))
        chosen = PresetSet("test", image=presets, damaged=damaged)
        result = make_renditions(str(source), str(tmp_path), chosen.wire(), {"image": limits})
        entries = {entry["name"]: entry for entry in result["renditions"]}
        images = {name: pyvips.Image.new_from_file(entry["path"], n=-1) if entry["format"] == "webp"
                  else pyvips.Image.new_from_file(entry["path"]) for name, entry in entries.items()}  # fmt: skip
        for name, image in images.items():
            entry = entries[name]
            assert (image.width, image.get_page_height()) == (entry["width"], entry["height"])
            assert image.get_n_pages() == entry["frames"]
        return result["probe"], images, entries

    return made


def square(side, left, top, colour=(255, 255, 255), size=(400, 200)):
    """A grey picture with one bright square."""
    image = (pyvips.Image.black(*size, bands=3) + 40).cast("uchar").copy(interpretation="srgb")
    return image.draw_rect(list(colour), left, top, side, side, fill=True)


def moving(frames=5, width=40, height=20, delays=None):
    black = pyvips.Image.black(width, height, bands=3)
    pages = [black.linear(1, [n * 25, 200 - n * 20, 90]).cast("uchar") for n in range(frames)]
    strip = pyvips.Image.arrayjoin(pages, across=1).copy(interpretation="srgb").copy()
    strip.set_type(pyvips.GValue.gint_type, "page-height", height)
    strip.set_type(pyvips.GValue.array_int_type, "delay", delays or [100 * (n + 1) for n in range(frames)])
    strip.set_type(pyvips.GValue.gint_type, "loop", 3)
    return strip


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_what_it_says(make, kind):
    _, images, entries = make(pictures.halves(400, 200), Preset("a", 100, format=kind))
    assert str(images["a"].get("vips-loader")).startswith({"avif": "heif"}.get(kind, kind))
    assert (entries["a"]["content_type"], entries["a"]["kind"]) == (f"image/{kind}", "image")
    assert (images["a"].width, images["a"].height, images["a"].bands) == (100, 50, 3)
    assert images["a"](10, 10)[0] > 180
    assert images["a"](90, 10)[2] > 180


@pytest.mark.parametrize("kind", FORMATS)
def test_quality_and_effort_are_heard(make, kind):
    noise = pictures.noise(200, 200)
    _, _, entries = make(
        noise, Preset("low", 200, format=kind, quality=20), Preset("high", 200, format=kind, quality=90)
    )
    assert entries["low"]["size_bytes"] < 0.8 * entries["high"]["size_bytes"]
    efforts = {"webp": (0, 6), "avif": (0, 3), "jpeg": (0, 2), "png": (0, 9)}[kind]
    _, images, entries = make(
        pictures.PHOTO.read_bytes(), *(Preset(f"e{n}", 200, format=kind, effort=n) for n in efforts)
    )
    assert entries[f"e{efforts[1]}"]["size_bytes"] < entries[f"e{efforts[0]}"]["size_bytes"]
    assert all(image.avg() == pytest.approx(next(iter(images.values())).avg(), abs=3) for image in images.values())


@pytest.mark.parametrize("kind", ["webp", "avif"])
def test_lossless_is_to_the_pixel(make, kind):
    noise = pictures.noise(64, 48)
    _, images, _ = make(noise, Preset("a", 64, 48, kind, lossless=True))
    assert (images["a"] - noise).abs().max() == 0


def test_a_png_with_a_quality_has_a_palette(make):
    _, images, _ = make(
        pictures.PHOTO.read_bytes(), Preset("p", 100, format="png", quality=70), Preset("t", 100, format="png")
    )
    assert images["p"].get_typeof("palette")
    assert not images["t"].get_typeof("palette")


def test_what_is_cut_is_the_middle_the_point_or_what_is_interesting(make):
    picture = square(60, 320, 20, colour=(250, 60, 20))
    cut = {"fit": "cover", "format": "png"}
    _, images, _ = make(
        picture,
        Preset("centre", 100, 100, **cut),
        Preset("point", 100, 100, focus=(0.9, 0.2), **cut),
        Preset("left", 100, 100, focus=(0.0, 0.0), **cut),
        Preset("attention", 100, 100, focus="attention", **cut),
        Preset("entropy", 100, 100, focus="entropy", **cut),
    )
    bright = {name: image.extract_band(0).max() > 200 for name, image in images.items()}
    assert bright == {"centre": False, "point": True, "left": False, "attention": True, "entropy": True}
    assert {(image.width, image.height) for image in images.values()} == {(100, 100)}


def test_a_large_picture_is_cut_where_its_small_copy_is_interesting(make):
    picture = square(300, 3400, 200, colour=(250, 60, 20), size=(4000, 1000))
    _, images, _ = make(picture, *(Preset(f, 900, 900, "png", fit="cover", focus=f) for f in ("attention", "entropy")))
    assert all(image.extract_band(0).max() > 200 for image in images.values())


def test_contain_is_exactly_its_box(make):
    picture = pictures.halves(400, 200)
    _, images, _ = make(
        picture,
        Preset("clear", 100, 100, "png", fit="contain"),
        Preset("green", 100, 100, "webp", fit="contain", background="#00ff00", lossless=True),
        Preset("white", 100, 100, "jpeg", fit="contain"),
        Preset("small", 600, 600, "png", fit="contain"),
        Preset("grown", 600, 600, "png", fit="contain", enlarge=True),
    )
    assert images["clear"](50, 5) == [0, 0, 0, 0]
    assert images["clear"](10, 50)[3] == 255
    assert images["green"](50, 5) == [0, 255, 0]
    assert all(value > 250 for value in images["white"](50, 5))
    assert (images["small"].width, images["small"].height) == (600, 600)
    assert (images["small"](90, 300)[3], images["small"](110, 300)[3]) == (0, 255)
    assert images["grown"](10, 300)[3] == 255


@pytest.mark.parametrize("kind", FORMATS)
def test_a_background_lies_under_what_is_transparent(make, kind):
    clear = pictures.halves(60, 60).bandjoin(pyvips.Image.black(60, 60).cast("uchar"))
    _, images, _ = make(clear, Preset("on", 60, format=kind, background="#2040c0"), Preset("off", 60, format=kind))
    on, off = images["on"](30, 30), images["off"](30, 30)
    assert all(abs(a - b) < 6 for a, b in zip(on, (0x20, 0x40, 0xC0), strict=True))
    assert all(value > 250 for value in off) if kind == "jpeg" else off[3] == 0


def test_nothing_is_enlarged_unless_its_preset_says_so(make):
    _, images, _ = make(
        pictures.halves(40, 20),
        Preset("no", 80, 80), Preset("yes", 80, 80, enlarge=True), Preset("high", None, 40, enlarge=True),
        Preset("cut", 30, 30, fit="cover"), Preset("cutgrown", 30, 30, fit="cover", enlarge=True),
    )  # fmt: skip
    sizes = {name: (image.width, image.height) for name, image in images.items()}
    assert sizes == {"no": (40, 20), "yes": (80, 40), "high": (80, 40), "cut": (20, 20), "cutgrown": (30, 30)}


def test_a_set_without_pictures_is_a_probe(make):
    found, _, entries = make(pictures.PHOTO.read_bytes())
    assert entries == {}
    assert (found["width"], len(base64.b64decode(found["thumbhash"])) > 10) == (1280, True)


def test_thumbhash_and_dominant_colour_are_those_of_the_pixels(make):
    picture = pictures.halves(48, 24).draw_rect([10, 200, 30], 0, 0, 34, 24, fill=True)
    found, _, _ = make(picture, Preset("a", 10))
    rgba = bytes(picture.bandjoin(255).write_to_memory())
    assert base64.b64decode(found["thumbhash"]) == thumbhash(48, 24, rgba)
    assert found["dominant_colour"] == "#0ac81e"
    clear = pictures.halves(48, 24).bandjoin(pyvips.Image.black(48, 24).cast("uchar"))
    assert make(clear, Preset("a", 10))[0]["dominant_colour"] is None


@pytest.mark.parametrize("suffix", [".gif", ".webp[lossless]"])
def test_an_animation_moves_on(make, suffix):
    data = moving(delays=[50, 100, 150, 200, 250]).write_to_buffer(suffix)
    found, images, entries = make(
        data,
        Preset("a", 20, lossless=True), Preset("cut", 10, 10, fit="cover", focus="attention"),
        Preset("boxed", 30, 30, fit="contain", background="#ffffff", lossless=True),
        Preset("still", 20, animated=False), Preset("jpeg", 20, format="jpeg"), Preset("avif", 20, format="avif"),
    )  # fmt: skip
    assert (found["frames"], found["width"], found["height"]) == (5, 40, 20)
    assert {name: entry["frames"] for name, entry in entries.items()} == {
        "a": 5, "cut": 5, "boxed": 5, "still": 1, "jpeg": 1, "avif": 1,
    }  # fmt: skip
    for name in ("a", "cut", "boxed"):
        assert images[name].get("delay") == [50, 100, 150, 200, 250]
        assert images[name].get("loop") == 3
    whole = images["a"].copy_memory()
    for number in range(5):
        assert all(
            abs(a - b) < 8
            for a, b in zip(whole(5, number * 10 + 5), (number * 25, 200 - number * 20, 90), strict=False)
        )
        assert whole(5, number * 10) == whole(5, number * 10 + 9), "a frame bled into the next"
    boxed = images["boxed"].copy_memory()
    assert [boxed(2, 30 * number + 2)[:3] for number in range(5)] == [[255, 255, 255]] * 5


def test_frames_that_replace_and_restore_each_other_are_shown_as_browsers_do(make):
    red, green, blue = crafted.RED, crafted.GREEN, crafted.BLUE
    data = crafted.gif(
        20, 10, [(0, 0, 20, 10, red, 1), (5, 2, 4, 4, green, 2), (10, 2, 4, 4, blue, 3), (0, 0, 2, 2, green, 1)]
    )
    _, images, entries = make(data, Preset("a", 20, lossless=True))
    shown = images["a"].copy_memory()
    places = ((0, 0), (6, 3), (11, 3), (19, 9))
    seen = [[_name(shown(x, y + 10 * number)) for x, y in places] for number in range(entries["a"]["frames"])]
    assert seen == [
        ["red", "red", "red", "red"],
        ["red", "green", "red", "red"],
        ["red", "clear", "blue", "red"],
        ["green", "clear", "red", "red"],
    ]


def _name(pixel):
    if len(pixel) == 4 and pixel[3] == 0:
        return "clear"
    return ("red", "green", "blue")[pixel.index(max(pixel[:3]))]


def test_limits_hold_for_what_is_decoded(make):
    data = moving(9, 40, 20).gifsave_buffer()
    for limits, code in (({"frames": 8}, "too_many_frames"), ({"pixels": 40 * 20 * 8}, "too_many_pixels")):
        with pytest.raises(MediaError) as caught:
            make(data, Preset("a", 20), Preset("b", 20, animated=False), **limits)
        assert caught.value.code == code
        assert caught.value.details["found"] > caught.value.details["limit"]
        _, _, entries = make(data, Preset("b", 20, animated=False), Preset("c", 20, format="png"), **limits)
        assert {entry["frames"] for entry in entries.values()} == {1}


@pytest.mark.parametrize("kind", FORMATS)
def test_what_all_renditions_have_together_is_refused_before_anything_is_made(make, tmp_path, kind):
    large = [Preset(f"p{n}", 8192, 8192, kind, fit="cover", enlarge=True) for n in range(3)]
    words = "the 3 renditions together would have 201.3 megapixels; the limit is 100 megapixels"
    with pytest.raises(MediaError, match=words) as caught:
        make(pictures.halves(40, 20), *large)
    assert caught.value.code == "too_many_pixels"
    assert (caught.value.details["limit"], caught.value.details["found"]) == (100_000_000, 3 * 8192**2)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_is_not_enlarged_counts_as_large_as_it_comes_out(make):
    presets = [Preset(f"p{n}", 8192, 8192) for n in range(20)]
    make(pictures.halves(40, 20), *presets, output_pixels=20 * 800)
    with pytest.raises(MediaError, match="the 20 renditions together would have"):
        make(pictures.halves(40, 20), *presets, output_pixels=20 * 800 - 1)
    frames = moving()
    data = frames.webpsave_buffer(lossless=True)
    both = (Preset("moves", 40, 20), Preset("still", 40, 20, animated=False))
    make(data, *both, output_pixels=6 * 800)
    with pytest.raises(MediaError, match="the 2 renditions together"):
        make(data, *both, output_pixels=6 * 800 - 1)


def test_an_animation_is_not_enlarged_beyond_the_limit(make):
    data = moving(9, 40, 20).gifsave_buffer()
    with pytest.raises(
        MediaError, match=r"the rendition big has 288\.0 megapixels \(8000 x 4000 x 9 frames\)"
    ) as caught:
        make(data, Preset("big", 8000, enlarge=True))
    assert caught.value.code == "too_many_pixels"


TOLD = ("exif", "xmp", "iptc", "icc", "png-comment", "photoshop", "orientation")
SENTINELS = (
    b"Exif\0", b"Demo Camera", b"GPS", b"SENTINEL", b"ICC_PROFILE", b"iCCP", b"ICCP", b"EXIF", b"XMP ", b"8BIM",
    b"ns.adobe.com", b"tEXt", b"iTXt", b"eXIf",
)  # fmt: skip


def _laden(image):
    """With everything that a file can tell besides its pixels."""
    image = image.icc_transform("p3", input_profile="srgb").copy()
    blob, text = pyvips.GValue.blob_type, pyvips.GValue.gstr_type
    image.set_type(
        blob, "xmp-data", b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>SENTINEL-XMP http://ns.adobe.com/</x:xmpmeta>"
    )
    image.set_type(blob, "iptc-data", b"\x1c\x02\x78\x00\x0dSENTINEL-IPTC")
    image.set_type(text, "png-comment-0-Comment", "SENTINEL-COMMENT")
    image.set_type(text, "exif-ifd0-Artist", "SENTINEL-ARTIST (SENTINEL-ARTIST, ASCII, 16 components, 16 bytes)")
    return image


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif", ".gif"])
def test_nothing_is_told_besides_the_pixels(make, suffix):
    photo = pyvips.Image.new_from_file(str(pictures.PHOTO))
    assert any("GPS" in field for field in photo.get_fields())
    data = _laden(photo.resize(0.1)).write_to_buffer(suffix)
    if suffix == ".jpg":
        data = crafted.with_jpeg_segment(data, 0xFE, b"SENTINEL-REMARK")
        data = crafted.with_jpeg_segment(
            data, 0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x12\x1c\x02\x78\x00\x0dSENTINEL-IPTC"
        )
    if suffix not in (".gif", ".png"):  # a PNG packs them
        assert b"SENTINEL-XMP" in data
        assert b"Demo Camera" in data
    presets = [Preset(kind, 64, format=kind) for kind in FORMATS]
    presets += [Preset(f"{kind}box", 64, 64, format=kind, fit="contain") for kind in FORMATS]
    presets += [Preset(f"{kind}exact", 64, format=kind, lossless=True) for kind in ("webp", "avif")]
    found, images, entries = make(data, *presets, Preset("palette", 64, format="png", quality=50))
    for name, image in images.items():
        told = [field for field in image.get_fields() if field.startswith(TOLD)]
        assert told == [], name
        content = Path(entries[name]["path"]).read_bytes()
        assert [word for word in SENTINELS if word in content] == [], name
    assert "SENTINEL" not in str(found)
    assert "GPS" not in str(found)


def test_nor_by_an_animation(make):
    data = _laden(moving()).webpsave_buffer()
    assert b"SENTINEL-XMP" in data
    _, images, entries = make(data, Preset("a", 20))
    assert images["a"].get_n_pages() == 5
    content = Path(entries["a"]["path"]).read_bytes()
    assert [word for word in SENTINELS if word in content] == []


@pytest.mark.parametrize(
    ("kind", "kept", "shown"),
    [
        ("jpeg", 0.5, True),
        ("jpeg", 0.97, True),
        ("png", 0.5, True),
        ("gif", 0.6, True),
        ("webp", 0.5, False),
        ("avif", 0.5, False),
    ],
)
def test_a_set_may_ask_to_see_what_can_be_seen_of_a_damaged_picture(make, kind, kept, shown):
    whole = pictures.noise(160, 120).write_to_buffer({"jpeg": ".jpg"}.get(kind, f".{kind}"))
    cut = whole[: int(len(whole) * kept)]
    preset = Preset("a", 160, format="png")
    with pytest.raises(MediaError) as caught:
        make(cut, preset)
    assert caught.value.code in ("truncated", "corrupt")
    if not shown:  # their decoders need all of a file
        with pytest.raises(MediaError):
            make(cut, preset, damaged="show")
        return
    found, images, _ = make(cut, preset, damaged="show")
    assert found["damaged"] is True
    top = images["a"].crop(0, 0, 160, 20)
    assert top.deviate() > 15, "the part that is there is shown"
    found, _, _ = make(whole, preset, damaged="show")
    assert found["damaged"] is False


def test_the_default_set_costs_no_second_decode(make, monkeypatch):
    decodes = []
    thumbnail = pyvips.Image.thumbnail
    monkeypatch.setattr(
        pyvips.Image, "thumbnail", lambda *a, **k: decodes.append(a) or thumbnail(*a, **k), raising=False
    )
    make(pictures.PHOTO.read_bytes(), *preset_set("default").image)
    assert len(decodes) == 1


def test_facts_of_a_probe_are_safe_and_complete(make):
    found, _, _ = make(pictures.PHOTO.read_bytes())
    assert set(found) == {
        "kind", "format", "width", "height", "frames", "colour_space", "bits", "orientation", "alpha", "icc", "camera",
        "size_bytes", "thumbhash", "dominant_colour", "damaged",
    }  # fmt: skip
    assert found["camera"] == {"camera_make": "Holdfast", "camera_model": "Demo Camera"}
