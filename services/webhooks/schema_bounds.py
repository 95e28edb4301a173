"""How large a schema may be, and how often it may look at one place of an event: what keeps checking an event short.

Pure. A schema that refers to itself, or to one part by many ways, can look at the same place of a small event 2^200
times. So all places that a schema tells apart are walked, with how many of its parts look at each: more than
VISITS_MAX at one is refused, and what is walked is bounded too. A schema for trees is fine, each level has its own
place; `{"items": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}` is not. References stay within the schema.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from services.webhooks.filters import escaped
from shared.kernel.errors import HoldfastError

SIZE_MAX_BYTES: Final = 64 * 1024
DEPTH_MAX: Final = 64
PARTS_MAX: Final = 2_000
VISITS_MAX: Final = 100
_PLACES_MAX: Final = 5_000
_STEPS_MAX: Final = 100_000
"""From places to the members that are told apart there, for each part that looks: a quarter of a second."""
_ENUM_STEP: Final = 64  # values of an enum that cost as much as a part
# Where a schema has subschemas, and what they look at.
_ONES: Final = (
    *((name, "here") for name in ("not", "if", "then", "else", "propertyNames")),
    ("additionalProperties", "others"), ("unevaluatedProperties", "others"),
    *((name, "elements") for name in ("additionalItems", "contains", "unevaluatedItems")),
)  # fmt: skip
_LISTS: Final = (
    *((name, "here") for name in ("allOf", "anyOf", "oneOf")), ("items", "elements"), ("prefixItems", "elements"),
)  # fmt: skip
_MAPS: Final = (
    ("dependentSchemas", "here"), ("dependencies", "here"), ("properties", "members"),
    ("patternProperties", "patterns"), ("$defs", "unused"), ("definitions", "unused"),
)  # fmt: skip
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")

Path = tuple[str | int, ...]


class SchemaRefused(HoldfastError):
    """`pointer` is the place within the schema."""

    status = 422
    code = "schema_refused"

    def __init__(self, words: str, place: Iterable[str | int]) -> None:
        super().__init__(words)
        self.pointer = "".join(f"/{escaped(part)}" for part in place)


@dataclass(slots=True)
class _Part:
    """What a subschema looks at: parts that look at the same place, at its members, at its elements."""

    weight: int = 1
    times: int = 1
    here: list[Path] = field(default_factory=list)
    members: dict[str, Path] = field(default_factory=dict)
    patterns: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)  # of members that are not named
    elements: list[Path] = field(default_factory=list)

    def below(self, name: str | None) -> list[Path]:
        """Parts that look at the member of this name, or at any that is not named."""
        named = self.members.get(name) if name is not None else None
        return [*self.patterns, *(self.others if named is None else [named])]


def check_bounds(schema: Any) -> None:
    """Raises SchemaRefused."""
    if not isinstance(schema, dict):
        raise SchemaRefused("a schema is an object", ())
    try:
        size = len(orjson.dumps(schema))
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise SchemaRefused(f"a schema is JSON without integers above 64 bits: {error}", ()) from None
    if size > SIZE_MAX_BYTES:
        raise SchemaRefused(f"a schema is at most {SIZE_MAX_BYTES} bytes of JSON, this one is {size}", ())
    reader = _Reader(schema)
    reader.read(())
    _walk(reader.parts)


class _Reader:
    def __init__(self, schema: dict[str, Any]) -> None:
        self.parts: dict[Path, _Part] = {}
        self._schema = schema
        self._waiting: list[tuple[_Part, Path, str]] = []
        self._anchors: dict[str, Path] = {}

    def read(self, root: Path) -> None:
        self._part(root, self._schema)
        while self._waiting:
            part, place, reference = self._waiting.pop()
            target = self._target(reference, place)
            part.here += [target] * part.times
            if target not in self.parts:
                self._part(target, self._at(target, place))

    def _part(self, place: Path, schema: Any) -> None:
        if len(place) > DEPTH_MAX:
            raise SchemaRefused(f"a schema is at most {DEPTH_MAX} levels deep", place)
        if len(self.parts) >= PARTS_MAX:
            raise SchemaRefused(f"a schema has at most {PARTS_MAX} parts", place)
        part = self.parts[place] = _Part()
        if not isinstance(schema, dict):
            return  # true and false; anything else the validator refuses
        if place and ("$id" in schema or isinstance(schema.get("id"), str)):
            raise SchemaRefused("a part of a schema has no $id of its own", place)
        for name in ("$anchor", "$dynamicAnchor"):
            if isinstance(schema.get(name), str):
                self._anchors[schema[name]] = place
        if isinstance(schema.get("enum"), list):
            part.weight += len(schema["enum"]) // _ENUM_STEP
        for kind, below, inner in _inner(schema):
            self._part((*place, *below), inner)
            _note(part, kind, below, (*place, *below))
        self._waiting += [(part, (*place, name), schema[name]) for name in _REFERENCES if name in schema]
        if "unevaluatedProperties" in schema or "unevaluatedItems" in schema:
            part.times = 2  # these are asked again what they have looked at
            part.here *= part.times

    def _target(self, reference: Any, place: Path) -> Path:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise SchemaRefused("a reference stays within the schema: #, #/a/pointer or #anchor", place)
        if reference == "#":
            return ()
        if not reference.startswith("#/"):
            if reference[1:] not in self._anchors:
                raise SchemaRefused("there is no such anchor in the schema", place)
            return self._anchors[reference[1:]]
        if "%" in reference:
            raise SchemaRefused("a reference is written without percent-encoding here", place)
        return self._numbered(reference[2:].split("/"))

    def _numbered(self, names: Sequence[str]) -> Path:
        """Indices of lists as numbers, so that one part has one path."""
        value: Any = self._schema
        path: list[str | int] = []
        for raw in names:
            name: str | int = raw.replace("~1", "/").replace("~0", "~")
            if isinstance(value, list) and raw.isascii() and raw.isdigit():
                name = int(raw)
            path.append(name)
            value = _child(value, name)
        return tuple(path)

    def _at(self, target: Path, place: Path) -> Any:
        value: Any = self._schema
        for name in target:
            value = _child(value, name)
        if not isinstance(value, (dict, bool)):
            raise SchemaRefused("the reference leads to nothing that is a schema", place)
        return value


def _child(value: Any, name: str | int) -> Any:
    if isinstance(value, dict) and isinstance(name, str):
        return value.get(name)
    if isinstance(value, list) and isinstance(name, int) and name < len(value):
        return value[name]
    return None


def _inner(schema: dict[str, Any]) -> Iterator[tuple[str, Path, Any]]:
    """Every subschema: what it looks at, its path from here, and itself."""
    yield from ((kind, (name,), schema[name]) for name, kind in _ONES if name in schema)
    for name, kind in _LISTS:
        found = schema.get(name, [])
        if isinstance(found, list):
            yield from ((kind, (name, index), one) for index, one in enumerate(found))
        elif kind == "elements":
            yield kind, (name,), found
    for name, kind in _MAPS:
        found = schema.get(name)
        if isinstance(found, dict):
            yield from ((kind, (name, key), one) for key, one in found.items() if not isinstance(one, list))


def _note(part: _Part, kind: str, below: Path, place: Path) -> None:
    if kind == "members":
        part.members[str(below[-1])] = place
    elif kind != "unused":
        getattr(part, kind).append(place)


def _walk(parts: dict[Path, _Part]) -> None:
    """Over the places that the schema tells apart, each as the parts that look at it, counted."""
    origin: dict[Path, int] = {(): 1}
    start = frozenset(origin.items())
    seen, waiting, taken = {start}, [start], 0
    while waiting:
        visits = _closure(parts, dict(waiting.pop()))
        names = {name for place in visits for name in parts[place].members}
        taken += len(visits) * (len(names) + 2)
        if taken > _STEPS_MAX:
            raise SchemaRefused(f"the schema takes more than {_STEPS_MAX} steps to check: too many names at once", ())
        steps = [[(to, count) for place, count in visits.items() for to in parts[place].below(name)]
                 for name in (None, *sorted(names))]  # fmt: skip
        steps.append([(to, count) for place, count in visits.items() for to in parts[place].elements])
        for step in steps:
            if not step:
                continue
            total: Counter[Path] = Counter()
            for to, count in step:
                total[to] += count
            after = frozenset(total.items())
            if after not in seen:
                seen.add(after)
                waiting.append(after)
            if len(seen) > _PLACES_MAX:
                raise SchemaRefused(f"the schema tells more than {_PLACES_MAX} places of an event apart", ())


def _closure(parts: dict[Path, _Part], visits: dict[Path, int]) -> Counter[Path]:
    """With all that looks at the same place. Raises SchemaRefused past VISITS_MAX."""
    found: Counter[Path] = Counter()
    waiting = list(visits.items())
    cost = 0
    while waiting:
        place, count = waiting.pop()
        cost += count * parts[place].weight
        if cost > VISITS_MAX:
            words = f"more than {VISITS_MAX} parts of the schema would look at one place of an event"
            raise SchemaRefused(f"{words}, from here", place)
        found[place] += count
        waiting += [(to, count) for to in parts[place].here]
    return found
