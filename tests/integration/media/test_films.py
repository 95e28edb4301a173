"""Real films and sounds through real slots: what comes out."""

import asyncio
import json
import os
import select
from array import array
from fractions import Fraction
from pathlib import Path

import av
import pytest
import pyvips

from services.media.films.presets import AAC, MP4_480, MP4_720, PEAKS, POSTER, PREVIEW, AudioPreset, VideoPreset
from services.media.presets import PresetSet
from services.media.sniffing.sniff import HEAD_BYTES, kind_of
from tests.integration.media import films
from tests.integration.media.film_renditions import DEFAULT, frames_of, made, only, read, sound_of
from tests.stalls import within


@pytest.fixture
def pool(one_slot):
    return one_slot


def colour(frame, x, y):
    rgb = frame.to_rgb()
    plane = rgb.planes[0]
    at = y * plane.line_size + x * 3
    return tuple(bytes(plane)[at : at + 3])


def boxes(path):
    """The names of the outermost boxes, in order."""
    data, at, names = Path(path).read_bytes(), 0, []
    while at < len(data):
        names.append(data[at + 4 : at + 8].decode())
        at += int.from_bytes(data[at : at + 4], "big")
    return names


@pytest.mark.parametrize("form", list(films.CODECS))
async def test_every_container_of_films_becomes_all_of_its_renditions(pool, out, tmp_path, form):
    source = films.film(tmp_path / "name.txt", form, size=(640, 360))
    probe, got = await made(pool, source, out)
    assert (probe["kind"], probe["format"], probe["width"], probe["height"]) == ("video", form, 640, 360)
    assert probe["duration_s"] == pytest.approx(1.0, abs=0.05)
    assert probe["fps"] == 10
    assert probe["codec"] == {"webm": "vp9"}.get(form, "h264")
    assert probe["audio"]["codec"] == {"webm": "opus"}.get(form, "aac")
    assert {name: one["kind"] for name, one in got.items()} == {
        "poster": "image",
        "720p": "video",
        "480p": "video",
        "preview": "image",
    }
    for name in ("720p", "480p"):
        with av.open(got[name]["path"]) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
            assert (video.width, video.height, video.pix_fmt) == (640, 360, "yuv420p")
            assert (video.codec_context.colorspace, video.codec_context.color_range) == (1, 1)
            assert container.duration / av.time_base == pytest.approx(1.0, abs=0.1)
        assert len(frames_of(got[name]["path"])) == 10
        assert got[name]["duration_s"] == pytest.approx(1.0, abs=0.05)
    poster = pyvips.Image.new_from_file(got["poster"]["path"])
    assert (poster.width, poster.height, poster.bands) == (640, 360, 3)
    preview = pyvips.Image.new_from_file(got["preview"]["path"], n=-1)
    assert (preview.width, preview.get("page-height")) == (320, 180)
    assert preview.get("n-pages") == got["preview"]["frames"] > 5
    assert got["poster"]["frames"] == 1


@pytest.mark.parametrize("form", list(films.SOUNDS))
async def test_every_sound_becomes_a_waveform_and_aac(pool, out, tmp_path, form):
    source = films.sound(tmp_path / "name.mp4", form, seconds=2.0)
    probe, got = await made(pool, source, out)
    assert (probe["kind"], probe["format"]) == ("audio", form)
    assert (probe["sample_rate"], probe["channels"]) == (48_000, 2)
    assert probe["duration_s"] == pytest.approx(2.0, abs=0.06)
    frames, seconds = sound_of(got["aac"]["path"])
    assert seconds == pytest.approx(2.0, abs=0.06)
    assert frames[0].layout.name == "stereo"
    peaks = json.loads(read(got["peaks"]))
    assert (peaks["version"], peaks["channels"], peaks["bits"], len(peaks["data"])) == (2, 1, 8, 2 * peaks["length"])
    assert peaks["length"] * peaks["samples_per_pixel"] / peaks["sample_rate"] == pytest.approx(2.0, abs=0.08)
    lows, highs = peaks["data"][20:-20:2], peaks["data"][21:-20:2]
    assert all(-55 < low < -35 for low in lows)  # 12,000 of 32,768 are 47 of 128
    assert all(35 < high < 55 for high in highs)


