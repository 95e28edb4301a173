"""Answering with a stored object: whole, one range of it, or nothing when the client has it (RFC 9110 §13, §14).

Pure up to the opening of the object. The invariants: the entity tag is the SHA-256 of the bytes, so it is strong and
the same wherever they are; a range is answered only of the very bytes that `If-Range` means; nobody's file can run as
a page of this origin, whatever it holds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from services.media.blobs import Blobs
from shared.kernel.errors import HoldfastError
from shared.runtime.etags import PreconditionFailed, listed
from shared.runtime.http import is_head
from shared.runtime.problems import from_error

_RANGE = re.compile(r"\s*bytes\s*=\s*(?:([0-9]{1,18})\s*-\s*([0-9]{1,18})?|-\s*([0-9]{1,18}))\s*", re.IGNORECASE)
GUARDS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


class WrongRange(HoldfastError):
    status = 416
    code = "range_not_satisfiable"


@dataclass(frozen=True, slots=True)
class File:
    """An object that is to be sent. `name` is for whoever saves it; `inline`: a browser may show it."""

    key: str
    size_bytes: int
    sha256: str
    content_type: str
    name: str
    inline: bool = True

    @property
    def etag(self) -> str:
        return f'"{self.sha256}"'


def wanted_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """(start, end) of the one range that is asked for, the end exclusive; None for the whole.

    What is no byte range, or more than one, is not understood and so ignored, as RFC 9110 allows. Raises WrongRange.
    """
    found = _RANGE.fullmatch(header) if header is not None else None
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(0, size_bytes - int(suffix)), size_bytes
    else:
        start, end = int(first), size_bytes if last is None else min(int(last) + 1, size_bytes)
        if last is not None and int(last) < start:
            return None  # no valid range: ignored
    if start >= size_bytes or end <= start:
        raise WrongRange(f"the range is outside of the {size_bytes} bytes that there are", size_bytes=size_bytes)
    return start, end


def still_the_same(if_range: str | None, etag: str) -> bool:
    """Whether a range may be answered: without If-Range, or with this very tag. A date is never the same."""
    return if_range is None or (if_range.strip().startswith('"') and listed([if_range], etag, strong=True))


async def send_file(request: Request, blobs: Blobs, file: File, *, cache: str) -> Response:
    """200, 206, 304 or 416. Raises PreconditionFailed (If-Match), BlobMissing."""
    headers = {"ETag": file.etag, "Cache-Control": cache, "Accept-Ranges": "bytes", **GUARDS}
    if_match = request.headers.getlist("if-match")
    if if_match and not listed(if_match, file.etag, strong=True):
        raise PreconditionFailed("the file is another than If-Match says", etag=file.etag)
    if listed(request.headers.getlist("if-none-match"), file.etag):
        return Response(status_code=304, headers=headers)
    try:
        part = None if is_head(request) else _part(request.headers, file)  # Range is defined for GET alone
    except WrongRange as wrong:
        refused = from_error(wrong)
        refused.headers["Content-Range"] = f"bytes */{file.size_bytes}"
        return refused
    headers["Content-Disposition"] = f'{"inline" if file.inline else "attachment"}; filename="{file.name}"'
    start, end = part or (0, file.size_bytes)
    headers["Content-Length"] = str(end - start)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size_bytes}"
    if is_head(request):
        return Response(headers=headers, media_type=file.content_type)
    status = 200 if part is None else 206
    blob = await blobs.open(file.key, start=start, end=None if part is None else end)
    return StreamingResponse(blob.chunks, status, headers=headers, media_type=file.content_type)


def _part(headers: Mapping[str, str], file: File) -> tuple[int, int] | None:
    if not still_the_same(headers.get("if-range"), file.etag):
        return None
    return wanted_range(headers.get("range"), file.size_bytes)
