"""Reading JSON bodies: UTF-8 and nothing else, each member once, only what JSON can say; the rest is refused in words.

FastAPI's own way guesses UTF-16 and UTF-32, takes NaN for a number, lets the last of two members win, and answers what
Python cannot read with a bare 400. A router whose routes have bodies is made with `route_class=JsonRoute`; building an
app refuses one that forgot it. Routes without a body field cost nothing.
"""

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from shared.kernel.errors import BadInput
from shared.runtime.bodies import BodyRefused

DEPTH_LIMIT = 200  # of the strictest parser; what is nested deeper than any of our documents is refused anyway
DIGITS_LIMIT = 4_300  # Python's own, against quadratic time
_BOM = "\ufeff"
_NAME_LIMIT_CHARS = 100


class JsonRequest(Request):
    async def json(self) -> Any:
        try:
            return read_json(await self.body())
        except BadInput as refused:
            raise BodyRefused(refused) from None


class JsonRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler

        async def handle(request: Request) -> Response:
            return await handler(JsonRequest(request.scope, request.receive))

        return handle


def read_json(body: bytes) -> Any:
    """Raises BadInput, and JSONDecodeError for a mistake of grammar, which has a position of its own."""
    text = utf8(body)
    try:
        value = json.loads(text, object_pairs_hook=_members, parse_constant=_no_number, parse_float=_finite)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise too_deep() from None
    except ValueError:
        raise BadInput(f"the body holds a number of more than {DIGITS_LIMIT} digits", pointer="") from None
    if text.count("[") + text.count("{") > DEPTH_LIMIT and _is_too_deep(value):
        raise too_deep()
    return value


def utf8(body: bytes) -> str:
    """The text of a body. Raises BadInput for every other encoding, and for a byte order mark."""
    try:
        text = body.decode()
    except UnicodeDecodeError as wrong:
        raise BadInput(f"the body is not UTF-8: byte {wrong.start} is 0x{body[wrong.start]:02x}", pointer="") from None
    if text.startswith(_BOM):
        raise BadInput("the body begins with a byte order mark: send UTF-8 without one", pointer="")
    if "\x00" in text[:4]:
        raise BadInput("the body is not UTF-8: a NUL among its first bytes looks like UTF-16 or UTF-32", pointer="")
    return text


def too_deep() -> BadInput:
    return BadInput(f"the body is nested deeper than {DEPTH_LIMIT} levels", pointer="")


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH_LIMIT):
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [below for one in inner for below in one]
    return any(isinstance(one, dict | list) for one in level)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        shown = json.dumps(twice[:_NAME_LIMIT_CHARS])
        raise BadInput(f"the member {shown} comes twice in one object", pointer="")
    return members


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise BadInput(f"{text[:_NAME_LIMIT_CHARS]} is too large for a number", pointer="")
    return value


def _no_number(name: str) -> NoReturn:
    raise BadInput(f"{name} is not a JSON number", pointer="")
