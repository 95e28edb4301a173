"""A sound as an encoder wants it: one rate, one layout, frames of one size, without holes and overlaps.

Invariants: the first sample is heard exactly when the file says; after that, the n-th sample that comes out is heard
n / rate seconds after the start, to within DRIFT_S of the time of its frame: silence fills what is missing, and of what
comes twice the second is left out. So pictures and sound stay together, whatever the file's own times do. Memory is one
frame's, however large a hole is. Times that jump back by more than OVERLAP_S are damage, and count for nothing.
"""

from collections.abc import Iterator
from fractions import Fraction

from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream

from services.media.errors import MediaError

FRAME_SAMPLES = 1024
"""Of AAC."""
DRIFT_S = 0.015
"""Times in whole milliseconds, and those of clocks that run unevenly, are not worth a click."""
OVERLAP_S = 1.0
RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
RATE_MIN, RATE_MAX, CHANNELS_MAX = 4_000, 768_000, 64


class SoundTrack:
    """`take` and `end` give frames of FRAME_SAMPLES each, but for the last; `form` is a sample format of libav."""

    def __init__(self, rate: int, layout: str, form: str = "fltp") -> None:
        self.rate = rate
        self.layout = layout
        self._form = form
        self._resampler: AudioResampler | None = None
        self._finisher = AudioResampler(form, layout, rate)
        self._look: tuple[str, str, int] | None = None
        self._fifo = AudioFifo()
        self._due_s: float | None = None
        self._surplus = 0
        self._read = 0

    @classmethod
    def like(cls, stream: AudioStream) -> "SoundTrack":
        """What a rendition of this stream has: its rate if AAC knows it, mono or stereo. Raises MediaError."""
        context = stream.codec_context
        check_sound(context.sample_rate, context.channels)
        rate = context.sample_rate if context.sample_rate in RATES else 48_000
        return cls(rate, "mono" if context.channels == 1 else "stereo")

    def take(self, frame: AudioFrame, at_s: float) -> Iterator[AudioFrame]:
        """`at_s` may lie before the start; what does is left out."""
        late_s = at_s - (self._due_s or 0.0)
        if self._due_s is not None and not (late_s > DRIFT_S or -OVERLAP_S <= late_s < -DRIFT_S):
            late_s = 0.0
        samples = round(late_s * self.rate)
        self._due_s = (self._due_s or 0.0) + samples / self.rate + frame.samples / (frame.sample_rate or self.rate)
        yield from self._silence(samples)
        self._surplus += max(0, -samples)
        for made in self._resampled(frame):
            self._write(made)
        yield from self._whole()

    def end(self) -> Iterator[AudioFrame]:
        if self._resampler is not None:
            for made in self._resampler.resample(None):
                self._write(made)
        yield from self._whole()
        rest = self._fifo.read(0, partial=True) if self._fifo.samples else None
        if rest is not None:
            yield self._timed(rest)

    def _resampled(self, frame: AudioFrame) -> list[AudioFrame]:
        look = (frame.format.name, frame.layout.name, frame.sample_rate)
        made: list[AudioFrame] = []
        if look != self._look:
            check_sound(frame.sample_rate, len(frame.layout.channels))
            made = self._resampler.resample(None) if self._resampler is not None else []
            # By way of whole numbers: a damaged sound of floats can hold NaN, and an encoder of AAC never recovers.
            self._resampler = AudioResampler("s32p", self.layout, self.rate)
            self._look = look
        assert self._resampler is not None
        frame.pts = None
        return made + self._resampler.resample(frame)

    def _write(self, frame: AudioFrame) -> None:
        for made in self._finisher.resample(frame):
            kept = self._needed(made) if self._surplus else made
            if kept is not None:
                kept.pts = None
                self._fifo.write(kept)

    def _needed(self, frame: AudioFrame) -> AudioFrame | None:
        """The frame without its beginning, of which there is too much."""
        left_out = min(self._surplus, frame.samples)
        self._surplus -= left_out
        frame.pts = None
        rest = AudioFifo()
        rest.write(frame)
        rest.read(left_out)
        return rest.read(0) if rest.samples else None

    def _whole(self) -> Iterator[AudioFrame]:
        while self._fifo.samples >= FRAME_SAMPLES:
            frame = self._fifo.read(FRAME_SAMPLES)
            assert frame is not None
            yield self._timed(frame)

    def _timed(self, frame: AudioFrame) -> AudioFrame:
        frame.pts = self._read
        frame.time_base = Fraction(1, self.rate)
        self._read += frame.samples
        return frame

    def _quiet(self, samples: int) -> AudioFrame:
        frame = AudioFrame("s32p", self.layout, samples)
        frame.sample_rate = self.rate
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        return frame

    def _silence(self, samples: int) -> Iterator[AudioFrame]:
        while samples > 0:
            some = min(samples, FRAME_SAMPLES)
            self._write(self._quiet(some))
            samples -= some
            yield from self._whole()


def check_sound(rate: int, channels: int) -> None:
    """Raises MediaError for what only damage or malice says of itself."""
    if not RATE_MIN <= rate <= RATE_MAX or not 1 <= channels <= CHANNELS_MAX:
        raise MediaError(
            f"the sound has {channels} channels of {rate} samples a second, which is not taken",
            code="unsupported_codec",
        )
