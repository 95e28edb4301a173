"""Real pictures through real slots: what comes out, and what is refused."""

import asyncio
import contextlib
from pathlib import Path

import pytest
import pyvips

from services.media.errors import MediaError, SlotDied, SlotsUnavailable
from services.media.pool import Pool
from services.media.presets import preset_set
from tests.integration.media import mutations, pictures

PRESETS = preset_set("default").wire()


@pytest.fixture
def pool(one_slot):
    return one_slot


async def renditions(pool, source, out, presets=PRESETS, **more):
    args = {"source": str(source), "directory": str(out), "presets": presets, **more}
    return await pool.run("renditions", args, timeout_s=30)


async def refused(pool, source, out, **more):
    """The code of the refusal; whatever is refused leaves no file and a slot that works on."""
    pids = pool.pids()
    with pytest.raises(MediaError) as caught:
        await renditions(pool, source, out, **more)
    assert list(out.iterdir()) == []
    assert pool.pids() == pids
    return caught.value


async def test_the_shipped_photo_is_turned_upright_and_stripped(pool, out):
    stored = pyvips.Image.new_from_file(str(pictures.PHOTO))
    assert (stored.width, stored.get("orientation")) == (1920, 6)
    assert any("GPS" in field for field in stored.get_fields())
    assert pictures.PHOTO.stat().st_size < 600_000

    result = await renditions(pool, pictures.photo(out.parent), out)
    assert (result["probe"]["width"], result["probe"]["height"], result["probe"]["format"]) == (1280, 1920, "jpeg")
    sizes = {r["name"]: (r["width"], r["height"]) for r in result["renditions"]}
    assert sizes == {"w320": (213, 320), "w1280": (853, 1280)}
    assert sorted(path.name for path in out.iterdir()) == ["w1280.webp", "w320.webp"]
    for made in result["renditions"]:
        data = (out / f"{made['name']}.webp").read_bytes()
        assert data[:4] + data[8:12] == b"RIFFWEBP"
        assert made["size_bytes"] == len(data)
        image = pyvips.Image.new_from_buffer(data, "")
        assert (image.width, image.height) == (made["width"], made["height"])
        assert not [f for f in image.get_fields() if f.startswith(("exif", "icc", "xmp", "iptc", "orientation"))]


async def test_orientation_moves_the_pixels(pool, out, tmp_path):
    image = pictures.halves(400, 200).copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", 6)
    await renditions(pool, pictures.save(tmp_path / "in", image, ".jpg"), out)
    turned = pyvips.Image.new_from_file(str(out / "w320.webp"))
    assert (turned.width, turned.height) == (160, 320)
    top, bottom = turned(80, 20), turned(80, 300)
    assert top[0] > 150 > top[2]
    assert bottom[2] > 150 > bottom[0]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".gif", ".avif"])
async def test_every_open_format_is_known_by_its_content(pool, out, tmp_path, suffix):
    source = pictures.save(tmp_path / "name.txt", pictures.halves(640, 480), suffix)
    result = await renditions(pool, source, out)
    expected = {".jpg": "jpeg"}.get(suffix, suffix[1:])
    assert (result["probe"]["format"], result["probe"]["frames"]) == (expected, 1)
    assert [(r["width"], r["height"]) for r in result["renditions"]] == [(320, 240), (640, 480)]


async def test_a_small_picture_is_not_enlarged(pool, out, tmp_path):
    result = await renditions(pool, pictures.save(tmp_path / "in", pictures.halves(64, 32), ".png"), out)
    assert [(r["width"], r["height"]) for r in result["renditions"]] == [(64, 32), (64, 32)]


