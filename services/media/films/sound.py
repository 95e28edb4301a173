"""Renditions of one sound: paths in, paths out. Runs only inside a slot, on one thread.

Invariants: the file is decoded once for all of them; a file in the directory is whole; no metadata (titles, covers,
places) of the source gets into any. Refuses what `input` and the limits refuse, and files that end early.
"""

from array import array
from collections.abc import Iterable
from typing import Any

from av.audio.frame import AudioFrame

from services.media.errors import MediaError
from services.media.films.files import described, path_of, write_whole
from services.media.films.input import opened, size_of
from services.media.films.mp4 import Mp4
from services.media.films.playback import Playback
from services.media.films.presets import AudioPreset
from services.media.films.probe import audio_document, bit_rate_of
from services.media.films.progress import Progress
from services.media.films.sound_peaks import RATE, Peaks
from services.media.films.sound_track import SoundTrack
from services.media.films.streams import Film
from services.media.limits import Limits
from services.media.presets import PresetSet
from services.media.slots.reporting import report
from services.media.sniffing.file import recognise_file

PROBED, PLAYED = 0.02, 0.95  # of the whole; then the renditions are stored


def make_renditions(
    source: str, directory: str, presets: dict[str, Any], limits: dict[str, Any] | None = None
) -> dict[str, Any]:
    """{probe, renditions: [{name, kind, format, content_type, duration_s, size_bytes, path}]}, in the order of
    the set's presets for sounds; `presets` is PresetSet.wire(), `limits` Limits.wire().

    A rendition is `directory/<name>.<format>`. Raises MediaError.
    """
    chosen, bounds = PresetSet.parse(presets).audio, Limits.parse(limits or {}).audio
    found = recognise_file(source)
    bounds.check_size(size_of(source))
    with opened(source, found, bounds) as film:
        if film.audio is None:
            raise MediaError("there is nothing in the file to be heard", code="no_streams")
        probe = probe_sound(film)
        report(PROBED, "probed")
        making = _Making(film, chosen, directory)
        try:
            playback, progress = Playback(film, bounds), Progress(PROBED, PLAYED, film.duration_s)
            for frame, at_s in playback.frames():
                assert isinstance(frame, AudioFrame)
                making.take(frame, at_s)
                progress.reached(at_s)
            making.finish()
        except BaseException:
            making.drop()
            raise
    length = {"duration_s": round(playback.end_s, 3)}
    return {
        "probe": probe | length,
        "renditions": [described(preset, path_of(preset, directory), **length) for preset in chosen],
    }


def probe_sound(film: Film) -> dict[str, Any]:
    """{kind, format, duration_s, codec, sample_rate, channels, bit_rate, streams, size_bytes}; `duration_s` is null
    when the file does not say.
    """
    audio = audio_document(film.audio) or {}
    return {
        "kind": "audio",
        "format": film.found.format,
        "duration_s": round(film.duration_s, 3) if film.duration_s else None,
        **audio,
        "bit_rate": audio.get("bit_rate") or bit_rate_of(film),
        "streams": film.streams,
        "size_bytes": film.size_bytes,
    }


class _Making:
    def __init__(self, film: Film, presets: tuple[AudioPreset, ...], directory: str) -> None:
        assert film.audio is not None
        self._track = SoundTrack.like(film.audio)
        self._coarse = SoundTrack(RATE, "mono", "s16")
        self._files = [(path_of(preset, directory), preset) for preset in presets]
        self._peaks = [(path, Peaks(preset.points)) for path, preset in self._files if preset.make == "peaks"]
        self._mp4s: list[Mp4] = []
        for path, preset in self._files:
            if preset.make == "mp4":
                mp4 = Mp4(path)
                self._mp4s.append(mp4)
                mp4.add_sound(self._track, preset.kbps)

    def take(self, frame: AudioFrame, at_s: float) -> None:
        if self._peaks:
            self._look(self._coarse.take(frame, at_s))
        if self._mp4s:
            self._write(self._track.take(frame, at_s))

    def finish(self) -> None:
        self._look(self._coarse.end())
        self._write(self._track.end())
        for mp4 in self._mp4s:
            mp4.finish()
        for path, peaks in self._peaks:
            write_whole(path, peaks.document())

    def drop(self) -> None:
        for mp4 in self._mp4s:
            mp4.drop()

    def _look(self, frames: Iterable[AudioFrame]) -> None:
        for frame in frames:
            samples = array("h", bytes(frame.planes[0])[: 2 * frame.samples])
            for _, peaks in self._peaks:
                peaks.take(samples)

    def _write(self, frames: Iterable[AudioFrame]) -> None:
        for frame in frames:
            for mp4 in self._mp4s:
                mp4.sound(frame)
