"""An open video or sound: which of its streams are used, when they start, and how long they are. Only inside a slot.

Invariants: one moving picture and one sound at most, and what is not used is not read; lengths are those of the streams
that are used, from the first of them to start to the last to end, whatever else the file holds and whenever it starts.
All of it is what the file says, which may be wrong: `playback` finds out.
"""

import re
from collections.abc import Iterator
from itertools import islice

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from services.media.films.elements import is_whole
from services.media.sniffing.sniff import Sniffed

VIDEO_DECODERS = frozenset(
    ("h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "mpeg4", "h263", "mjpeg", "prores", "dnxhd", "mpeg2video")
)
_SOUND = (
    "aac mp3 mp3float mp2 mp2float ac3 eac3 opus vorbis flac alac amrnb amrwb speex "
    "pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_s32be pcm_u8 pcm_s8 "
    "pcm_f32le pcm_f32be pcm_f64le pcm_alaw pcm_mulaw"
)
AUDIO_DECODERS = frozenset(_SOUND.split())

MATROSKA = ("mkv", "webm")
GUESSED = ("aac", "mp3")
"""Their length is guessed by the rate of the first frames: one that begins with silence seems to last for hours."""
_CLOCK = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d{1,9})?)", re.ASCII)


class Film:
    """An open file and the streams of it that are used; None where there is none."""

    def __init__(self, container: InputContainer, found: Sniffed, size_bytes: int, source: str) -> None:
        self.container = container
        self.found = found
        self.size_bytes = size_bytes
        self.streams = len(container.streams)
        self.video = _video(container) if found.kind == "video" else None
        self.audio = _audio(container)
        self._source = source
        for stream in container.streams:
            if stream is not self.video and stream is not self.audio:
                stream.discard = Discard.all

    @property
    def used(self) -> list[VideoStream | AudioStream]:
        return [stream for stream in (self.video, self.audio) if stream is not None]

    @property
    def start_s(self) -> float:
        """When the first of them starts, in the file's own time."""
        starts = [
            float(stream.start_time * stream.time_base)
            for stream in self.used
            if stream.start_time is not None and stream.time_base
        ]
        return min(starts) if starts else (self.container.start_time or 0) / av.time_base

    @property
    def duration_s(self) -> float | None:
        """As the file says; None when it says nothing."""
        ends = [_end_s(stream) for stream in self.used]
        known = [end for end in ends if end is not None]
        if known and (self.found.format not in MATROSKA or None not in ends):
            return max(known) - self.start_s
        if not self.container.duration:
            return None
        length = self.container.duration / av.time_base
        return length - self.start_s if self.found.format in MATROSKA else length  # there it counts from 0

    @property
    def told_s(self) -> float | None:
        """`duration_s`, but for what is guessed."""
        return None if self.found.format in GUESSED else self.duration_s

    @property
    def picture_s(self) -> float | None:
        """Until when the last picture of a Matroska file is to be seen: its packets do not say it."""
        if self.video is None or self.found.format not in MATROSKA:
            return None
        end_s = _end_s(self.video)
        if end_s is None and self.streams == 1 and self.container.duration:
            end_s = self.container.duration / av.time_base
        return None if end_s is None else end_s - self.start_s

    def pictures(self, packets_most: int | None = None) -> Iterator[VideoFrame]:
        """From where the file stands, in its order; damage is passed over. Raises av.error.MemoryError."""
        for packet in islice(self.container.demux(self.video), packets_most):
            try:
                frames = packet.decode()
            except av.error.MemoryError:
                raise
            except av.FFmpegError:
                continue
            yield from (frame for frame in frames if isinstance(frame, VideoFrame))

    def is_whole(self) -> bool:
        """Whether all bytes of a Matroska file are there, as far as its outermost elements tell."""
        return self.found.format in MATROSKA and is_whole(self._source)


def _end_s(stream: Stream) -> float | None:
    """In the file's own time; of Matroska's streams only those tell it that have a tag for it."""
    if stream.duration and stream.time_base:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    clock = _CLOCK.fullmatch(stream.metadata.get("DURATION", "").strip("\0 "))
    return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3]) if clock else None


def _video(container: InputContainer) -> VideoStream | None:
    """The largest that moves and can be decoded: covers and thumbnails are streams as well."""
    moving = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    return max(moving, key=_rank, default=None)


def _audio(container: InputContainer) -> AudioStream | None:
    """The default one, or else the first; what can be decoded goes before what cannot."""
    return max(container.streams.audio, key=_preference, default=None)


def _rank(stream: Stream) -> tuple[bool, int]:
    context = stream.codec_context
    return _known(stream), getattr(context, "width", 0) * getattr(context, "height", 0)


def _preference(stream: Stream) -> tuple[bool, bool]:
    return _known(stream), bool(stream.disposition & Disposition.default)


def _known(stream: Stream) -> bool:
    context = stream.codec_context
    return context is not None and context.codec.name in VIDEO_DECODERS | AUDIO_DECODERS
