"""What libav's errors are called here; its own words go along, and never a path. Runs only inside a slot."""

import av

from services.media.errors import MediaError
from services.media.films.boxes import ends_early


def refusal(error: BaseException, source: str, demuxer: str) -> MediaError:
    """One of unsupported_codec, truncated, corrupt, out_of_memory."""
    words = " ".join(str(getattr(error, "strerror", None) or type(error).__name__).split())[:200]
    if isinstance(error, MemoryError):
        return MediaError("the file needs more memory than a slot has", code="out_of_memory")
    if isinstance(error, av.error.DecoderNotFoundError | av.error.PatchWelcomeError):
        return MediaError(f"the file is coded in a way that is not taken ({words})", code="unsupported_codec")
    if isinstance(error, av.error.EOFError) or (demuxer == "mov" and ends_early(source)):
        return MediaError(f"the file ends too early ({words})", code="truncated")
    return MediaError(f"the file cannot be read ({words})", code="corrupt")
