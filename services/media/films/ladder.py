"""The MP4s of one film, from the largest to the smallest, all written in one run through it.

Invariants: each step is scaled from the one above it, so the large frames of the source are touched once; pictures and
sound start together; either every file is finished or none is left behind.
"""

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame

from services.media.films.files import path_of
from services.media.films.frames import TICKS, Shaper
from services.media.films.mp4 import Mp4
from services.media.films.presets import VideoPreset
from services.media.films.probe import Shown
from services.media.films.shape import fitted
from services.media.films.sound_track import SoundTrack

PIXELS = "yuv420p"


class Ladder:
    def __init__(self, presets: list[VideoPreset], shown: Shown, sound: AudioStream | None, directory: str) -> None:
        self.sizes = {preset.name: fitted(shown.size, (preset.width, preset.height)) for preset in presets}
        self._track = SoundTrack.like(sound) if sound is not None else None
        self._shapers: dict[tuple[int, int], Shaper] = {}
        self._steps: list[tuple[Mp4, tuple[int, int], bool]] = []
        for preset in sorted(presets, key=lambda one: self.sizes[one.name], reverse=True):
            size = self.sizes[preset.name]
            if size not in self._shapers:
                self._shapers[size] = Shaper(size, PIXELS, () if self._shapers else shown.turns)
            mp4 = Mp4(path_of(preset, directory))
            self._steps.append((mp4, size, bool(preset.sound_kbps and self._track)))
            mp4.add_video(preset, size, shown.fps)
            if self._track is not None and preset.sound_kbps:
                mp4.add_sound(self._track, preset.sound_kbps)

    def take(self, frame: VideoFrame | AudioFrame, at_s: float) -> None:
        if isinstance(frame, VideoFrame):
            ticks = round(at_s * TICKS)
            if any(mp4.wants(ticks) for mp4, _, _ in self._steps):
                self._show(frame, ticks)
        elif self._track is not None:
            for made in self._track.take(frame, at_s):
                self._sound(made)

    def finish(self, picture_end_s: float) -> None:
        first = next(iter(self._shapers.values()), None)
        for shaped in first.flush() if first is not None else ():
            self._descend(shaped)
        if self._track is not None:
            for made in self._track.end():
                self._sound(made)
        for mp4, _, _ in self._steps:
            mp4.finish(picture_end_s)

    def drop(self) -> None:
        for mp4, _, _ in self._steps:
            mp4.drop()

    def _show(self, frame: VideoFrame, ticks: int) -> None:
        first = next(iter(self._shapers.values()))
        for shaped in first.shape(frame, ticks):
            self._descend(shaped)

    def _descend(self, frame: VideoFrame) -> None:
        """Give a frame of the largest size to its encoders, and scaled on to those below."""
        ticks = round((frame.time or 0.0) * TICKS)
        for at, (size, shaper) in enumerate(self._shapers.items()):
            if at:
                scaled = shaper.shape(frame, ticks)
                if not scaled:
                    return
                frame = scaled[-1]
            frame.pts = ticks
            for mp4, of_size, _ in self._steps:
                if of_size == size:
                    mp4.picture(frame)

    def _sound(self, frame: AudioFrame) -> None:
        for mp4, _, sounds in self._steps:
            if sounds:
                mp4.sound(frame)
