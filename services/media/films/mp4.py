"""One MP4 file that is being written: H.264 and AAC, or AAC alone; playable from its first bytes on (faststart).

Invariants: no metadata of the source gets in, as nothing but frames does; a file under its own name is whole. An
encoder or a disk that fails is no fault of the source: it is raised as OSError.
"""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame

from services.media.films.picture_track import PictureTrack
from services.media.films.presets import VideoPreset
from services.media.films.sound_track import SoundTrack

BITEXACT = 0x0400  # of AVFormatContext's flags


class Mp4:
    """`picture`, `sound`, and at last `finish`; `drop` instead of it leaves nothing behind."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._out = av.open(str(self._unfinished), "w", format="mp4", container_options={"movflags": "+faststart"})
        self._out.flags |= BITEXACT  # else the name and version of the muxer stand in the file
        self._pictures: PictureTrack | None = None
        self._audio: AudioStream | None = None

    def add_video(self, preset: VideoPreset, size: tuple[int, int], fps: Fraction | None) -> None:
        with self._ours():
            self._pictures = PictureTrack(self._out, preset, size, fps)

    def add_sound(self, track: SoundTrack, kbps: int) -> None:
        with self._ours():
            stream = self._out.add_stream("aac", rate=track.rate)
        context = stream.codec_context
        context.layout = track.layout
        context.format = "fltp"
        context.bit_rate = kbps * 1000
        context.time_base = Fraction(1, track.rate)
        context.thread_count = 1
        self._audio = stream

    def wants(self, ticks: int) -> bool:
        """Whether a picture of that time is not too close behind the one before it."""
        assert self._pictures is not None
        return self._pictures.wants(ticks)

    def picture(self, frame: VideoFrame) -> None:
        """`frame.pts` is in TICKS."""
        assert self._pictures is not None
        with self._ours():
            self._pictures.take(frame)

    def sound(self, frame: AudioFrame) -> None:
        assert self._audio is not None
        with self._ours():
            self._out.mux(self._audio.encode(frame))

    def finish(self, picture_end_s: float = 0.0) -> None:
        """`picture_end_s` is until when the last picture is shown."""
        with self._ours():
            if self._pictures is not None:
                self._pictures.finish(picture_end_s)
            if self._audio is not None:
                self._out.mux(self._audio.encode(None))
            self._out.close()
        self._unfinished.replace(self._path)

    def drop(self) -> None:
        with contextlib.suppress(Exception):
            self._out.close()
        self._unfinished.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _ours(self) -> Iterator[None]:
        try:
            yield
        except av.error.MemoryError:
            raise
        except av.FFmpegError as error:
            raise OSError(f"a rendition cannot be written: {error.strerror or error}") from error
