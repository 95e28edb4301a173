"""Opening a video or a sound that nobody trusts. Runs only inside a slot.

Invariants: the one file that is named is the only thing that is ever read: libav gets its bytes through an object of
Python's, no path and no address, every attempt to open something else is refused, and the demuxer is the one that the
first bytes call for, never one that libav guesses (left to itself it opens the files that an HLS playlist or a concat
list under the name of an .mp4 refers to); only `streams`' decoders run, on one thread, and none of them makes a
frame larger than the limit. Refuses what is over the limits, and files without a stream that can be decoded.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, cast

import av

from services.media.errors import MediaError
from services.media.films.limits import AudioLimits, VideoLimits
from services.media.films.refusal import refusal
from services.media.films.streams import AUDIO_DECODERS, VIDEO_DECODERS, Film
from services.media.sniffing.sniff import Sniffed

DEMUXERS = {
    **dict.fromkeys(("mp4", "mov", "m4v", "3gp", "m4a"), "mov"),
    **dict.fromkeys(("mkv", "webm"), "matroska"),
    **dict.fromkeys(("ogg", "opus"), "ogg"),
    **{name: name for name in ("mp3", "aac", "wav", "flac")},
}
_WHITELISTS = {"mov": "mov,mp4,m4a,3gp,3g2,mj2", "matroska": "matroska,webm"}

PROBE_BYTES = 5_000_000
READ_BYTES = 128 * 1024


@contextmanager
def opened(source: str, found: Sniffed, limits: VideoLimits | AudioLimits) -> Iterator[Film]:
    """Raises MediaError, also for what goes wrong in libav while the file is open."""
    demuxer = DEMUXERS[found.format]
    try:
        with (
            open(source, "rb", buffering=0) as file,  # noqa: PTH123 - a string from JSON
            av.open(
                cast("Any", _Bytes(file)),
                format=demuxer,
                options=_options(demuxer, limits),
                metadata_errors="ignore",
                buffer_size=READ_BYTES,
                io_open=_refuse,
            ) as container,
        ):
            size_bytes = os.fstat(file.fileno()).st_size
            limits.check_streams(len(container.streams))
            film = Film(container, found, size_bytes, source)
            limits.check_duration(film.told_s or 0)
            _ready(film, limits)
            yield film
    except (av.FFmpegError, MemoryError) as error:
        raise refusal(error, source, demuxer) from error
    except FileNotFoundError as error:
        raise MediaError("there is no file to read", code="no_such_file") from error


def size_of(source: str) -> int:
    try:
        return os.stat(source).st_size  # noqa: PTH116 - a string from JSON
    except OSError as error:
        raise MediaError("there is no file to read", code="no_such_file") from error


class _Bytes:
    """What libav sees of a file: its bytes, and a name that tells nothing."""

    name = "source"

    def __init__(self, file: Any) -> None:
        self.read, self.tell, self._seek = file.read, file.tell, file.seek

    def seek(self, offset: int, whence: int) -> int:
        """Where no file reaches is an answer to libav: PyAV would raise an error of ours later, and anywhere."""
        try:
            return int(self._seek(offset, whence))
        except (OSError, OverflowError):
            return -errno.EINVAL


def _refuse(*_: Any) -> NoReturn:
    raise MediaError("the file refers to other files, which are not read", code="reaches_out")


def _options(demuxer: str, limits: VideoLimits | AudioLimits) -> dict[str, str]:
    return {
        "format_whitelist": _WHITELISTS.get(demuxer, demuxer),
        "codec_whitelist": ",".join(sorted(VIDEO_DECODERS | AUDIO_DECODERS)),
        "protocol_whitelist": "file",
        "probesize": str(PROBE_BYTES),
        "threads": "1",
        **_decoder_options(limits),
    }


def _decoder_options(limits: VideoLimits | AudioLimits) -> dict[str, str]:
    return {"max_pixels": str(limits.pixels)} if isinstance(limits, VideoLimits) else {"max_pixels": "1"}


def _ready(film: Film, limits: VideoLimits | AudioLimits) -> None:
    """Check what will be decoded, and hold its decoders to one thread and to the limits."""
    for stream, known in ((film.video, VIDEO_DECODERS), (film.audio, AUDIO_DECODERS)):
        if stream is None:
            continue
        context = stream.codec_context
        if context is None or context.codec.name not in known:
            name = context.codec.name if context is not None else "one that is unknown or encrypted"
            raise MediaError(f"the {stream.type} is coded as {name}, which is not taken", code="unsupported_codec")
        context.thread_count = 1
        context.options = {**context.options, **_decoder_options(limits)}
    if film.video is not None and isinstance(limits, VideoLimits):
        limits.check_frame(film.video.width, film.video.height)