@pytest.mark.parametrize("kind", ["cmyk", "grey", "grey16", "rgba"])
async def test_every_colour_space_ends_as_srgb(pool, out, tmp_path, kind):
    image = {
        "cmyk": lambda: pictures.halves(600, 300).colourspace("cmyk"),
        "grey": lambda: pictures.halves(600, 300).colourspace("b-w"),
        "grey16": lambda: pictures.halves(600, 300).colourspace("grey16"),
        "rgba": lambda: pictures.halves(600, 300).bandjoin(128),
    }[kind]()
    source = pictures.save(tmp_path / "in", image, ".jpg" if kind == "cmyk" else ".png")
    result = await renditions(pool, source, out)
    made = pyvips.Image.new_from_file(str(out / "w320.webp"))
    assert (made.interpretation, made.format, made.hasalpha()) == ("srgb", "uchar", kind == "rgba")
    assert result["probe"]["alpha"] is (kind == "rgba")
    if kind in ("cmyk", "rgba"):
        assert made(20, 80)[0] > made(20, 80)[2] + 60


async def test_a_colour_profile_is_applied_and_not_kept(pool, out, tmp_path):
    wide = pictures.halves(600, 300).icc_transform("p3", input_profile="srgb")
    source = pictures.save(tmp_path / "in", wide, ".png")
    result = await renditions(pool, source, out)
    assert result["probe"]["icc"] is True
    made = pyvips.Image.new_from_file(str(out / "w320.webp"))
    assert not made.get_typeof("icc-profile-data")
    assert all(abs(got - want) <= 12 for got, want in zip(made(20, 80), (220, 20, 20), strict=True))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".gif", ".avif"])
@pytest.mark.parametrize("kept", [0.95, 0.5, 0.02])
async def test_a_file_that_ends_early_is_refused(pool, out, tmp_path, suffix, kept):
    whole = pictures.noise(320, 240).write_to_buffer(suffix)
    source = tmp_path / "in"
    source.write_bytes(whole[: max(16, int(len(whole) * kept))])
    error = await refused(pool, source, out)
    assert error.code in {"truncated", "corrupt", "unsupported_format"}
    if suffix in {".jpg", ".gif", ".avif"}:  # the others' decoders do not tell an early end from damage
        assert error.code == "truncated"
    assert str(tmp_path) not in error.message


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".gif", ".avif"])
async def test_a_damaged_file_never_takes_the_slot_down(pool, out, tmp_path, suffix):
    whole = bytearray(pictures.noise(160, 120).write_to_buffer(suffix))
    pids = pool.pids()
    for step in range(20):
        damaged = bytearray(whole)
        for at in range(len(damaged) // 20 * (step % 10) + 8, len(damaged), 997 + step):
            damaged[at] ^= 0xFF
        (tmp_path / "in").write_bytes(damaged)
        with contextlib.suppress(MediaError):  # much damage still decodes; anything but a refusal would be a defect
            await renditions(pool, tmp_path / "in", out)
    assert pool.pids() == pids


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello, this is text",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>',
        b"%PDF-1.4\n%%EOF",
        b"II*\0\x08\0\0\0\0\0",
        b"push graphic-context\nviewbox 0 0 640 480\n",
        b"P6 2 2 255 " + bytes(12),
    ],
)
async def test_what_is_no_picture_of_ours_is_refused_whatever_its_name(pool, out, tmp_path, content):
    source = tmp_path / "picture.jpg"
    source.write_bytes(content)
    error = await refused(pool, source, out)
    assert error.code == "unsupported_format"
    assert "taken are JPEG, PNG, WebP, GIF, AVIF" in error.message


async def test_too_many_pixels_are_refused_by_the_header(pool, out, tmp_path):
    source = pictures.save(tmp_path / "in", pyvips.Image.black(9000, 6000), ".png")
    error = await refused(pool, source, out)
    assert error.code == "too_many_pixels"
    assert "54.0 megapixels (9000 x 6000); the limit is 50 megapixels" in error.message


async def test_fifty_megapixels_pass(pool, out, tmp_path):
    source = pictures.save(tmp_path / "in", pictures.halves(10_000, 5_000), ".png")
    result = await renditions(pool, source, out)
    assert result["renditions"][1]["width"] == 1280


async def test_too_many_frames_and_too_many_bytes_are_refused(pool, out, tmp_path):
    error = await refused(pool, pictures.animation(tmp_path / "in", 101), out)
    assert (error.code, error.details) == ("too_many_frames", {"limit": 100, "found": 101})
    error = await refused(pool, pictures.photo(out.parent), out, limits={"image": {"size_bytes": 1000}})
    assert error.code == "too_many_bytes"