async def test_a_file_starts_with_its_index_and_says_nothing_of_its_source(pool, out, tmp_path):
    secret = {"title": "SECRET title", "location": "+52.5+013.4/", "comment": "SECRET comment", "artist": "SECRET"}
    source = films.film(tmp_path / "in", "mov", metadata=secret, mux={"movflags": "use_metadata_tags"})
    assert b"SECRET" in read({"path": source})
    _, got = await made(pool, source, out)
    for one in got.values():
        data = read(one)
        assert b"SECRET" not in data
        assert b"+52.5" not in data
        assert b"Lavf" not in data
    for name in ("720p", "480p"):
        names = boxes(got[name]["path"])
        assert names.index("moov") < names.index("mdat")
        assert "moof" not in names
    track = films.sound(tmp_path / "in2", "m4a", metadata=secret)
    for path in out.iterdir():
        path.unlink()
    _, got = await made(pool, track, out)
    assert b"SECRET" not in read(got["aac"])
    assert boxes(got["aac"]["path"]).index("moov") < boxes(got["aac"]["path"]).index("mdat")


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((1920, 1080), [(1280, 720), (854, 480)]),
        ((1080, 1920), [(720, 1280), (480, 854)]),
        ((641, 361), [(640, 360), (640, 360)]),
        ((64, 48), [(64, 48), (64, 48)]),
        ((2000, 200), [(1280, 128), (854, 86)]),
        ((16, 16), [(16, 16), (16, 16)]),
    ],
)
async def test_a_film_is_fitted_into_its_box_with_even_sides_and_never_enlarged(pool, out, tmp_path, size, sizes):
    codec = ("libvpx-vp9", None)  # takes odd sides
    source = films.film(tmp_path / "in", "webm", size=size, seconds=0.2, sound=False, codecs=codec)
    probe, got = await made(pool, source, out, only(MP4_720, MP4_480))
    assert (probe["width"], probe["height"]) == size
    assert probe["audio"] is None
    for name, expected in zip(("720p", "480p"), sizes, strict=True):
        assert (got[name]["width"], got[name]["height"]) == expected
        with av.open(got[name]["path"]) as container:
            assert (container.streams.video[0].width, container.streams.video[0].height) == expected
            assert not container.streams.audio


@pytest.mark.parametrize("degrees", [90, 180, 270])
async def test_a_turned_film_is_made_upright(pool, out, tmp_path, degrees):
    """`degrees` are counterclockwise, as a display matrix says it."""
    source = films.film(tmp_path / "in", "mov", size=(320, 180), rotation=degrees, paint=lambda _: (220, 20, 20))
    probe, got = await made(pool, source, out, only(MP4_720, POSTER, PREVIEW))
    assert probe["rotation"] == (360 - degrees) % 360
    sideways = degrees != 180
    expected = (180, 320) if sideways else (320, 180)
    assert (probe["width"], probe["height"]) == expected
    _, frame = frames_of(got["720p"]["path"])[0]
    assert (frame.width, frame.height, frame.rotation) == (*expected, 0)
    poster = pyvips.Image.new_from_file(got["poster"]["path"])
    preview = pyvips.Image.new_from_file(got["preview"]["path"])
    assert (poster.width, poster.height) == (preview.width, preview.height) == expected
    # the red half was left; counterclockwise by 90 it is at the bottom, by 180 at the right, by 270 at the top
    red = {90: (90, 300), 180: (300, 90), 270: (90, 20)}[degrees]
    for pixel in (colour(frame, *red), poster(*red), preview(*red)):
        assert pixel[0] > 150
        assert pixel[2] < 90


async def test_pixels_that_are_not_square_are_made_so(pool, out, tmp_path):
    source = films.film(tmp_path / "in", "mp4", size=(360, 288), pixel=Fraction(16, 11), seconds=0.3)
    probe, got = await made(pool, source, out, only(MP4_720, POSTER))
    assert (probe["width"], probe["height"]) == (524, 288)
    assert (got["720p"]["width"], got["720p"]["height"]) == (524, 288)
    with av.open(got["720p"]["path"]) as container:
        assert container.streams.video[0].sample_aspect_ratio in (None, 1)
    assert (got["poster"]["width"], got["poster"]["height"]) == (524, 288)


async def test_times_between_frames_stay_as_they_were(pool, out, tmp_path):
    times = [0.0, 0.04, 0.5, 0.54, 1.9, 2.0]
    source = films.film(tmp_path / "in", "mp4", times=times, sound=False)
    _, got = await made(pool, source, out, only(MP4_480))
    assert [at_s for at_s, _ in frames_of(got["480p"]["path"])] == pytest.approx(times, abs=0.002)


async def test_more_frames_in_a_second_than_the_preset_has_are_left_out(pool, out, tmp_path):
    source = films.film(tmp_path / "in", "mp4", fps=120, seconds=0.5, sound=False)
    _, got = await made(pool, source, out, only(VideoPreset("slow", "mp4", 640, 360, fps=30), MP4_480))
    assert len(frames_of(got["480p"]["path"])) == 30
    assert 12 <= len(frames_of(got["slow"]["path"])) <= 20


