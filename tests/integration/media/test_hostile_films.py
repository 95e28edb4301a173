"""Films and sounds that are damaged, cut off, too large, or reach out: a typed refusal, and a slot that lives."""

import contextlib
import os
import socket
from array import array
from fractions import Fraction

import av
import pytest

from services.media.errors import MediaError
from services.media.films import input as film_input
from services.media.films.limits import AudioLimits, VideoLimits
from services.media.films.presets import AudioPreset, VideoPreset
from services.media.limits import Limits
from services.media.presets import PresetSet
from services.media.sniffing.sniff import FORMATS, kind_of
from tests.integration.media import films
from tests.integration.media.damage import damaged

SMALL = PresetSet(
    "small",
    video=(
        VideoPreset("poster", "poster", 64, 64),
        VideoPreset("film", "mp4", 64, 48, speed="ultrafast"),
        VideoPreset("less", "mp4", 32, 32, speed="ultrafast"),
        VideoPreset("preview", "preview", 32, 32, seconds=1),
    ),
    audio=(AudioPreset("peaks", "peaks"), AudioPreset("aac", "mp4", kbps=64)),
).wire()
SEEDS = int(os.environ.get("HOLDFAST_TEST_SEEDS", "12"))


@pytest.fixture
def pool(one_slot):
    return one_slot


async def renditions(pool, source, out, limits=None):
    more = {"limits": limits.wire()} if limits else {}
    args = {"source": str(source), "directory": str(out), "presets": SMALL, **more}
    return await pool.run("renditions", args, timeout_s=30)


async def refused(pool, source, out, limits=None):
    """The refusal; whatever is refused leaves no file and a slot that works on."""
    pids = pool.pids()
    with pytest.raises(MediaError) as caught:
        await renditions(pool, source, out, limits)
    assert list(out.iterdir()) == []
    assert pool.pids() == pids
    return caught.value