async def test_an_animation_stays_one(pool, out, tmp_path):
    result = await renditions(pool, pictures.animation(tmp_path / "in", 5), out)
    assert result["probe"]["frames"] == 5
    assert [(r["width"], r["height"], r["frames"]) for r in result["renditions"]] == [(16, 16, 5), (16, 16, 5)]
    assert pyvips.Image.new_from_file(str(out / "w320.webp"), n=-1).get_n_pages() == 5


async def test_a_rewritten_path_gives_the_new_picture(pool, out, tmp_path):
    for width in (100, 200):
        source = pictures.save(tmp_path / "in", pictures.halves(width, 50), ".png")
        result = await renditions(pool, source, out)
        assert result["probe"]["width"] == result["renditions"][0]["width"] == width


async def test_a_missing_file_is_told(pool, out, tmp_path):
    assert (await refused(pool, tmp_path / "nothing", out)).code == "no_such_file"


async def test_a_picture_that_needs_more_memory_than_a_slot_has_fails_alone(out, tmp_path):
    source = pictures.save(tmp_path / "in", pictures.noise(3000, 2500), ".avif[effort=0]")
    small = Pool(1, data_limit_bytes=110 * 2**20)
    await small.start()
    try:
        results = await asyncio.gather(renditions(small, source, out), return_exceptions=True)
        assert getattr(results[0], "code", None) == "out_of_memory", results
        assert (await small.run("probe", {"source": pictures.photo(tmp_path)}, timeout_s=5))["frames"] == 1
    finally:
        await small.close()


@pytest.mark.parametrize("room_mib", [1, 8, 16])
async def test_slots_without_room_for_any_call_keep_no_caller_waiting(out, room_mib):
    """They are ready, and end when a call comes, before they have begun it or after."""
    tiny = Pool(1, data_limit_bytes=room_mib * 2**20)

    async def ask():
        await tiny.start()
        await renditions(tiny, pictures.photo(out.parent), out)

    try:
        with pytest.raises((SlotsUnavailable, SlotDied, MediaError)):
            await asyncio.wait_for(ask(), 60)
    finally:
        await tiny.close()


async def test_a_large_picture_leaves_a_slot_as_it_was(out, tmp_path):
    """The C library keeps nothing of it: under the limit on memory, the next large one needs it all."""
    source = pictures.save(tmp_path / "in", pictures.noise(3100, 3000), ".png[compression=0,interlace=1]")
    alone = Pool(1)
    await alone.start()
    try:
        await renditions(alone, pictures.photo(tmp_path), out)
        before_kib = _data_kib(alone)
        for _ in range(3):
            await renditions(alone, source, out)
        assert _data_kib(alone) - before_kib < 24 * 1024
    finally:
        await alone.close()


def _data_kib(pool):
    (pid,) = pool.pids()
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmData:"))


async def test_a_refusal_tells_of_its_own_file_however_many_were_refused_before(pool, out, tmp_path):
    """libvips adds up what its decoders remark on, until it has no room for what is wrong."""
    large, cut = tmp_path / "large", tmp_path / "cut"
    large.write_bytes(mutations.good()["avif"])
    cut.write_bytes(pictures.PHOTO.read_bytes()[:200_000])
    first = await refused(pool, cut, out)
    for _ in range(60):
        assert (await refused(pool, large, out, limits={"image": {"pixels": 1}})).code == "too_many_pixels"
    again = await refused(pool, cut, out)
    assert (again.code, again.message) == (first.code, first.message)
    assert first.code == "truncated"


async def test_no_path_is_told_when_there_is_more_to_tell_than_libvips_keeps(pool, out, tmp_path):
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    (folder / "in").write_bytes(
        mutations.damaged(mutations.good()["avif"], "1 avif 124", list(mutations.good().values()))
    )
    error = await refused(pool, folder / "in", out)
    assert error.code == "corrupt"
    assert "/" not in error.message
