"""Thousands of damaged pictures through real slots: each ends as renditions or in words, and no slot ends with it.

`HOLDFAST_TEST_MUTATIONS` says how many of each kind (default 150), `HOLDFAST_TEST_SEED` where to begin.
"""

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest
import pyvips

from services.media.errors import MediaError
from services.media.pool import Pool
from services.media.presets import Preset, PresetSet
from tests.integration.media import mutations, pictures

EACH = int(os.environ.get("HOLDFAST_TEST_MUTATIONS", "150"))
SEED = int(os.environ.get("HOLDFAST_TEST_SEED", "1"))
SET = PresetSet(
    "tiny",
    image=(
        Preset("moving", 24, 24, effort=0),
        Preset("cut", 16, 16, "jpeg", fit="cover", focus="attention", effort=0),
        Preset("boxed", 20, 20, "png", fit="contain", effort=1),
    ),
)
LENIENT = PresetSet("lenient", image=SET.image, damaged="show")
CODES = {  # a damaged start may look like a film or a sound
    "unsupported_codec", "no_streams", "reaches_out", "too_many_streams", "too_long",
    "unsupported_format", "truncated", "corrupt", "too_many_pixels", "too_many_frames", "too_many_bytes",
    "out_of_memory",
}  # fmt: skip
AT_ONCE = 4


@pytest.fixture
async def pool():
    opened = Pool(2)
    await opened.start()
    yield opened
    await opened.close()


async def outcome(pool, folder: Path, data: bytes, number: int) -> str:
    """The code of a refusal, `made`, or `damaged` for what was shown all the same; anything else is raised."""
    out = folder / f"{number}"
    out.mkdir()
    source = out / "in"
    source.write_bytes(data)
    presets = LENIENT if number % 3 == 0 else SET
    args = {"source": str(source), "directory": str(out), "presets": presets.wire(), "limits": {}}
    (result,) = await asyncio.gather(pool.run("renditions", args, timeout_s=20), return_exceptions=True)
    if isinstance(result, MediaError):
        assert result.code in CODES, (number, result)
        assert str(folder) not in result.message
        return result.code
    if isinstance(result, BaseException):
        raise result
    assert [entry["name"] for entry in result["renditions"]] == ["moving", "cut", "boxed"]
    for entry in result["renditions"]:
        image = pyvips.Image.new_from_file(entry["path"], n=-1) if entry["format"] == "webp" else (
            pyvips.Image.new_from_file(entry["path"])
        )  # fmt: skip
        assert (image.width, image.get_page_height()) == (entry["width"], entry["height"])
        assert 0 < entry["width"] <= 24
        assert image.avg() >= 0
    return "damaged" if result["probe"]["damaged"] else "made"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", sorted(mutations.good()))
async def test_no_damage_takes_a_slot_down(pool, tmp_path, kind):
    files = mutations.good()
    whole, others = files[kind], list(files.values())
    assert await outcome(pool, tmp_path, whole, -1) == "made"
    before = pool.pids()
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number):
        async with places:
            data = mutations.damaged(whole, f"{SEED} {kind} {number}", others)
            try:
                return await outcome(pool, tmp_path, data, number)
            except Exception as error:
                error.add_note(f"{kind} {number} of seed {SEED}")
                raise

    found = Counter(await asyncio.gather(*(one(number) for number in range(EACH))))
    assert (pool.pids(), pool.deaths) == (before, 0)
    made = found["made"] + found["damaged"]
    assert sum(found.values()) > made, "the damage does none"
    assert EACH < 100 or made > 0, "the damage is all that there is"


async def test_files_that_are_two_things_are_the_first_of_them(pool, tmp_path):
    files = mutations.good()
    tails = [b"PK\x05\x06" + bytes(18), b"%PDF-1.4\n%%EOF", b"<html><script>1</script>", *files.values()]
    number = 0
    for kind, whole in files.items():
        for tail in tails:
            number += 3
            assert await outcome(pool, tmp_path, whole + tail, number + 1) in ("made", *CODES), kind


async def test_bombs_are_refused_by_their_headers(pool, tmp_path):
    black = pyvips.Image.black(20_000, 20_000)
    bombs = {
        "png": black.pngsave_buffer(compression=9),
        "jpeg": black.jpegsave_buffer(Q=1),
        "gif": pyvips.Image.black(60_000, 1000, bands=3)
        .cast("uchar")
        .copy(interpretation="srgb")
        .gifsave_buffer(effort=1),
        "webp": pyvips.Image.black(16_000, 16_000, bands=3)
        .copy(interpretation="srgb")
        .webpsave_buffer(effort=0, lossless=True),
    }
    pictures.animation(tmp_path / "many", 3000, side=4)
    bombs["many frames"] = (tmp_path / "many").read_bytes()
    loop = asyncio.get_running_loop()
    for number, (kind, data) in enumerate(bombs.items()):
        since = loop.time()
        code = await outcome(pool, tmp_path, data, number)
        assert code in ("too_many_pixels", "too_many_frames"), (kind, code)
        assert loop.time() - since < 5, kind
    assert pool.deaths == 0
