"""What a route answers and takes, said in its OpenAPI: one example of each, as options of FastAPI's routes.

The invariant: an example is published as it was given. FastAPI leaves every null out of the document that it makes, and
an example without its nulls shows answers that are never given. A test compares every example with what the routes
really answer (tests/integration/http/told.py).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastapi.routing import APIRoute

Responses = dict[int | str, dict[str, Any]]
_NAMES = ("example", "examples")


def example(document: Mapping[str, Any], status: int = 200, description: str | None = None) -> Responses:
    """The `responses` of a route whose answer looks like this. Without a description, the status has its usual one."""
    told: dict[str, Any] = {"content": {"application/json": {"example": document}}}
    return {status: told if description is None else {"description": description, **told}}


def examples(named: Mapping[str, Any], status: int = 200) -> Responses:
    """The `responses` of a route whose answers look like these: by name, `{summary, value}`."""
    return {status: {"content": {"application/json": {"examples": named}}}}


def page_of(item: Mapping[str, Any]) -> Responses:
    """The `responses` of a list: one item, on the last page."""
    return example({"items": [item], "next_cursor": None})


def body_example(document: Mapping[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of a route that takes this."""
    return {"requestBody": {"content": {"application/json": {"example": document}}}}


def publish_whole(document: Mapping[str, Any], routes: Iterable[tuple[str, APIRoute]]) -> None:
    """Put the examples of these routes, each with its path, into the app's OpenAPI as they were given."""
    for path, route in routes:
        for method in route.methods or ():
            operation = document["paths"].get(path, {}).get(method.lower(), {})
            for place, given in _given(operation, route):
                for kind, media in given.items():
                    place.get(kind, {}).update({name: media[name] for name in _NAMES if name in media})


def _given(operation: Mapping[str, Any], route: APIRoute) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
    """`content` of the document, and what the route was given for it."""
    for status, told in route.responses.items():
        yield operation.get("responses", {}).get(str(status), {}).get("content", {}), told.get("content", {})
    body = operation.get("requestBody", {}).get("content", {})
    yield body, (route.openapi_extra or {}).get("requestBody", {}).get("content", {})
    named = getattr(route.body_field.field_info, "openapi_examples", None) if route.body_field is not None else None
    if named:
        yield body, {"application/json": {"examples": named}}
