"""The OpenAPI of every service, walked: each operation says what it is, and shows what it takes and answers.

That the examples are true is tested beside each service's routes (`tests.integration.http.told`).
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from shared.runtime.http import api_routes
from tests.integration.http.test_services import app
from tests.integration.http.told import JSON, examples_of, kind_of, untruths

__all__ = ["app"]


def operations(app: FastAPI) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, of in app.openapi()["paths"].items():
        yield from ((f"{method} {path}", operation) for method, operation in of.items())


def test_every_operation_has_a_summary(app: FastAPI) -> None:
    """Of its own: FastAPI would make one of the function's name."""
    routes = [(f"{method.lower()} {path}", route) for path, route in api_routes(app) for method in route.methods or ()]
    assert routes
    assert {name for name, route in routes if not route.summary} == set()


def test_every_body_and_every_answer_has_an_example(app: FastAPI) -> None:
    found = {name: list(missing(operation)) for name, operation in operations(app)}
    assert {name: lacks for name, lacks in found.items() if lacks} == {}


def missing(operation: dict[str, Any]) -> Iterator[str]:
    body = operation.get("requestBody", {})
    for kind, media in body.get("content", {}).items():
        if not examples_of(media) if kind == JSON else not body.get("description"):
            yield f"the body as {kind}"
    for status, response in operation["responses"].items():
        if not status.startswith("2") or status == "204":
            continue
        if not response.get("content"):
            yield f"{status}: what it holds"
        yield from (f"{status} {kind}" for kind, media in response.get("content", {}).items() if not examples_of(media))


def test_every_example_of_a_body_is_one_that_is_taken(app: FastAPI) -> None:
    refused = []
    for path, route in api_routes(app):
        if route.body_field is None:
            continue
        for method in route.methods or ():
            media = app.openapi()["paths"][path][method.lower()]["requestBody"]["content"][JSON]
            for one in examples_of(media):
                _, wrong = route.body_field.validate(one, {}, loc=("body",))
                refused += [f"{method} {path}: {wrong}"] if wrong else []
    assert refused == []


def test_an_untruth_is_found() -> None:
    real = {"id": "job_01m81s9dnhe47s3tch4srt7qd1", "at": "2026-11-22T10:00:00.000000Z", "n": 1, "list": [{"a": None}]}
    assert list(untruths(real, [real])) == []
    wrong: list[dict[str, Any]] = [
        {**real, "id": "evt_01m81s9dnhe47s3tch4srt7qc0"}, {**real, "at": "now"}, {**real, "n": None},
        {**real, "more": 1}, {**real, "n": True}, {**real, "list": [{"a": 1}]}, {**real, "list": []},
        {**real, "list": [{}]},
    ]  # fmt: skip
    assert [len(list(untruths(example, [real]))) for example in wrong] == [1] * len(wrong)
    assert list(untruths({"data": {"x": 1}}, [{"data": {"y": "z"}}])) == [], "what is somebody's own"
    assert kind_of({}) == "an object"