async def test_sound_that_starts_late_and_has_a_hole_stays_with_its_pictures(pool, out, tmp_path):
    path = str(tmp_path / "in")
    with av.open(path, "w", format="matroska") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height = 64, 64
        audio = container.add_stream("pcm_s16le", rate=8000)
        audio.codec_context.layout = "mono"
        for n in range(40):
            frame = films.painted((64, 64), films.striped(n)).reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for start in (1.0, 3.0):  # half a second of sound each
            frame = av.AudioFrame("s16", "mono", 4000)
            frame.sample_rate = 8000
            frame.planes[0].update(b"\x00\x30" * (frame.planes[0].buffer_size // 2))
            frame.pts, frame.time_base = round(start * 8000), Fraction(1, 8000)
            container.mux(audio.encode(frame))
    _, got = await made(pool, path, out, only(MP4_480))
    frames, seconds = sound_of(got["480p"]["path"])
    assert seconds == pytest.approx(3.5, abs=0.15)
    rate, loud = frames[0].sample_rate, []
    for frame in frames:
        values = memoryview(bytes(frame.planes[0])).cast("f")[: frame.samples]
        loud.append((frame.pts / rate, max(map(abs, values)) > 0.1))
    heard = [at for at, is_loud in loud if is_loud]
    assert min(heard) == pytest.approx(1.0, abs=0.15)
    assert not [at for at in heard if 1.7 < at < 2.8]
    assert max(heard) == pytest.approx(3.5, abs=0.2)


async def test_a_poster_is_not_the_black_frame_that_a_film_starts_with(pool, out, tmp_path):
    source = films.film(
        tmp_path / "in",
        "mp4",
        fps=10,
        seconds=4,
        sound=False,
        options={"g": "5"},
        paint=lambda n: ((0, 0, 0), (0, 0, 0)) if n < 20 else (200, 60, 60),
    )
    _, got = await made(pool, source, out, only(POSTER))
    poster = pyvips.Image.new_from_file(got["poster"]["path"])
    assert poster(20, 90)[0] > 120


async def test_a_container_of_films_that_holds_only_a_sound_is_a_sound(pool, out, tmp_path):
    with av.open(str(path := tmp_path / "in"), "w", format="mp4") as container:
        films.sing(container, "aac")
    probe, got = await made(pool, path, out)
    assert (probe["kind"], probe["format"], set(got)) == ("audio", "mp4", {"peaks", "aac"})


async def test_the_pictures_of_a_sound_are_no_film(pool, out, tmp_path):
    with av.open(str(path := tmp_path / "in"), "w", format="mp3") as container:
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        films.sing(
            container,
            "libmp3lame",
            and_then=lambda: container.mux(
                cover.encode(films.painted((64, 64), (9, 99, 199)).reformat(format="rgb24"))
            ),
        )
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["audio", "video"]
    probe, got = await made(pool, path, out)
    assert (probe["kind"], set(got)) == ("audio", {"peaks", "aac"})


async def test_progress_is_told_in_per_cent_and_only_grows(pool, out, tmp_path):
    told = []
    source = films.film(tmp_path / "in", "mp4", seconds=5, size=(160, 90))
    await made(pool, source, out, on_progress=lambda *one: told.append(one))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert 20 < len(told) < 120
    assert {round(fraction, 1) for fraction in fractions} >= {0.1, 0.3, 0.5, 0.7, 0.9}
    assert fractions[-1] < 1.0, "they are still to be stored"


async def test_a_set_may_ask_for_other_files(pool, out, tmp_path):
    wanted = PresetSet(
        "own",
        video=(
            VideoPreset("big", "poster", 200, 200, format="jpeg"),
            VideoPreset("mute", "mp4", 160, 90, sound_kbps=0),
            VideoPreset("short", "preview", 64, 64, fps=4, seconds=1),
        ),
        audio=(AudioPreset("p", "peaks", points=50), AudioPreset("low", "mp4", kbps=48)),
    ).wire()
    _, got = await made(pool, films.film(tmp_path / "in", "mp4"), out, wanted)
    assert [(one["name"], one["format"], one["content_type"]) for one in got.values()] == [
        ("big", "jpeg", "image/jpeg"),
        ("mute", "mp4", "video/mp4"),
        ("short", "webp", "image/webp"),
    ]
    assert (got["big"]["width"], got["big"]["height"]) == (200, 112)
    with av.open(got["mute"]["path"]) as container:
        assert not container.streams.audio
    for path in out.iterdir():
        path.unlink()
    _, got = await made(pool, films.sound(tmp_path / "in2", "mp3", seconds=3, layout="mono"), out, wanted)
    peaks = json.loads(read(got["p"]))
    assert 25 <= peaks["length"] <= 50
    frames, _ = sound_of(got["low"]["path"])
    assert frames[0].layout.name == "mono"
    assert PEAKS.points == 1000
    assert AAC.kbps == 128


def wide(code, curve):
    """A frame of BT.2020 whose luma has this code of 0 to 1; `curve` is libav's number of PQ or HLG."""
    frame = av.VideoFrame(64, 64, "yuv420p10le")
    for at, plane in enumerate(frame.planes):
        value = 512 if at else round(64 + code * 876)
        plane.update(array("H", [value] * (plane.buffer_size // 2)).tobytes())
    frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = 9, 9, curve, 1
    return frame


@pytest.mark.parametrize(("curve", "name", "white"), [(16, "pq", 0.5807), (18, "hlg", 0.75)])
async def test_hdr_is_shown_as_bright_as_sdr_and_says_that_it_is_sdr(pool, out, tmp_path, curve, name, white):
    path = str(tmp_path / "in")
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("libx265", rate=10, options={"x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 9, 9, curve, 1
        for n in range(10):
            frame = wide(white, curve)
            frame.pts, frame.time_base = n, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    probe, got = await made(pool, path, out)
    assert probe["colour"] == {
        "primaries": "bt2020",
        "transfer": name,
        "matrix": "bt2020",
        "range": "limited",
        "hdr": True,
    }
    for film in ("720p", "480p"):
        _, frame = frames_of(got[film]["path"])[5]
        assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (1, 1, 1, 1)
        assert all(value == pytest.approx(229, abs=6) for value in colour(frame, 30, 30))
    for still in ("poster", "preview"):
        image = pyvips.Image.new_from_file(got[still]["path"])
        assert all(value == pytest.approx(229, abs=6) for value in image(30, 30))


async def test_full_range_and_the_matrix_of_old_films_end_as_bt709(pool, out, tmp_path):
    source = films.film(
        tmp_path / "in", "mov", size=(64, 48), codecs=("mjpeg", None), pixels="yuvj420p", sound=False,
        paint=lambda _: ((220, 30, 40), (20, 200, 60)),
    )  # fmt: skip
    _, got = await made(pool, source, out)
    for film in ("720p", "480p"):
        _, frame = frames_of(got[film]["path"])[0]
        kinds = [each.pict_type for _, each in frames_of(got[film]["path"])]
        assert kinds.count(1) == 1, "the source has nothing but whole frames; what is made of it chooses for itself"
        assert (frame.colorspace, frame.color_range) == (1, 1)
        assert colour(frame.reformat(format="rgb24", src_colorspace="itu709"), 10, 20) == pytest.approx(
            (220, 30, 40), abs=14
        )
    assert pyvips.Image.new_from_file(got["poster"]["path"])(10, 20) == pytest.approx([220, 30, 40], abs=14)


async def test_a_film_is_cancelled_at_once_and_leaves_nothing_that_runs(pool, out, tmp_path):
    started = asyncio.Event()
    source = films.film(tmp_path / "in", size=(1280, 720), seconds=8, fps=30, options={"preset": "ultrafast"})
    args = {"source": source, "directory": str(out), "presets": DEFAULT}
    [pid] = pool.pids()
    told = []

    def tell(fraction, note):
        told.append((fraction, note))
        if fraction > 0.05:
            started.set()

    call = asyncio.create_task(pool.run("renditions", args, timeout_s=60, on_progress=tell))
    await asyncio.wait({asyncio.create_task(started.wait()), call}, return_when=asyncio.FIRST_COMPLETED)
    assert not call.done()
    watch = os.pidfd_open(pid)
    try:
        async with within(1.0):
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert select.select([watch], [], [], 1.0)[0], "its process has ended"
    finally:
        os.close(watch)
    assert {path.suffix for path in out.iterdir()} <= {".part"}, "nothing stands under the name of a rendition"


def id3(size):
    return b"ID3\x04\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + b"TXXX" + bytes(size - 4)


@pytest.mark.parametrize("form", ["mp3", "aac"])
@pytest.mark.parametrize(
    "start",
    [
        id3(100) + id3(200),
        id3(100) + bytes(700),
        id3(100) + bytes(10_000) + id3(50),
        id3(9000) + id3(5000) + bytes(6000),
        id3(4086) + bytes(4096) + id3(20),
    ],
    ids=["two tags", "padding", "padding between", "long ones", "page by page"],
)
async def test_a_sound_may_have_several_tags_and_padding_before_it(pool, out, tmp_path, form, start):
    films.sound(tmp_path / "plain", form)
    (tmp_path / "in").write_bytes(start + (tmp_path / "plain").read_bytes())
    assert kind_of((tmp_path / "in").read_bytes()[:HEAD_BYTES]).kind == "audio", "it is not refused at the door"
    probe, got = await made(pool, tmp_path / "in", out)
    assert (probe["kind"], probe["format"]) == ("audio", form)
    assert sound_of(got["aac"]["path"])[1] == pytest.approx(1.0, abs=0.1)
