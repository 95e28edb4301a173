"""The one frame that stands for a film: of some keyframes over its length the one with the most to see.

Keyframes are cheap to find, but some films show none of theirs, and in some one cannot jump: then it is one of the
first frames. A film is opened for each way, as after a jump that failed nothing can be read any more.
"""

from collections.abc import Iterator
from itertools import islice

import av
from av.video.frame import VideoFrame

from services.media.films.still import interest_of
from services.media.films.streams import Film

PLACES = (0.1, 0.25, 0.4, 0.6, 0.8)
PACKETS_MAX = 600
"""So many are read after a jump before the place is given up: a keyframe is where a jump ends."""
FROM_START = 12
"""Keyframes that are looked at when one cannot jump."""
FRAMES_MAX, EACH = 300, 25
"""Of films that show no keyframe, as those that were cut behind their only one, each so-manieth frame is looked at."""


def by_jumps(film: Film, duration_s: float | None) -> VideoFrame | None:
    """`film` has just been opened, here and below; it is at no certain place afterwards."""
    return _best(_at_places(_keyframes_only(film), duration_s)) if duration_s else None


def by_keyframes(film: Film, _: float | None) -> VideoFrame | None:
    return _best(islice(_keyframes_only(film).pictures(PACKETS_MAX), FROM_START))


def by_all_frames(film: Film, _: float | None) -> VideoFrame | None:
    return _best(islice(film.pictures(PACKETS_MAX), 0, FRAMES_MAX, EACH))


WAYS = (by_jumps, by_keyframes, by_all_frames)
"""The next is for films in which the one before found nothing."""


def _keyframes_only(film: Film) -> Film:
    assert film.video is not None
    film.video.codec_context.skip_frame = "NONKEY"
    return film


def _at_places(film: Film, duration_s: float) -> Iterator[VideoFrame]:
    for place in PLACES:
        try:
            film.container.seek(round((film.start_s + place * duration_s) * av.time_base))
        except av.FFmpegError:
            return
        yield from islice(film.pictures(PACKETS_MAX), 1)


def _best(frames: Iterator[VideoFrame]) -> VideoFrame | None:
    best, most = None, -1.0
    for frame in frames:
        worth = interest_of(frame)
        if worth > most:
            best, most = frame, worth
    return best
