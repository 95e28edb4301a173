"""When things are seen and heard in a rendition, and how long it is, whatever the source's times look like."""

from fractions import Fraction
from itertools import pairwise

import av
import pytest

from services.media.errors import MediaError
from services.media.films.presets import AAC, MP4_480, MP4_720, POSTER, VideoPreset
from services.media.presets import PresetSet
from tests.integration.media import films
from tests.integration.media.film_renditions import DEFAULT, frames_of, made, only, onset

RATE = 8000
MUTE = VideoPreset("mute", "mp4", 320, 180, sound_kbps=0)


@pytest.fixture
def pool(one_slot):
    return one_slot


def picture(n, at_s, ticks=90_000):
    frame = films.painted((64, 48), films.striped(n)).reformat(format="yuv420p")
    frame.pts, frame.time_base = round(at_s * ticks), Fraction(1, ticks)
    return frame


def recording(path, form, pictures, sounds=(), *, codecs=None, mux=None):
    """`pictures` are the times of their starts, and the end of the last one; `sounds` are lengths in seconds."""
    codec, audio = codecs or films.CODECS[form]
    with av.open(str(path), "w", format=films.MUXERS.get(form, form), container_options=mux or {}) as out:
        video = out.add_stream(codec, rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 90_000)
        video.codec_context.flags |= 1 << 8  # lengths of frames are told
        video.codec_context.max_b_frames = 0
        tracks = [films._audio(out, audio) for _ in sounds]
        for n, (at_s, until_s) in enumerate(pairwise(pictures)):
            frame = picture(n, at_s)
            frame.duration = round((until_s - at_s) * 90_000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for track, seconds in zip(tracks, sounds, strict=True):
            films._sing(out, track, seconds)
    return str(path)


def beeps(path, starts, *, samples=800, loud=None, pictures=(0.0, 1.0)):
    """Pieces of sound that say that they start then; of the last one, or of all those in `loud`, something is heard."""
    with av.open(str(path), "w", format="matroska") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height = 64, 48
        audio = container.add_stream("pcm_s16le", rate=RATE)
        audio.codec_context.layout = "mono"
        audio.codec_context.time_base = Fraction(1, 1000)
        for n, at_s in enumerate(pictures):
            container.mux(video.encode(picture(n, at_s, 10)))
        container.mux(video.encode(None))
        for n, start in enumerate(starts):
            packet = av.Packet((b"\x00\x30" if n in (loud or [len(starts) - 1]) else bytes(2)) * samples)
            packet.stream, packet.time_base = audio, Fraction(1, 1000)
            packet.pts = packet.dts = round(start * 1000)
            packet.duration = samples * 1000 // RATE
            container.mux(packet)
    return str(path)


def lengths(path):
    """Of the file and of its streams, as it says them, in seconds."""
    with av.open(str(path)) as container:
        return [container.duration / av.time_base, *(float(s.duration * s.time_base) for s in container.streams)]


@pytest.mark.parametrize("form", ["mkv", "webm", "mp4", "mov"])
async def test_a_track_that_is_not_used_may_be_longer_than_those_that_are(pool, out, tmp_path, form):
    source = recording(tmp_path / "in", form, [n / 10 for n in range(21)], (2.0, 8.0))
    probe, got = await made(pool, source, out, only(MP4_480, POSTER))
    assert probe["duration_s"] == pytest.approx(2.0, abs=0.05)
    assert got["480p"]["duration_s"] == pytest.approx(2.0, abs=0.05)
    assert lengths(got["480p"]["path"]) == pytest.approx([2.0] * 3, abs=0.05)
    for one in got.values():
        (out / f"{one['name']}.{one['format']}").unlink()
    probe, _ = await made(pool, source, out, only(POSTER))
    assert probe["duration_s"] == pytest.approx(2.0, abs=0.05), "also when it is only read"


@pytest.mark.parametrize("form", ["mkv", "webm"])
async def test_a_file_is_judged_by_its_bytes_when_its_streams_do_not_say_their_lengths(pool, out, tmp_path, form):
    recording(tmp_path / "in", form, [n / 10 for n in range(21)], (2.0, 8.0))
    data = (tmp_path / "in").read_bytes()
    assert b"DURATION" in data
    (tmp_path / "in").write_bytes(data.replace(b"DURATION", b"DURATION".lower()[::-1]))
    probe, _ = await made(pool, tmp_path / "in", out, only(MP4_480))
    assert probe["duration_s"] == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("kept", [0.2, 0.4])
async def test_of_such_a_file_that_was_cut_off_nothing_is_made(pool, out, tmp_path, kept):
    source = recording(tmp_path / "in", "mkv", [n / 10 for n in range(41)], (4.0, 8.0))
    data = (tmp_path / "in").read_bytes()
    (tmp_path / "in").write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(MediaError) as caught:
        await made(pool, source, out)
    assert caught.value.code == "truncated"


@pytest.mark.parametrize("form", ["mkv", "webm", "mp4", "mov"])
async def test_the_last_picture_of_a_screen_recording_stays_as_long_as_it_did(pool, out, tmp_path, form):
    times = [0.0, 0.1, 0.2, 0.5, 1.0, 9.0]
    source = recording(tmp_path / "in", form, times, codecs=("libvpx-vp9" if form == "webm" else "libx264", None))
    probe, got = await made(pool, source, out, only(MP4_720, MP4_480, VideoPreset("slow", "mp4", 320, 180, fps=1)))
    assert probe["duration_s"] == pytest.approx(9.0, abs=0.01)
    for one in got.values():
        assert one["duration_s"] == pytest.approx(9.0, abs=0.01)
        assert lengths(one["path"]) == pytest.approx([9.0, 9.0], abs=0.01)
    assert [at_s for at_s, _ in frames_of(got["480p"]["path"])] == pytest.approx(times[:-1], abs=0.002)
    at_s, last = frames_of(got["480p"]["path"])[-1]
    assert at_s + last.duration * float(last.time_base) == pytest.approx(9.0, abs=0.01)


@pytest.mark.parametrize("times", [[0.0, 5.0], [0.0, 1.0, 5.0], [0.0, 5.0, 10.0, 10.1, 10.2, 10.9]])
async def test_a_film_of_few_pictures_is_as_long_as_its_source(pool, out, tmp_path, times):
    source = recording(tmp_path / "in", "mkv", times, codecs=("libx264", None))
    _, got = await made(pool, source, out, only(MP4_480))
    assert lengths(got["480p"]["path"]) == pytest.approx([times[-1]] * 2, abs=0.01)
    assert [at_s for at_s, _ in frames_of(got["480p"]["path"])] == pytest.approx(times[:-1], abs=0.002)


async def test_a_film_of_an_even_rate_keeps_it(pool, out, tmp_path):
    _, got = await made(pool, films.film(tmp_path / "in", "mp4", fps=25, seconds=2), out, only(MP4_480))
    with av.open(got["480p"]["path"]) as container:
        assert container.streams.video[0].average_rate == 25
        assert lengths(got["480p"]["path"])[1] == pytest.approx(2.0, abs=0.001)


async def test_a_rendition_without_sound_is_as_long_as_the_pictures(pool, out, tmp_path):
    source = recording(tmp_path / "in", "mp4", [n / 10 for n in range(11)], (3.0,))
    probe, got = await made(pool, source, out, only(MP4_480, MUTE))
    assert (probe["duration_s"], got["480p"]["duration_s"], got["mute"]["duration_s"]) == pytest.approx(
        (3, 3, 1), abs=0.05
    )
    assert lengths(got["mute"]["path"])[0] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("start_ms", [0, 15, 40, 50, 90, 120, 400])
async def test_sound_that_starts_late_is_heard_when_it_was(pool, out, tmp_path, start_ms):
    source = beeps(tmp_path / "in", [start_ms / 1000])
    _, got = await made(pool, source, out, only(MP4_480))
    assert onset(got["480p"]["path"]) == pytest.approx(start_ms / 1000, abs=0.005)


async def test_small_holes_and_overlaps_do_not_add_up(pool, out, tmp_path):
    for each_s in (0.099, 0.1005, 0.101, 0.12):  # of pieces that last for 0.1 s
        count = 600
        source = beeps(tmp_path / "in", [n * each_s for n in range(count)])
        _, got = await made(pool, source, out, only(MP4_480))
        assert onset(got["480p"]["path"]) == pytest.approx((count - 1) * each_s, abs=0.02)
        (out / "480p.mp4").unlink()


async def test_uneven_times_of_a_clock_are_no_reason_to_cut(pool, out, tmp_path):
    starts = [n / 10 + (0.012 if n % 2 else 0.0) for n in range(40)]
    source = beeps(tmp_path / "in", starts, loud=range(40))
    _, got = await made(pool, source, out, PresetSet("x", video=(MP4_480,), audio=(AAC,)).wire())
    quiet = []
    with av.open(got["480p"]["path"]) as container:
        for frame in container.decode(audio=0):
            values = memoryview(bytes(frame.planes[0])).cast("f")[: frame.samples]
            quiet += [frame.time for value in values[::16] if abs(value) < 0.1]
    assert not [at for at in quiet if 0.3 < at < 3.7]


@pytest.mark.parametrize(("fps", "limit"), [(40, 30), (31, 30), (50, 30), (120, 60), (70, 60), (30, 1), (12, 10)])
async def test_no_more_frames_in_a_second_than_the_preset_allows(pool, out, tmp_path, fps, limit):
    source = films.film(tmp_path / "in", "mkv", fps=fps, seconds=3, size=(64, 48), sound=False)
    _, got = await made(pool, source, out, only(VideoPreset("slow", "mp4", 64, 48, fps=limit)))
    times = [at_s for at_s, _ in frames_of(got["slow"]["path"])]
    assert len(times) <= 3 * limit
    assert len(times) >= 3 * limit * 0.9
    assert min(after - before for before, after in pairwise(times)) > 0.5 / limit - 0.001
    with av.open(got["slow"]["path"]) as container:
        assert container.streams.video[0].average_rate <= limit
    assert lengths(got["slow"]["path"])[0] == pytest.approx(3.0, abs=0.02)


@pytest.mark.parametrize("fps", [24, 30, 60])
async def test_a_film_at_the_limit_loses_nothing(pool, out, tmp_path, fps):
    """MKV has times in whole milliseconds."""
    source = films.film(tmp_path / "in", "mkv", fps=fps, seconds=3, size=(64, 48), sound=False)
    _, got = await made(pool, source, out, only(VideoPreset("same", "mp4", 64, 48, fps=fps)))
    times = [at_s for at_s, _ in frames_of(got["same"]["path"])]
    assert times == pytest.approx([n / fps for n in range(3 * fps)], abs=0.003)


@pytest.mark.parametrize("form", ["mkv", "webm", "mp4", "mov"])
@pytest.mark.parametrize("late", [(0.0, 1.0), (5.0, None)])
async def test_the_length_is_from_the_first_to_start_to_the_last_to_end(pool, out, tmp_path, form, late):
    start, sounds = late[0], (2.0,) if late[1] else ()
    first = late[1] or start
    codecs = (films.CODECS[form][0], films.CODECS[form][1] if sounds else None)
    source = recording(tmp_path / "in", form, [first + n / 10 for n in range(21)], sounds, codecs=codecs)
    length = first + 2.0 - start
    for presets in (only(MP4_480), only(POSTER)):
        probe, got = await made(pool, source, out, presets)
        assert probe["duration_s"] == pytest.approx(length, abs=0.05)
        for one in got.values():
            assert one.get("duration_s", length) == pytest.approx(length, abs=0.05)
            (out / f"{one['name']}.{one['format']}").unlink()


async def test_of_a_sound_whose_header_guesses_the_length_is_the_one_that_it_has_proved_to_have(pool, out, tmp_path):
    source = films.sound(tmp_path / "in", "aac", seconds=5)
    probe, got = await made(pool, source, out, DEFAULT)
    assert probe["duration_s"] == pytest.approx(5.0, abs=0.1)
    assert got["aac"]["duration_s"] == probe["duration_s"]
