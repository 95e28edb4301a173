"""The pictures of one MP4 that is being written, as H.264.

Invariants: times only grow, and never faster than the preset's `fps` allows; the last picture is shown to the end, and
the file says so to those who add up its samples as well as to those who read its headers: a picture and a coded packet
are held back until it is known whether they are the last.
"""

from collections.abc import Iterable
from fractions import Fraction

from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from services.media.films.frames import TICKS
from services.media.films.look import BT709
from services.media.films.pace import Pace
from services.media.films.presets import VideoPreset

KEY_EVERY_S = 4
FPS_GUESS = 30
SLOWEST = 1001
"""Seconds that a picture stays at most, as far as an encoder is told; 1001 is also that of 30000/1001."""
KEY_FRAME = 1  # of AVPictureType
FRAME_DURATION = 1 << 8  # of AVCodecContext's flags: without it, what a frame says of its length is not believed
INEXACT = TICKS // 200
"""Times of a source may be in whole milliseconds."""


class PictureTrack:
    """`take` pictures, then `finish`. Raises av.FFmpegError."""

    def __init__(self, out: OutputContainer, preset: VideoPreset, size: tuple[int, int], fps: Fraction | None) -> None:
        rate = min(fps or Fraction(FPS_GUESS), Fraction(preset.fps or FPS_GUESS)).limit_denominator(SLOWEST)
        rate = max(rate, Fraction(1, SLOWEST))  # a picture may stay for an hour, which would come to none a second
        options = {
            "preset": preset.speed,
            "crf": str(preset.crf),
            "maxrate": f"{preset.rate_kbps}k",
            "bufsize": f"{2 * preset.rate_kbps}k",
            "profile": "high",
            "g": str(max(1, round(rate * KEY_EVERY_S))),
        }
        self._out = out
        self._stream: VideoStream = out.add_stream("libx264", rate=rate, options=options)
        context = self._stream.codec_context
        context.width, context.height = size
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, TICKS)
        context.thread_count = 1
        context.flags |= FRAME_DURATION
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = 1
        self._pace = Pace(preset.fps or FPS_GUESS, TICKS)
        self._period = max(1, round(TICKS / rate))
        self._held: tuple[VideoFrame, int] | None = None
        self._coded: Packet[VideoStream] | None = None
        self._first_dts = 0

    def wants(self, ticks: int) -> bool:
        """Whether a picture of that time is not too close behind the one before it."""
        return self._pace.due(ticks)

    def take(self, frame: VideoFrame) -> None:
        """`frame.pts` is in TICKS; what comes too early is left out."""
        assert frame.pts is not None
        if self._pace.due(frame.pts):
            ticks = self._pace.taken(frame.pts)
            self._encode_held(until=ticks)
            self._held = (frame, ticks)

    def finish(self, end_s: float) -> None:
        """`end_s` is until when the last picture stays; when it is not after its time, for as long as is usual."""
        end = round(end_s * TICKS)
        if self._held is not None:
            shown = self._held[1]
            end = end if end > shown else shown + self._period
            # One that stays for long is whole in itself: then none is coded behind it, and its own length can be told.
            self._encode_held(until=end, kind=KEY_FRAME if end - shown > 2 * self._period else 0)
        self._mux(self._stream.encode(None))
        last = self._coded
        if last is None or last.pts is None or last.dts is None:
            return
        if last.dts + (last.duration or 0) - self._first_dts < end - INEXACT:
            last.dts, last.duration = last.pts, max(1, end - last.pts)
        self._out.mux(last)

    def _encode_held(self, *, until: int, kind: int = 0) -> None:
        """An encoder copies what a frame says of itself, so that others may give the same one another time."""
        if self._held is not None:
            frame, ticks = self._held
            frame.pts, frame.duration, frame.pict_type = ticks, until - ticks, kind
            self._mux(self._stream.encode(frame))
            self._held = None

    def _mux(self, packets: "Iterable[Packet[VideoStream]]") -> None:
        for packet in packets:
            if self._coded is None:
                self._first_dts = packet.dts or 0
            else:
                self._out.mux(self._coded)
            self._coded = packet