@pytest.fixture
def listener():
    """An address that tells whether anybody has come."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


def playlists(address, sibling):
    host, port = address
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{sibling}\n#EXT-X-ENDLIST\n",
        "hls, http": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://{host}:{port}/a.ts\n#EXT-X-ENDLIST\n",
        "hls, key": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="http://{host}:{port}/k"\n#EXTINF:1,\n{sibling}\n',
        "ffconcat": f"ffconcat version 1.0\nfile {sibling}\n",
        "ffconcat, http": f"ffconcat version 1.0\nfile http://{host}:{port}/a.mp4\n",
        "dash": f'<?xml version="1.0"?><MPD><Period><BaseURL>http://{host}:{port}/</BaseURL></Period></MPD>',
        "sdp": f"v=0\no=- 0 0 IN IP4 {host}\ns=x\nc=IN IP4 {host}\nt=0 0\nm=video {port} RTP/AVP 96\n",
        "smil": f'<smil><body><video src="http://{host}:{port}/"/></body></smil>',
        "pls": f"[playlist]\nFile1=http://{host}:{port}/\n",
        "asx": f'<asx version="3.0"><entry><ref href="http://{host}:{port}/"/></entry></asx>',
        "rtsp": f"rtsptextRTSP://{host}:{port}/",
    }


@pytest.mark.parametrize("name", list(playlists(("", 0), "")))
async def test_a_list_that_names_other_files_is_refused_and_they_are_not_read(pool, out, tmp_path, listener, name):
    films.film(tmp_path / "sibling.mp4", size=(64, 48), seconds=0.3)
    text = playlists(listener.getsockname(), "sibling.mp4")[name]
    (tmp_path / "video.mp4").write_text(text)
    error = await refused(pool, tmp_path / "video.mp4", out)
    assert error.code == "unsupported_format"


@pytest.mark.parametrize("name", ["hls", "hls, http", "ffconcat", "ffconcat, http", "dash"])
@pytest.mark.parametrize("start", ["mp4", "mkv", "mp3", "wav"])
async def test_a_list_behind_the_first_bytes_of_a_film_is_damage(pool, out, tmp_path, listener, name, start):
    """It is opened with the demuxer of those first bytes, and with no other, whatever else would know it."""
    form = {"mp3": "mp3", "wav": "wav"}.get(start)
    source = (
        films.sound(tmp_path / "g", form) if form else films.film(tmp_path / "g", start, size=(64, 48), seconds=0.3)
    )
    head = (tmp_path / "g").read_bytes()[: 64 if start == "mkv" else 32]
    assert kind_of(head)
    films.film(tmp_path / "sibling.mp4", size=(64, 48), seconds=0.3)
    text = playlists(listener.getsockname(), "sibling.mp4")[name]
    (tmp_path / "video.mp4").write_bytes(head + b"\n" + text.encode() * 20)
    assert source
    error = await refused(pool, tmp_path / "video.mp4", out)
    assert error.code in {"corrupt", "truncated", "no_streams", "unsupported_codec", "unsupported_format"}


@pytest.mark.parametrize("demuxer", ["hls", "concat", "dash"])
def test_even_a_demuxer_for_lists_could_open_nothing(tmp_path, listener, demuxer):
    """The second line: were a list to reach such a demuxer, libav has only what Python opens for it: nothing."""
    if demuxer not in av.formats_available:
        pytest.skip(f"this libav has no {demuxer}")
    films.film(tmp_path / "sibling.mp4", size=(64, 48), seconds=0.3)
    name = {"concat": "ffconcat"}.get(demuxer, demuxer)
    (tmp_path / "list").write_text(playlists(listener.getsockname(), "sibling.mp4")[name])
    with (
        (tmp_path / "list").open("rb") as file,
        pytest.raises((MediaError, av.FFmpegError)),
        av.open(film_input._Bytes(file), format=demuxer, io_open=film_input._refuse) as container,
    ):
        list(container.demux())


async def test_a_film_whose_samples_lie_in_another_file_is_not_given_them(pool, out, tmp_path):
    """A QuickTime film may name a file beside it as the place of its samples (`dref` with an alias)."""
    films.film(tmp_path / "sibling.mov", "mov", size=(64, 48), seconds=0.5, sound=False)
    data = (tmp_path / "sibling.mov").read_bytes()
    at = data.index(b"url \0\0\0\1")
    alias = b"\0" * 150 + b"\0\x02\0\x0bsibling.mov\0" + b"\xff\xff\0\0"
    entry = (12 + len(alias)).to_bytes(4, "big") + b"alis\0\0\0\0" + alias
    grown = len(entry) - 12
    changed = bytearray(data[: at - 4] + entry + data[at + 8 :])
    for name in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        where = changed.index(name) - 4
        changed[where : where + 4] = (int.from_bytes(changed[where : where + 4], "big") + grown).to_bytes(4, "big")
    mdat = changed.index(b"mdat")
    size = int.from_bytes(changed[mdat - 4 : mdat], "big")
    changed[mdat + 4 : mdat - 4 + size] = bytes(size - 8)  # its own samples are gone: only the sibling's would do
    (tmp_path / "video.mov").write_bytes(changed)
    assert (await refused(pool, tmp_path / "video.mov", out)).code in {"corrupt", "truncated"}


async def test_samples_where_no_file_reaches_are_damage(pool, out, tmp_path):
    """No file system has a place so far out: the seek itself fails, in code that libav calls."""
    films.film(tmp_path / "film", size=(64, 48), seconds=0.5, sound=False)
    data = (tmp_path / "film").read_bytes()
    at = data.index(b"stco") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    count = int.from_bytes(data[at + 12 : at + 16], "big")
    far = (16 + 8 * count).to_bytes(4, "big") + b"co64\0\0\0\0" + count.to_bytes(4, "big")
    changed = bytearray(data[:at] + far + (2**62).to_bytes(8, "big") * count + data[at + size :])
    for name in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        where = changed.index(name) - 4
        changed[where : where + 4] = (int.from_bytes(changed[where : where + 4], "big") + 4 * count).to_bytes(4, "big")
    (tmp_path / "far").write_bytes(changed)
    assert (await refused(pool, tmp_path / "far", out)).code in {"corrupt", "truncated"}


GOOD = {
    **{form: lambda path, form=form: films.film(path, form, size=(64, 48), seconds=0.5) for form in films.CODECS},
    "fragmented": lambda path: films.film(
        path, size=(64, 48), seconds=0.5, mux={"movflags": "frag_keyframe+empty_moov"}
    ),
    "hevc": lambda path: films.film(
        path, size=(64, 48), seconds=0.5, codecs=("libx265", "aac"), options={"x265-params": "log-level=none"}
    ),
    "vp8": lambda path: films.film(path, "webm", size=(64, 48), seconds=0.5, codecs=("libvpx", "libopus")),
    "mpeg4": lambda path: films.film(path, "mov", size=(64, 48), seconds=0.5, codecs=("mpeg4", "alac"), ticks=1000),
    "mjpeg": lambda path: films.film(
        path, "mov", size=(64, 48), seconds=0.3, codecs=("mjpeg", "pcm_s16le"), pixels="yuvj420p"
    ),
    **{form: lambda path, form=form: films.sound(path, form, seconds=0.5) for form in films.SOUNDS},
}


@pytest.mark.parametrize("name", list(GOOD))
async def test_damage_ends_as_renditions_or_as_a_refusal(pool, tmp_path, name):
    GOOD[name](tmp_path / "good")
    whole, pids, refusals = (tmp_path / "good").read_bytes(), pool.pids(), []
    for seed in range(SEEDS):
        data = damaged(whole, f"{name} {seed}", spare=0 if seed % 4 == 0 else 48, other=films.__file__.encode())
        folder = tmp_path / str(seed)
        folder.mkdir()
        (tmp_path / "in").write_bytes(data)
        try:
            await renditions(pool, tmp_path / "in", folder)
        except MediaError as error:  # anything else, a death or a deadline, is a defect
            refusals.append(error.code)
            assert list(folder.iterdir()) == []
    assert pool.pids() == pids
    assert len(refusals) < SEEDS or SEEDS < 10 or name in {"ogg", "opus", "m4a"}, "some damage is survived"


@pytest.mark.parametrize("form", ["mp4", "mov", "m4v", "3gp", "m4a"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1])
async def test_a_file_of_boxes_that_ends_early_is_refused_as_such(pool, out, tmp_path, form, kept):
    made = (
        films.sound(tmp_path / "in", form, seconds=4) if form == "m4a" else films.film(tmp_path / "in", form, seconds=4)
    )
    data = (tmp_path / "in").read_bytes()
    (tmp_path / "in").write_bytes(data[: int(len(data) * kept)])
    assert (await refused(pool, made, out)).code == "truncated"


@pytest.mark.parametrize("form", ["mp4", "mkv", "webm", "flac"])
async def test_a_file_that_breaks_off_behind_its_index_is_refused_as_such(pool, out, tmp_path, form):
    first = {"mux": {"movflags": "faststart"}} if form == "mp4" else {}
    if form in films.CODECS:
        films.film(tmp_path / "in", form, seconds=4, **first)
    else:
        films.sound(tmp_path / "in", form, seconds=4)
    data = (tmp_path / "in").read_bytes()
    (tmp_path / "in").write_bytes(data[: len(data) // 2])
    error = await refused(pool, tmp_path / "in", out)
    assert error.code in {"truncated", "corrupt"}
    if form != "flac":  # its last frame is cut, and there is hardly another
        assert error.code == "truncated"


LIMITS = [
    ({"size_bytes": 1000}, "too_many_bytes", 1000, "MiB; the limit is"),
    ({"duration_s": 1.5}, "too_long", 1.5, "it lasts for 2.0 s; the limit is 1.5 s"),
    ({"streams": 1}, "too_many_streams", 1, "the file has 2 streams; the limit is 1"),
    ({"packets": 10}, "too_many_frames", 10, "more than 10 coded frames"),
    ({"pixels": 3000}, "too_many_pixels", 3000, "(64 x 48); the limit is 0.003 megapixels"),
]


@pytest.mark.parametrize(("limit", "code", "value", "words"), LIMITS)
async def test_a_refusal_of_a_film_names_the_limit_its_value_and_what_was_found(
    pool, out, tmp_path, limit, code, value, words
):
    source = films.film(tmp_path / "in", size=(64, 48), seconds=2)
    error = await refused(pool, source, out, Limits(video=VideoLimits(**limit)))
    assert error.code == code
    assert words in error.message
    assert error.details["limit"] == value
    assert error.details["found"] > value


@pytest.mark.parametrize(("limit", "code", "value", "words"), [one for one in LIMITS if "pixels" not in one[0]][:2])
async def test_a_refusal_of_a_sound_does_so_too(pool, out, tmp_path, limit, code, value, words):
    error = await refused(pool, films.sound(tmp_path / "in", "ogg", seconds=2), out, Limits(audio=AudioLimits(**limit)))
    assert (error.code, error.details["limit"]) == (code, value)
    assert words in error.message


async def test_a_length_that_is_a_guess_is_found_while_it_is_played(pool, out, tmp_path):
    """An MP3 need not say how long it is, and nobody plays more of it than the limit allows."""
    source = films.sound(tmp_path / "in", "mp3", seconds=9)
    error = await refused(pool, source, out, Limits(audio=AudioLimits(duration_s=1.5)))
    assert error.code == "too_long"
    assert "it lasts for more than 1.5 s; the limit is 1.5 s" in error.message
    assert 1.5 < error.details["found"] < 2


async def test_a_length_that_the_header_hides_is_found_while_it_is_played(pool, out, tmp_path):
    """A WebM from a browser's recorder says no length; here one that is too long."""
    films.film(tmp_path / "in", "webm", size=(64, 48), seconds=3, mux={"live": "1"})
    error = await refused(pool, tmp_path / "in", out, Limits(video=VideoLimits(duration_s=1.0)))
    assert error.code == "too_long"
    probe = (await renditions(pool, tmp_path / "in", out))["probe"]
    assert probe["duration_s"] == pytest.approx(3.0, abs=0.2)


