"""Films and sounds as programs and people really make them: cut, put together, of one picture, of odd colours."""

import json
from fractions import Fraction

import av
import pytest

from services.media.errors import MediaError
from services.media.films.limits import AudioLimits
from services.media.films.presets import MP4_480, POSTER, PREVIEW
from services.media.limits import Limits
from services.media.presets import PresetSet
from tests.integration.media import films
from tests.integration.media.film_renditions import DEFAULT, frames_of, made, only, read, sound_of
from tests.integration.media.test_film_times import lengths, recording


@pytest.fixture
def pool(one_slot):
    return one_slot


def cut(source, path, form, seconds):
    """Without its first seconds, as it is done without coding anew: by a list of what is to be shown."""
    with av.open(source) as whole, av.open(str(path), "w", format=form) as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in whole.streams}
        for packet in whole.demux():
            if packet.dts is not None:
                early = round(seconds / packet.time_base)
                packet.pts, packet.dts = packet.pts - early, packet.dts - early
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return str(path)


@pytest.mark.parametrize("form", ["mp4", "mov"])
async def test_a_film_that_was_cut_behind_its_only_keyframe_is_shown_from_there(pool, out, tmp_path, form):
    whole = films.film(
        tmp_path / "whole", sound=False, fps=25, seconds=2, options={"x264-params": "keyint=250:scenecut=0"}
    )
    source = cut(whole, tmp_path / "in", form, 0.72)
    probe, got = await made(pool, source, out)
    assert probe["duration_s"] == pytest.approx(1.28, abs=0.05)
    assert len(frames_of(got["480p"]["path"])) == 32
    assert {name for name, one in got.items() if one["size_bytes"] > 50} == {"poster", "720p", "480p", "preview"}


@pytest.mark.parametrize("end_s", [9.0, 60.0, 2500.0, 7000.0])
@pytest.mark.parametrize("form", ["mp4", "mkv"])
async def test_a_film_may_be_one_picture_that_stays(pool, out, tmp_path, form, end_s):
    """Sounds are put on platforms for films in this way; 2500 s come to 0.0004 pictures a second."""
    source = recording(tmp_path / "in", form, [0.0, end_s], codecs=("libx264", None))
    probe, got = await made(pool, source, out)
    assert probe["duration_s"] == pytest.approx(end_s, abs=0.1)
    assert lengths(got["480p"]["path"]) == pytest.approx([end_s, end_s], abs=0.1)
    assert got["preview"]["frames"] == 1


async def test_a_preview_shows_what_stays_at_its_places(pool, out, tmp_path):
    source = recording(tmp_path / "in", "mkv", [0.0, 1.0, 60.0], codecs=("libx264", None))
    _, got = await made(pool, source, out, only(PREVIEW))
    assert got["preview"]["frames"] == 1


@pytest.mark.parametrize(("form", "seconds"), [("ogg", (2.0, 3.0)), ("opus", (3.0, 2.0)), ("mp3", (2.0, 3.0))])
async def test_sounds_one_behind_the_other_are_as_long_as_both(pool, out, tmp_path, form, seconds):
    """Radio stations' recordings are so: each piece begins at 0 again."""
    parts = [films.sound(tmp_path / str(length), form, seconds=length) for length in seconds]
    data = b"".join((tmp_path / str(length)).read_bytes() for length in seconds)
    assert len(parts) == 2
    (tmp_path / "in").write_bytes(data)
    probe, got = await made(pool, tmp_path / "in", out, DEFAULT)
    assert probe["duration_s"] == pytest.approx(5.0, abs=0.15)
    assert got["aac"]["duration_s"] == probe["duration_s"]
    assert sound_of(got["aac"]["path"])[1] == pytest.approx(5.0, abs=0.15)
    peaks = json.loads(read(got["peaks"]))
    assert peaks["length"] * peaks["samples_per_pixel"] / peaks["sample_rate"] == pytest.approx(5.0, abs=0.15)


