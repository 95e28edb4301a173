"""Taking in an upload: the raw body or one file of a form, streamed into storage under a key that nothing knows yet.

Nothing is visible until the asset's row commits; what is not committed is deleted again. Refuses empty bodies, forms
without exactly one file, and whatever passes the limit, before it is stored.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile

from services.media.blobs import CHUNK_BYTES, Blobs
from shared.kernel.errors import BadInput

FIELDS_MAX = 8


@dataclass(frozen=True, slots=True)
class Upload:
    key: str
    size_bytes: int
    sha256: str


async def take_in(request: Request, blobs: Blobs, key: str, *, limit_bytes: int) -> Upload:
    """Store the body under `key`. Raises BadInput, BlobTooLarge; nothing is stored then."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    chunks = _form_file(request) if kind == "multipart/form-data" else request.stream()
    size_bytes, sha256 = await blobs.put_stream(key, chunks, limit_bytes=limit_bytes)
    if size_bytes == 0:
        await blobs.delete_prefix(key.rsplit("/", 1)[0])
        raise BadInput("the body is empty: send the file's bytes, or a form with one file", code="empty_body")
    return Upload(key, size_bytes, sha256)


async def _form_file(request: Request) -> AsyncIterator[bytes]:
    async with request.form(max_files=1, max_fields=FIELDS_MAX) as form:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        if len(files) != 1:
            raise BadInput(f"the form holds {len(files)} files, it must hold one", code="not_one_file")
        while chunk := await files[0].read(CHUNK_BYTES):
            yield chunk
