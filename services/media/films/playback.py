"""One run through a file, from its start to its end: every frame that can be decoded, and when it is to be shown.

Invariants: what cannot be decoded is left out and counted; the run ends at the limits whatever the headers said, as
they are held against what comes; times start at 0, those of pictures at least. Refuses files of which too little is
left, and those that end long before the time that they promise and may have been cut off.
"""

from collections.abc import Iterator

import av
from av.audio.frame import AudioFrame
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame

from services.media.errors import MediaError
from services.media.films.limits import AudioLimits, VideoLimits
from services.media.films.sound_track import OVERLAP_S
from services.media.films.streams import Film

Frame = VideoFrame | AudioFrame

PROMISING = frozenset(("mp4", "mov", "m4v", "3gp", "m4a", "mkv", "webm", "flac"))
"""Formats whose headers say how long they are, so that they can be found to end early."""
KEPT_MIN = 0.9
SLACK_S = 0.25
PICTURE_S = 1 / 25
"""Of pictures that do not say when they are to be shown."""
BEFORE_S = 1.0
"""Frames from before the start by more than this are the fault of a damaged time."""


class Playback:
    """`frames` is read once; the numbers are right after it, also when the film is closed by then."""

    def __init__(self, film: Film, limits: VideoLimits | AudioLimits) -> None:
        self._film = film
        self._limits = limits
        self._start_s = film.start_s
        self._video = None if film.video is None else film.video.index  # a closed file has none to ask
        self._next: dict[int, float] = {}
        self._ends: dict[int, float] = {}
        self.shown = 0
        self.damaged = 0
        self._packets = 0
        self._broken_off = False

    def frames(self) -> Iterator[tuple[Frame, float]]:
        """Each with its time in seconds, in the order in which the file has them. Raises MediaError."""
        for packet in self._taken():
            for frame in self._decoded(packet):
                at_s = self._time(packet.stream, frame)
                self._limits.check_played(at_s)
                if at_s > -BEFORE_S:
                    self.shown += 1
                    yield frame, at_s if isinstance(frame, AudioFrame) else max(0.0, at_s)
        self._judge()

    @property
    def end_s(self) -> float:
        return max(self._ends.values(), default=0.0)

    @property
    def picture_end_s(self) -> float:
        """Until when the last picture is to be seen."""
        return self._ends.get(self._video, 0.0) if self._video is not None else 0.0

    def _taken(self) -> "Iterator[Packet[Stream]]":
        try:
            for packet in self._film.container.demux(self._film.used):
                self._packets += 1
                self._limits.check_packets(self._packets)
                if packet.pts is not None and packet.time_base and not packet.is_discard:
                    at_s, length_s = (float(ticks * packet.time_base) for ticks in (packet.pts, packet.duration or 0))
                    if self._packets == 1 and packet.stream is self._film.video:
                        self._start_s = min(self._start_s, at_s)  # libav did not look far enough to know it
                    self._lasts(packet.stream.index, at_s + length_s - self._start_s)
                yield packet
        except av.error.MemoryError:
            raise
        except av.FFmpegError:  # nothing behind this place can be read; what was read stands until it is judged
            self._broken_off = True

    def _decoded(self, packet: "Packet[Stream]") -> list[Frame]:
        try:
            return packet.decode()  # type: ignore[return-value]
        except av.error.MemoryError:
            raise
        except av.error.EOFError:
            return []
        except av.FFmpegError:
            self.damaged += 1
            return []

    def _time(self, stream: Stream, frame: Frame) -> float:
        due_s = self._next.get(stream.index)
        at_s = due_s or 0.0
        if frame.pts is not None and frame.time_base is not None:
            at_s = float(frame.pts * frame.time_base) - self._start_s
        length_s = PICTURE_S
        if isinstance(frame, AudioFrame):
            length_s = frame.samples / (frame.sample_rate or 1)
            if due_s is not None and at_s < due_s - OVERLAP_S:
                at_s = due_s  # another sound begins in the same file: it comes after
            self._lasts(stream.index, at_s + length_s)
        self._next[stream.index] = at_s + length_s
        return at_s

    def _lasts(self, index: int, end_s: float) -> None:
        self._ends[index] = max(self._ends.get(index, 0.0), end_s)

    def _judge(self) -> None:
        self._limits.check_played(self.end_s)  # that of the last frame, which began in time
        if not self.shown or self.damaged > self._packets / 2:
            raise MediaError(
                f"the file is damaged: {self.damaged} of its {self._packets} coded frames cannot be decoded",
                code="truncated" if self._broken_off and not self.damaged else "corrupt",
            )
        if not self._broken_off and self._film.is_whole():
            self._hold_last_picture()
            return
        promised = self._film.duration_s if self._film.found.format in PROMISING else None
        if promised and self.end_s < promised * KEPT_MIN - SLACK_S:
            raise MediaError(
                f"the file ends too early: after {self.end_s:.1f} s of {promised:.1f} s",
                code="truncated",
                found=round(self.end_s, 3),
            )

    def _hold_last_picture(self) -> None:
        """As long as the file says: what its packets say of the last one is a guess, or nothing."""
        until_s = self._film.picture_s
        if self._video is not None and until_s:
            self._limits.check_duration(until_s)
            self._lasts(self._video, until_s)
