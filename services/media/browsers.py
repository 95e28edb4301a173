"""Pages of other origins that may ask this API from a browser: those that the operator named, and no other (CORS).

It stands outside of the gate: a browser's preflight carries no key, and problems must be readable by the page too.
Without origins there is nothing: a page can then do what any other can, which is to be refused by its browser.
"""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

METHODS = ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS")
ASKED = (
    "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "If-Range", "Range",
    "Tus-Resumable", "Upload-Checksum", "Upload-Length", "Upload-Metadata", "Upload-Offset", "X-Request-Id",
    "X-Requested-With",
)  # fmt: skip
ANSWERED = (
    "Accept-Ranges", "Content-Range", "ETag", "Holdfast-Asset", "Idempotent-Replay", "Location", "Retry-After",
    "Tus-Checksum-Algorithm", "Tus-Extension", "Tus-Max-Size", "Tus-Resumable", "Tus-Version", "Upload-Expires",
    "Upload-Length", "Upload-Metadata", "Upload-Offset",
)  # fmt: skip


def allow_browsers(app: FastAPI, origins: Sequence[str]) -> None:
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(origins), allow_methods=METHODS, allow_headers=ASKED,
            expose_headers=ANSWERED, max_age=3600,
        )  # fmt: skip
