"""Real films and sounds for the tests, made by PyAV in the test process: a few kB, a few hundredths of a second."""

import math
from array import array
from fractions import Fraction

import av
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

CODECS = {
    "mp4": ("libx264", "aac"),
    "mov": ("libx264", "aac"),
    "m4v": ("libx264", "aac"),
    "3gp": ("libx264", "aac"),
    "mkv": ("libx264", "aac"),
    "webm": ("libvpx-vp9", "libopus"),
}
MUXERS = {"m4v": "ipod", "mkv": "matroska", "m4a": "ipod", "aac": "adts", "opus": "ogg"}
SOUNDS = {
    "mp3": "libmp3lame",
    "m4a": "aac",
    "aac": "aac",
    "wav": "pcm_s16le",
    "flac": "flac",
    "ogg": "vorbis",
    "opus": "libopus",
}


def film(
    path,
    form="mp4",
    *,
    seconds=1.0,
    size=(320, 180),
    fps=10,
    sound=True,
    codecs=None,
    times=None,
    paint=None,
    metadata=None,
    rotation=0,
    pixel=None,
    pixels="yuv420p",
    colours=None,
    options=None,
    mux=None,
    ticks=90_000,
):
    """`paint(n)` is the colour of frame n, or those of its left and right half; `times` are when frames are shown."""
    video_codec, audio_codec = codecs or CODECS[form]
    times = times if times is not None else [n / fps for n in range(round(seconds * fps))]
    with av.open(str(path), "w", format=MUXERS.get(form, form), container_options=mux or {}) as out:
        out.metadata.update(metadata or {})
        video = out.add_stream(video_codec, rate=fps, options=options or {})
        video.width, video.height, video.pix_fmt = *size, pixels
        video.codec_context.time_base = Fraction(1, ticks)
        video.codec_context.thread_count = 1
        if colours:
            for name, value in colours.items():
                setattr(video.codec_context, name, value)
        if pixel:
            video.codec_context.sample_aspect_ratio = pixel
        if rotation:
            video.set_display_rotation(rotation)
        audio = _audio(out, audio_codec) if sound and audio_codec else None
        for n, at_s in enumerate(times):
            frame = painted(size, (paint or striped)(n)).reformat(format=pixels)
            if colours:
                frame.colorspace = colours.get("colorspace", 2)
                frame.color_trc, frame.color_primaries = colours.get("color_trc", 2), colours.get("color_primaries", 2)
            frame.pts, frame.time_base = round(at_s * ticks), Fraction(1, ticks)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None:
            _sing(out, audio, seconds)
    return str(path)


def sound(path, form, *, seconds=1.0, rate=48_000, layout="stereo", codec=None, metadata=None, tone=440):
    with av.open(str(path), "w", format=MUXERS.get(form, form)) as out:
        out.metadata.update(metadata or {})
        _sing(out, _audio(out, codec or SOUNDS[form], rate, layout), seconds, tone=tone)
    return str(path)


def striped(n):
    return (40 + n * 37 % 200, 80, 200 - n * 23 % 180)


def painted(size, colour):
    """Left half in the colour, right half in its opposite, so that there is something to see and to turn."""
    width, height = size
    left, right = colour if len(colour) == 2 else (colour, [255 - one for one in colour])
    line = bytes([*left, 255]) * (width // 2) + bytes([*right, 255]) * (width - width // 2)
    return VideoFrame.from_bytes(line * height, width, height, format="rgba")


def sing(out, codec, seconds=1.0, *, and_then=None):
    stream = _audio(out, codec)
    if and_then:
        and_then()
    _sing(out, stream, seconds)


def _audio(out, codec, rate=48_000, layout="stereo"):
    stream = out.add_stream(codec, rate=rate, options={"strict": "-2"})
    stream.codec_context.layout = layout
    stream.codec_context.thread_count = 1
    return stream


def _sing(out, stream, seconds, tone=440):
    rate, channels = stream.codec_context.sample_rate, stream.codec_context.layout.nb_channels
    fifo = av.AudioFifo()
    resampler = av.AudioResampler(stream.codec_context.format.name, stream.codec_context.layout.name, rate)
    wave = array("h", (round(12_000 * math.sin(2 * math.pi * tone * n / rate)) for n in range(rate // 10)))
    each = array("h", (value for value in wave for _ in range(channels)))
    for _ in range(round(seconds * 10)):
        frame = AudioFrame("s16", stream.codec_context.layout.name, len(wave))
        frame.sample_rate = rate
        frame.planes[0].update(each.tobytes() + bytes(frame.planes[0].buffer_size - 2 * len(each)))
        frame.pts = None
        for made in resampler.resample(frame):
            made.pts = None
            fifo.write(made)
    stream.codec_context.open(strict=False)
    size, at = stream.codec_context.frame_size or 1024, 0
    while fifo.samples:
        frame = fifo.read(size, partial=True)
        frame.pts, frame.time_base = at, Fraction(1, rate)
        at += frame.samples
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))
