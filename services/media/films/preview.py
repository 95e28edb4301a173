"""A short silent animation of a film, put together from several places of it.

A film that has just been opened is at its start: nobody jumps there, as in some films one cannot jump at all, and after
a jump that failed nothing can be read any more.
"""

import itertools
from collections.abc import Iterator

import av
from av.video.frame import VideoFrame
from pyvips import Image

from services.media.films.frames import Shaper
from services.media.films.presets import VideoPreset
from services.media.films.still import picture_of
from services.media.films.streams import Film

PLACES_MAX = 4
DELAY_MIN_MS, DELAY_MAX_MS = 20, 1000
SKIPPED_MAX = 300
"""Frames that are decoded for nothing between a keyframe and a place; then the place is where one is."""

Moving = tuple[list[Image], list[int]]


def places(duration_s: float | None, seconds: int) -> list[tuple[float, float]]:
    """Where to look, as (start, length) in seconds: evenly over the film, or its start when it is short. Pure."""
    if duration_s is None or duration_s <= seconds + 1:
        return [(0.0, float(seconds))]
    count = min(seconds, PLACES_MAX)
    length = seconds / count
    return [(duration_s * (n + 0.5) / count - length / 2, length) for n in range(count)]


def preview(film: Film, duration_s: float | None, preset: VideoPreset, shaper: Shaper) -> Moving:
    """The pictures, and for how many milliseconds each is shown; none when the places cannot be jumped to.

    `film` has just been opened; its start alone is looked at when `duration_s` is None.
    """
    images: list[Image] = []
    times: list[float] = []
    delays: list[int] = []
    rate = preset.fps or 1
    for start, length in places(duration_s, preset.seconds):
        if start:
            try:
                film.container.seek(round((film.start_s + start) * av.time_base))
            except av.FFmpegError:
                break
        taken = []
        for frame, at_s in _sampled(film, start, length, rate, after=times[-1] if times else -1.0):
            images.append(picture_of(frame, shaper))
            taken.append(at_s)
        times += taken
        delays += delays_of(taken, rate)
    return images, delays


def delays_of(times: list[float], rate: int) -> list[int]:
    """Each lasts until the next, the last one for 1 / rate; what is hardly or very long in between is bounded. Pure."""
    gaps = [after - before for before, after in itertools.pairwise(times)] + [1 / rate] * bool(times)
    return [min(DELAY_MAX_MS, max(DELAY_MIN_MS, round(gap * 1000))) for gap in gaps]


def _sampled(film: Film, start: float, length: float, rate: int, *, after: float) -> Iterator[tuple[VideoFrame, float]]:
    """Frames of one place, at most `rate` in a second and `rate * length` in all, none of them from before `after`.

    When none begins there or later, it is the one that still stays there.
    """
    first: float | None = None
    staying: tuple[VideoFrame, float] | None = None
    due, skipped, count = start, 0, 0
    for frame, at_s in _decoded(film):
        if at_s <= after or (at_s < start and skipped < SKIPPED_MAX):
            staying = (frame, at_s) if at_s > after else None
            skipped += 1
            if skipped > 2 * SKIPPED_MAX:
                break
            continue
        if first is None:
            first = due = at_s
        if at_s >= first + length or count >= rate * length:
            return
        if at_s + 0.001 >= due:
            due = max(due + 1 / rate, at_s)
            count += 1
            yield frame, at_s
    if first is None and staying is not None:
        yield staying


def _decoded(film: Film) -> Iterator[tuple[VideoFrame, float]]:
    at_s = 0.0
    for frame in film.pictures():
        timed = frame.pts is not None and frame.time_base is not None
        at_s = float(frame.pts * frame.time_base) - film.start_s if timed else at_s + 1 / 25  # type: ignore[operator]
        yield frame, at_s
