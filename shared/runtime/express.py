"""Express routes: the hottest ones, called by the gate straight from the request, past the framework's own stack.

An endpoint marked `@express` is an ordinary FastAPI route, with its place in the OpenAPI and under the same checks;
only its calls take the short way: no router, no exit stacks, no dependency graph (two thirds of such a request's time,
measured). That is possible for a fixed path, parameters that are the request or a dependency on nothing but the
request, and an endpoint that returns its Response itself. Refuses any other when the app is built.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin

from fastapi import Request
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.responses import Response

from shared.kernel.errors import Misconfigured

Endpoint = Callable[[Request], Awaitable[Response]]
E = TypeVar("E", bound=Callable[..., Awaitable[Response]])
_MARK = "__express__"


def express(endpoint: E) -> E:
    """Mark a route's endpoint; stands under `@router.post(…)`."""
    setattr(endpoint, _MARK, True)
    return endpoint


def express_table(routes: list[tuple[str, APIRoute]]) -> Mapping[tuple[str, str], Endpoint]:
    """(method, path) → what the gate calls. Raises Misconfigured for a marked route that cannot go this way."""
    return {
        (method, path): _direct(path, route.endpoint)
        for path, route in routes
        if getattr(route.endpoint, _MARK, False)
        for method in route.methods or ()
    }


def _direct(path: str, endpoint: Callable[..., Any]) -> Endpoint:
    if "{" in path:
        raise Misconfigured(f"{path}: an express route has a fixed path")
    steps = {name: _step(path, name, part.annotation) for name, part in inspect.signature(endpoint).parameters.items()}

    async def call(request: Request) -> Response:
        given = {name: request if step is None else await step(request) for name, step in steps.items()}
        response: Response = await endpoint(**given)
        return response

    return call


def _step(path: str, name: str, annotation: Any) -> Callable[[Request], Awaitable[Any]] | None:
    if annotation is Request:
        return None
    marks = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    for mark in marks:
        call = mark.dependency if isinstance(mark, Depends) else None
        if inspect.iscoroutinefunction(call):
            only = [part.annotation for part in inspect.signature(call).parameters.values()]
            if only == [Request]:
                return call
    raise Misconfigured(f"{path}: {name} is neither the request nor an async dependency on nothing but the request")
