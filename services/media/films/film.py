"""Renditions of one video: paths in, paths out. Runs only inside a slot, on one thread.

Invariants: the file is decoded once for all its MP4s (a smaller one is scaled from a larger one); a file in the
directory is whole; no metadata of the source gets into any. Refuses what `input` and the limits refuse, files that
end early, and those of which too little can be decoded. A container for videos that holds only a sound is a sound.
"""

from typing import Any, NamedTuple

from av.video.frame import VideoFrame

from services.media.errors import MediaError
from services.media.films.files import described, path_of, write_whole
from services.media.films.frames import Shaper
from services.media.films.input import opened, size_of
from services.media.films.ladder import Ladder
from services.media.films.limits import VideoLimits
from services.media.films.playback import Playback
from services.media.films.poster import WAYS
from services.media.films.presets import VideoPreset
from services.media.films.preview import Moving, preview
from services.media.films.probe import Shown, probe_film
from services.media.films.progress import Progress
from services.media.films.shape import fitted
from services.media.films.sound import make_renditions as make_sounds
from services.media.films.still import animated, encoded, picture_of
from services.media.limits import Limits
from services.media.presets import PresetSet
from services.media.slots.reporting import report
from services.media.sniffing.file import recognise_file
from services.media.sniffing.sniff import Sniffed

PROBED, PLAYED, SHOWN, MADE = 0.02, 0.88, 0.9, 0.95  # of the whole; then the renditions are stored


class Work(NamedTuple):
    source: str
    found: Sniffed
    limits: VideoLimits
    shown: Shown
    directory: str


def make_renditions(
    source: str, directory: str, presets: dict[str, Any], limits: dict[str, Any] | None = None
) -> dict[str, Any]:
    """{probe, renditions: [{name, kind, format, content_type, width, height, duration_s, size_bytes, path}]},
    in the order of the set's presets for videos; `presets` is PresetSet.wire(), `limits` Limits.wire().

    A rendition is `directory/<name>.<format>`; stills have no `duration_s`. Raises MediaError.
    """
    found, bounds = recognise_file(source), Limits.parse(limits or {}).video
    bounds.check_size(size_of(source))
    with opened(source, found, bounds) as film:
        if film.video is None and film.audio is None:
            raise MediaError("there is nothing in the file to be seen or heard", code="no_streams")
        probe, shown = probe_film(film, bounds) if film.video is not None else ({}, None)
    if shown is None:
        return make_sounds(source, directory, presets, limits)
    report(PROBED, "probed")
    work = Work(source, found, bounds, shown, directory)
    chosen = PresetSet.parse(presets).video
    made, end_s = _films(work, [preset for preset in chosen if preset.make == "mp4"])
    made |= _posters(work, [preset for preset in chosen if preset.make == "poster"], end_s)
    report(SHOWN, "poster made")
    made |= _previews(work, [preset for preset in chosen if preset.make == "preview"], end_s)
    report(MADE, "preview made")
    probe["duration_s"] = round(end_s, 3) if end_s else None
    return {"probe": probe, "renditions": [made[preset.name] for preset in chosen]}


Made = dict[str, dict[str, Any]]


def _films(work: Work, presets: list[VideoPreset]) -> tuple[Made, float | None]:
    """The MP4s, and how long the film has proved to be; without any, how long it says that it is."""
    if not presets:
        return {}, work.shown.duration_s
    with opened(work.source, work.found, work.limits) as film:
        ladder = Ladder(presets, work.shown, film.audio, work.directory)
        try:
            playback, progress = Playback(film, work.limits), Progress(PROBED, PLAYED, work.shown.duration_s)
            for frame, at_s in playback.frames():
                ladder.take(frame, at_s)
                progress.reached(at_s)
            ladder.finish(playback.picture_end_s)
        except BaseException:
            ladder.drop()
            raise
    made = {}
    for preset in presets:
        width, height = ladder.sizes[preset.name]
        end_s = playback.end_s if preset.sound_kbps else playback.picture_end_s
        more = {"width": width, "height": height, "duration_s": round(end_s, 3)}
        made[preset.name] = described(preset, path_of(preset, work.directory), **more)
    return made, playback.end_s


def _posters(work: Work, presets: list[VideoPreset], duration_s: float | None) -> Made:
    if not presets:
        return {}
    frame, made = _representative(work, duration_s), {}
    for preset in presets:
        size = fitted(work.shown.size, (preset.width, preset.height), even=False)
        image = picture_of(frame, Shaper(size, "rgb24", work.shown.turns))
        path = path_of(preset, work.directory)
        write_whole(path, encoded(image, preset))
        made[preset.name] = described(preset, path, width=size[0], height=size[1], frames=1)
    return made


def _representative(work: Work, duration_s: float | None) -> VideoFrame:
    for way in WAYS:
        with opened(work.source, work.found, work.limits) as film:
            frame = way(film, duration_s)
        if frame is not None:
            return frame
    raise MediaError("no frame of the video can be decoded", code="corrupt")


def _previews(work: Work, presets: list[VideoPreset], duration_s: float | None) -> Made:
    made = {}
    for preset in presets:
        size = fitted(work.shown.size, (preset.width, preset.height), even=False)
        images, delays = _moving(work, duration_s, preset, size)
        path = path_of(preset, work.directory)
        write_whole(path, animated(images, delays, preset))
        more = {"width": size[0], "height": size[1], "frames": len(images), "duration_s": sum(delays) / 1000}
        made[preset.name] = described(preset, path, **more)
    return made


def _moving(work: Work, duration_s: float | None, preset: VideoPreset, size: tuple[int, int]) -> Moving:
    for length in (duration_s, None):
        with opened(work.source, work.found, work.limits) as film:
            images, delays = preview(film, length, preset, Shaper(size, "rgb24", work.shown.turns))
        if images:
            return images, delays
    raise MediaError("no frame of the video can be decoded", code="corrupt")
