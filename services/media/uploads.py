"""Taking in an upload that comes as one body: the file itself, or a form with one file, streamed into storage.

Nothing is visible until the asset's row commits. Refuses bodies that are called something else, and what
`services.media.intake` and `services.media.forms` refuse, before anything counts.
"""

from fastapi import Request

from services.media.blobs import Blobs
from services.media.forms import file_of
from services.media.intake import Admit, Taken, take
from services.media.settings import MediaSettings
from shared.kernel.errors import WrongContentType

EXPECTED = "image/*, video/*, audio/*, application/octet-stream, multipart/form-data"
NO_FILES = frozenset({"application/x-www-form-urlencoded", "application/json"})
"""What `curl -d` and JSON clients say; anything else may be a file, whatever it is called."""


async def take_in(request: Request, blobs: Blobs, settings: MediaSettings, admit: Admit | None = None) -> Taken:
    """Store the body. Raises BadInput, WrongContentType, UnsupportedFormat, BlobTooLarge, StorageFull: nothing is
    stored then.
    """
    called = request.headers.get("content-type", "")
    kind = called.partition(";")[0].strip().lower()
    if kind in NO_FILES:
        raise WrongContentType(
            f"{kind} is no file: send its bytes with a Content-Type of their own (curl --data-binary @photo.jpg -H"
            " 'Content-Type: image/jpeg'), or a form with one file (curl -F file=@photo.jpg)",
            expected=EXPECTED, found=kind,
        )  # fmt: skip
    if kind == "multipart/form-data":
        return await take(blobs, file_of(called, request.stream()), settings, admit=admit)
    return await take(blobs, request.stream(), settings, declared_bytes=declared_length(request), admit=admit)


def declared_length(request: Request) -> int | None:
    declared = request.headers.get("content-length", "")
    return int(declared[:20]) if declared.isascii() and declared.isdigit() else None
