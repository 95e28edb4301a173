"""Taking in an upload: the raw body or one file of a form, streamed into storage under a key that nothing knows yet.

Nothing is visible until the asset's row commits; what is not committed is deleted again. Refuses empty bodies, forms
without exactly one file, bodies that are called something else, and whatever passes the limit, before it is stored.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from services.media.blobs import CHUNK_BYTES, Blobs
from shared.kernel.errors import BadInput, WrongContentType
from shared.runtime.bodies import BodyRefused

FIELDS_MAX = 8
EXPECTED = "image/*, application/octet-stream, multipart/form-data"
NO_FILES = frozenset({"application/x-www-form-urlencoded", "application/json"})
"""What `curl -d` and JSON clients say; anything else may be a file, whatever it is called."""


@dataclass(frozen=True, slots=True)
class Upload:
    key: str
    size_bytes: int
    sha256: str


async def take_in(request: Request, blobs: Blobs, key: str, *, limit_bytes: int) -> Upload:
    """Store the body under `key`. Raises BadInput, WrongContentType, BlobTooLarge; nothing is stored then."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in NO_FILES:
        raise WrongContentType(
            f"{kind} is no file: send its bytes with a Content-Type of their own (curl --data-binary @photo.jpg -H"
            " 'Content-Type: image/jpeg'), or a form with one file (curl -F file=@photo.jpg)",
            expected=EXPECTED, found=kind,
        )  # fmt: skip
    chunks = _form_file(request) if kind == "multipart/form-data" else request.stream()
    size_bytes, sha256 = await blobs.put_stream(key, chunks, limit_bytes=limit_bytes)
    if size_bytes == 0:
        await blobs.delete_prefix(key.rsplit("/", 1)[0])
        raise BadInput("the body is empty: send the file's bytes, or a form with one file", code="empty_body")
    return Upload(key, size_bytes, sha256)


async def _form_file(request: Request) -> AsyncIterator[bytes]:
    async with _form(request) as form:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        if len(files) != 1:
            raise BadInput(f"the form holds {len(files)} files, it must hold one", code="not_one_file")
        while chunk := await files[0].read(CHUNK_BYTES):
            yield chunk


@asynccontextmanager
async def _form(request: Request) -> AsyncIterator[FormData]:
    """Starlette tells what is wrong with a form in its sentence only."""
    try:
        form = await request.form(max_files=1, max_fields=FIELDS_MAX)
    except BodyRefused:
        raise
    except HTTPException as wrong:
        words = wrong.detail.rstrip(".")
        if words.startswith("Too many files"):
            raise BadInput("the form holds more than one file, it must hold one", code="not_one_file") from None
        raise BadInput(f"the form cannot be read: {words}", code="unreadable_form") from None
    try:
        yield form
    finally:
        await form.close()