async def test_a_moment_that_lies_years_ahead_is_too_long(pool, out, tmp_path):
    films.film(tmp_path / "in", "mkv", size=(64, 48), times=[0.0, 0.1, 40_000.0], sound=False)
    error = await refused(pool, tmp_path / "in", out)
    assert (error.code, error.details["limit"]) == ("too_long", 7200.0)


async def test_a_hole_of_an_hour_in_the_sound_costs_no_memory(pool, out, tmp_path):
    with av.open(str(tmp_path / "in"), "w", format="matroska") as container:
        audio = container.add_stream("pcm_s16le", rate=8000)
        audio.codec_context.layout = "mono"
        for start in (0, 3600):
            frame = av.AudioFrame("s16", "mono", 4000)
            frame.sample_rate = 8000
            frame.planes[0].update(b"\x00\x30" * (frame.planes[0].buffer_size // 2))
            frame.pts, frame.time_base = start * 8000, Fraction(1, 8000)
            container.mux(audio.encode(frame))
    made = await renditions(pool, tmp_path / "in", out)
    assert made["renditions"][1]["duration_s"] == pytest.approx(3600.5, abs=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
async def test_numbers_that_are_none_do_no_harm(pool, out, tmp_path, value):
    with av.open(str(tmp_path / "in"), "w", format="wav") as container:
        audio = container.add_stream("pcm_f32le", rate=48_000)
        audio.codec_context.layout = "mono"
        frame = av.AudioFrame("flt", "mono", 48_000)
        frame.sample_rate = 48_000
        values = array("f", [0.1] * 20_000 + [value] * 8_000 + [0.1] * 20_000)
        frame.planes[0].update(values.tobytes() + bytes(frame.planes[0].buffer_size - 4 * len(values)))
        frame.pts = 0
        container.mux(audio.encode(frame))
    made = await renditions(pool, tmp_path / "in", out)
    assert [one["name"] for one in made["renditions"]] == ["peaks", "aac"]


async def test_a_film_that_changes_its_size_in_the_middle_keeps_the_size_of_its_renditions(pool, out, tmp_path):
    with av.open(str(tmp_path / "in"), "w", format="matroska") as new:
        stream = new.add_mux_stream("vp8", width=64, height=48)
        for part, size in enumerate(((64, 48), (128, 32))):
            films.film(
                tmp_path / "part",
                "webm",
                size=size,
                seconds=0.5,
                codecs=("libvpx", None),
                sound=False,
                paint=films.striped,
            )
            with av.open(str(tmp_path / "part")) as old:
                for packet in old.demux():
                    if packet.size:
                        packet.pts = packet.dts = packet.pts + part * 500
                        packet.stream = stream
                        new.mux(packet)
    made = await renditions(pool, tmp_path / "in", out)
    with av.open(made["renditions"][1]["path"]) as container:
        assert {(frame.width, frame.height) for frame in container.decode(video=0)} == {(64, 48)}


def test_every_format_of_films_and_sounds_has_one_demuxer():
    assert set(film_input.DEMUXERS) == {name for name, found in FORMATS.items() if found.kind != "image"}
    for name in set(film_input.DEMUXERS.values()):
        with contextlib.suppress(av.error.FFmpegError):
            assert av.format.ContainerFormat(name, "r").is_input


@pytest.mark.parametrize("sounds", [["tta"], ["tta", "aac"]])
async def test_of_several_sounds_one_is_used_that_can_be_decoded(pool, out, tmp_path, sounds):
    with av.open(str(tmp_path / "in"), "w", format="matroska") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height = 64, 48
        tracks = [container.add_stream(codec, rate=48_000) for codec in sounds]
        for n in range(5):
            frame = films.painted((64, 48), films.striped(n)).reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for track in tracks:
            films._sing(container, track, 0.5)
    if sounds == ["tta"]:
        error = await refused(pool, tmp_path / "in", out)
        assert error.code == "unsupported_codec"
        assert "tta" in error.message
    else:
        made = await renditions(pool, tmp_path / "in", out)
        assert made["probe"]["audio"]["codec"] == "aac"
