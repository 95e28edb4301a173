"""Problems: every HTTP error is RFC 9457 problem+json that says what was wrong, where, and what was found.

`type` is `urn:holdfast:problem:<code>`, stable; `code` repeats it for those who do not parse URNs. Refuses to echo
secrets and to show internals: an unforeseen error answers 500 with an `instance` that stands in the log beside it.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from shared.db.failures import is_transient
from shared.kernel.errors import BadInput, HoldfastError, Unauthenticated, WrongContentType
from shared.kernel.ids import new_id
from shared.kernel.logs import get_logger, mask
from shared.runtime.bodies import BodyRefused

MEDIA_TYPE = "application/problem+json"
JSON = "application/json"
RETRY_AFTER_S = 1
FOUND_LIMIT_CHARS = 100
ERRORS_LIMIT = 50  # a body of a thousand wrong members is told of the first of them
_CODES = {400: "unreadable", 401: "unauthenticated", 403: "not_allowed", 404: "not_found", 405: "wrong_method"}
_TITLES = {460: "Checksum Mismatch"}  # of protocols that have statuses of their own: tus
_FASTAPIS_OWN = ("HTTPValidationError", "ValidationError")
_TEXT = {"type": "string"}
_WRONG = {
    "type": "object", "required": ["in", "pointer", "message"],
    "properties": {"in": _TEXT, "pointer": _TEXT, "message": _TEXT, "found": {}},
}  # fmt: skip
_SCHEMA = {
    "type": "object", "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT, "code": _TEXT,
        "errors": {"type": "array", "items": _WRONG},
    },
}  # fmt: skip
_ANY = {
    "description": "a problem (RFC 9457); its `code` says which",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
log = get_logger(__name__)


def problem(status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """`more` become extension members of the document."""
    document = {
        "type": f"urn:holdfast:problem:{code}",
        "title": _TITLES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **more,
    }
    try:
        body = orjson.dumps(document, default=str)
    except orjson.JSONEncodeError:  # what was found may be half a character, or a number above 64 bits
        body = json.dumps(document, default=str).encode()
    return Response(body, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def from_error(error: Exception) -> Response:
    """The answer for whatever was raised; logs what nobody foresaw."""
    if isinstance(error, BodyRefused):
        error = error.error
    if isinstance(error, HoldfastError):
        return _from_holdfast(error)
    if isinstance(error, RequestValidationError):
        return _from_validation(error)
    if isinstance(error, HTTPException):
        detail = str(error.detail) if error.status_code != 404 else "there is nothing here"
        return problem(error.status_code, _CODES.get(error.status_code, "refused"), detail, headers=error.headers)
    if isinstance(error, ClientDisconnect):
        return problem(400, "unreadable", "the connection closed before the body had ended")
    if is_transient(error):
        log.warning("database_unavailable", error=repr(error))
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        return problem(503, "unavailable", "the database does not answer; nothing was changed", headers=headers)
    instance = f"urn:holdfast:error:{new_id('err')}"
    log.error("unforeseen_error", instance=instance, exc_info=error)
    return problem(500, "internal", "something failed that should not have; nothing was changed", instance=instance)


def install(app: FastAPI) -> None:
    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, RequestValidationError) and isinstance(error.body, bytes):
            return _wrong_type(request)  # FastAPI does not parse what is not called JSON, and then finds bytes
        return from_error(error)

    for kind in (HoldfastError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)


def publish_problems(document: Mapping[str, Any]) -> None:
    """Say in an OpenAPI what every operation may answer, instead of FastAPI's own 422, which is never given."""
    schemas = document["components"].setdefault("schemas", {})
    schemas["Problem"] = _SCHEMA
    for name in _FASTAPIS_OWN:
        schemas.pop(name, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            responses = operation["responses"]
            if _FASTAPIS_OWN[0] in str(responses.get("422")):
                del responses["422"]
            responses.setdefault("default", _ANY)


def _from_holdfast(error: HoldfastError) -> Response:
    more = dict(error.details)
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="holdfast"'
    if isinstance(error, WrongContentType):
        headers["Accept"] = more["expected"]
    if "retry_after_s" in more:
        headers["Retry-After"] = str(more["retry_after_s"])
    if error.status == HTTPStatus.REQUEST_TIMEOUT:
        headers["Connection"] = "close"  # the rest of that request would be read as the next one
    if isinstance(error, BadInput) and "pointer" in more:
        one = {"in": more.pop("place", "body"), "pointer": more.pop("pointer"), "message": error.message}
        if "found" in more:
            one["found"] = shown(more.pop("found"))
        more["errors"] = [one]
    if error.status >= 500:
        log.warning("request_failed", code=error.code, error=error.message)
    return problem(error.status, error.code, error.message, headers=headers, **more)


def _from_validation(error: RequestValidationError) -> Response:
    found = list(error.errors())
    errors = [_one(item) for item in found[:ERRORS_LIMIT]]
    first = errors[0]
    where = f"{first['in']} {first['pointer']}".rstrip()
    others = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return problem(422, "invalid", f"{where}: {first['message']}{others}", errors=errors)


def _one(item: Mapping[str, Any]) -> dict[str, Any]:
    place, *path = item["loc"]
    if item["type"] == "json_invalid":
        reason = item.get("ctx", {}).get("error", "not JSON")
        at = f" at character {path[0]}" if path else ""
        return {"in": "body", "pointer": "", "message": f"not JSON{at}: {reason}"}
    one = {"in": place, "pointer": pointer(path), "message": item["msg"].removeprefix("Value error, ")}
    if item["type"] != "missing":
        one["found"] = shown(item.get("input"), *path)
    return one


def _wrong_type(request: Request) -> Response:
    found = shown(request.headers.get("content-type"))
    words = f"the body must be JSON, with Content-Type: {JSON}; found {found or 'none'}"
    return _from_holdfast(WrongContentType(words, expected=JSON, found=found))


def pointer(path: list[Any]) -> str:
    """RFC 6901; "" is the whole document."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def shown(value: Any, *names: Any) -> Any:
    """What was found, short enough to read, without what its name or its look says is secret; collections by size."""
    if isinstance(value, Mapping):
        return f"an object of {len(value)} members"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, (bool, int, float)):
        if value != value:  # noqa: PLR0124 - NaN
            return "not a number"
        return value if abs(value or 0) < 2**53 else "a number too large"
    text = str(value).encode("utf-8", "backslashreplace").decode()
    for name in names or ("value",):
        text = mask(None, "", {str(name): text})[str(name)]
    return text if len(text) <= FOUND_LIMIT_CHARS else text[:FOUND_LIMIT_CHARS] + "…"
