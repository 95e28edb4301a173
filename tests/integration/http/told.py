"""What an OpenAPI document tells of a service's answers, beside what the service really answered.

`Told.of` asks an app for its document and from then on listens to what a client is answered. An example is true when
for each of its objects there was an answer with exactly these members, and for each of its values one of that kind:
an instant is not just any string, nor the id of a job, and null was really there. What a member of OPEN holds is
somebody's own data.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.routing import compile_path

JSON = "application/json"
Operation = tuple[str, str]  # method, path template
OPEN = frozenset({"args", "data", "headers", "kinds", "metadata", "outcome", "result", "skipped", "states", "target"})
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_ID = re.compile(r"([a-z]+)_[0-9a-hjkmnp-tv-z]{26}")


def examples_of(media: Mapping[str, Any]) -> list[Any]:
    """Of a media type object."""
    named = [one["value"] for one in media.get("examples", {}).values()]
    return [*named, media["example"]] if "example" in media else named


@dataclass
class Told:
    operations: dict[Operation, dict[str, Any]]
    answered: dict[tuple[str, str, str], list[Any]] = field(default_factory=lambda: defaultdict(list))
    statuses: set[tuple[str, str, str]] = field(default_factory=set)  # of everything that went well, JSON or not

    @classmethod
    async def of(cls, client: httpx.AsyncClient) -> "Told":
        paths = (await client.get("/openapi.json")).json()["paths"]
        told = cls({(method, path): each for path, of in paths.items() for method, each in of.items()})
        client.event_hooks["response"].append(told.heard)
        return told

    async def heard(self, response: httpx.Response) -> None:
        if not response.is_success:
            return
        key = (*self._operation(response.request), str(response.status_code))
        self.statuses.add(key)
        if response.headers.get("content-type", "").startswith(JSON) and self._is_told(key):
            await response.aread()
            self.answered[key].append(response.json())

    def _operation(self, request: httpx.Request) -> Operation:
        method = request.method.lower()
        fits = [
            each for each in self.operations if each[0] == method and compile_path(each[1])[0].match(request.url.path)
        ]
        return min(fits, key=lambda each: each[1].count("{"))

    def bodies(self, method: str, path: str) -> list[Any]:
        """The examples of what an operation takes."""
        return examples_of(self.operations[method, path]["requestBody"]["content"][JSON])

    def _is_told(self, key: tuple[str, str, str]) -> bool:
        """False where the document says that stored files are answered, whatever they are."""
        content = self.operations[key[:2]]["responses"].get(key[2], {}).get("content", {JSON: {}})
        return JSON in content

    def uncalled(self) -> list[str]:
        """Every answer that the document tells of, and that was never given."""
        told = {(*key, status) for key, each in self.operations.items() for status in each["responses"]}
        return [" ".join(key) for key in sorted(told - self.statuses) if key[2].startswith("2")]

    def untrue(self) -> list[str]:
        """Of every example of an answer what was never seen, and every answer that has no example."""
        found: list[str] = []
        examples = {
            (*key, status): examples_of(response["content"][JSON])
            for key, told in self.operations.items()
            for status, response in told["responses"].items()
            if status.startswith("2") and JSON in response.get("content", {})
        }
        for key in sorted(examples.keys() | self.answered.keys()):
            if not examples.get(key):
                found.append(f"{' '.join(key)}: there is no example of this answer")
            for one in examples.get(key, ()):
                found += [f"{' '.join(key)}{wrong}" for wrong in untruths(one, self.answered[key])]
        return found


def untruths(example: Any, answers: Sequence[Any], name: str = "", at: str = "") -> Iterator[str]:
    """Where the example says what none of the answers did."""
    alike = [answer for answer in answers if kind_of(answer) == kind_of(example)]
    if not alike:
        yield f"{at or ' '} is {kind_of(example)}, the answers had {sorted({kind_of(each) for each in answers})}"
    elif isinstance(example, dict) and name not in OPEN:
        same = [answer for answer in alike if answer.keys() == example.keys()]
        if not same:
            yield f"{at} has {sorted(example)}, the answers had {[sorted(each) for each in alike][:3]}"
            return
        for member, value in example.items():
            yield from untruths(value, [answer[member] for answer in same], member, f"{at}/{member}")
    elif isinstance(example, list):
        if not example and all(alike):
            yield f"{at} is empty, and never was"
        for index, item in enumerate(example):
            yield from untruths(item, [each for answer in alike for each in answer], name, f"{at}/{index}")


def kind_of(value: Any) -> str:
    if isinstance(value, str):
        found = _ID.fullmatch(value)
        return "an instant" if _INSTANT.fullmatch(value) else f"the id of a {found[1]}" if found else "text"
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object")