def pieces(path, count, samples):
    """Pieces that all say that they start at 0."""
    with av.open(str(path), "w", format="matroska") as container:
        audio = container.add_stream("pcm_s16le", rate=8000)
        audio.codec_context.layout = "mono"
        for _ in range(count):
            packet = av.Packet(b"\x00\x30" * samples)
            packet.stream, packet.time_base, packet.pts, packet.dts = audio, Fraction(1, 1000), 0, 0
            container.mux(packet)
    return str(path)


@pytest.mark.parametrize(("count", "limit_s"), [(100, 50.0), (100, 199.0)])
async def test_a_sound_whose_times_stand_still_is_held_against_the_limit(pool, out, tmp_path, count, limit_s):
    source = pieces(tmp_path / "in", count, 16_000)
    with pytest.raises(MediaError) as caught:
        await made_within(pool, source, out, limit_s)
    assert (caught.value.code, caught.value.details["limit"]) == ("too_long", limit_s)
    assert caught.value.details["found"] <= limit_s + 2.0
    probe = (await made_within(pool, source, out, 1000.0))["probe"]
    assert probe["duration_s"] == pytest.approx(2.0 * count)


async def made_within(pool, source, out, limit_s):
    limits = Limits(audio=AudioLimits(duration_s=limit_s)).wire()
    args = {"source": str(source), "directory": str(out), "presets": DEFAULT, "limits": limits}
    return await pool.run("renditions", args, timeout_s=60)


async def test_a_sound_that_begins_with_silence_is_not_too_long_by_a_guess(pool, out, tmp_path):
    """Its rate is told by its first coded frames, which are next to nothing."""
    quiet = films.sound(tmp_path / "quiet", "aac", seconds=5, tone=0)
    loud = films.sound(tmp_path / "loud", "aac", seconds=5, tone=3000)
    with open(quiet, "rb") as first, open(loud, "rb") as second:  # noqa: ASYNC230, PTH123 - small
        (tmp_path / "in").write_bytes(first.read() + second.read())
    with av.open(str(tmp_path / "in"), format="aac") as container:
        assert container.duration / av.time_base > 20.0, "else it shows nothing"
    probe = (await made_within(pool, tmp_path / "in", out, 20.0))["probe"]
    assert probe["duration_s"] == pytest.approx(10.0, abs=0.2)
    with pytest.raises(MediaError) as caught:
        await made_within(pool, tmp_path / "in", out, 8.0)
    assert caught.value.code == "too_long"


STILLS = PresetSet("x", video=(POSTER, MP4_480)).wire()


@pytest.mark.parametrize("colours", ["colormatrix=bt2020c", "colormatrix=chroma-derived-nc", "transfer=log100"])
async def test_a_film_is_shown_whatever_it_says_of_its_colours(pool, out, tmp_path, colours):
    source = films.film(tmp_path / "in", sound=False, options={"x264-params": colours})
    _, got = await made(pool, source, out, STILLS)
    assert sorted(got) == ["480p", "poster"]


@pytest.mark.parametrize(("matrix", "name"), [("ycgco", "YCgCo"), ("ictcp", "ICtCp"), ("smpte2085", "YDzDx")])
async def test_colours_that_a_guess_would_falsify_are_refused_by_name(pool, out, tmp_path, matrix, name):
    source = films.film(tmp_path / "in", sound=False, options={"x264-params": f"colormatrix={matrix}"})
    with pytest.raises(MediaError) as caught:
        await made(pool, source, out)
    assert caught.value.code == "unsupported_codec"
    assert name in caught.value.message


@pytest.mark.parametrize("form", ["mkv", "webm"])
@pytest.mark.parametrize("seconds", [2, 8])
async def test_a_film_without_its_index_shows_what_it_has(pool, out, tmp_path, form, seconds):
    """Of a download that lacks its last bytes; in such a file one cannot jump, and not read on after trying to."""
    times = [0.02 + n / 10 for n in range(10 * seconds + 1)]
    recording(tmp_path / "whole", form, times, (float(seconds),))
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "in").write_bytes(data[: data.rindex(b"\x1cS\xbbk")])  # Cues
    probe, got = await made(pool, tmp_path / "in", out)
    assert probe["duration_s"] == pytest.approx(seconds, abs=0.1)
    assert sorted(got) == ["480p", "720p", "poster", "preview"]
    assert got["preview"]["frames"] > 8
