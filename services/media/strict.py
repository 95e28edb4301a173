"""Frozen dataclasses from JSON and back, strictly: one way of reading for presets and limits, over HTTP and in a slot.

Invariant: an instance holds exactly the types that its fields say, in their ranges, however it was made; `read` says by
a JSON pointer what is wrong. Refuses unknown and missing members, "5" or true for a number, and numbers that are none.

    @dataclass(frozen=True)
    class Box:
        width: Annotated[int, Range(1, 8192)]

        def __post_init__(self) -> None:
            check(self)
"""

import functools
import math
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from shared.kernel.errors import BadInput

T = TypeVar("T")
_NAME_LIMIT_CHARS = 100
_BOUNDS = {"string": ("minLength", "maxLength"), "array": ("minItems", "maxItems")}
_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null"}


@dataclass(frozen=True)
class Range:
    """Of a number its value, of a text or a list its length; both ends belong to it."""

    least: float
    most: float

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """For the OpenAPI of what is read by this module."""
        schema: dict[str, Any] = handler(core_schema)
        least, most = _BOUNDS.get(schema.get("type", ""), ("minimum", "maximum"))
        return {**schema, least: self.least, most: self.most}

    def says(self, hint: Any) -> str:
        counted = {str: " characters", tuple: " items"}.get(get_origin(hint) or hint, "")
        return f"{self.least:g} to {self.most:g}{counted}"


class WrongField(ValueError):
    """A field of a dataclass cannot have this value."""

    def __init__(self, field: str, message: str, found: Any = None) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
        self.found = found


def check(instance: Any) -> None:
    """For `__post_init__`. Raises WrongField."""
    kind: Any = type(instance)  # mypy takes no class for hashable
    for name, hint in _hints(kind).items():
        value = getattr(instance, name)
        wrong = _wrong(hint, value)
        if wrong:
            raise WrongField(name, wrong, value)


def read(cls: type[T], data: Any, pointer: str = "") -> T:
    """`data` is what a JSON parser gives. Raises BadInput with `pointer` and what was found there."""
    if not isinstance(data, dict):
        raise _bad("must be an object", pointer, found=data)
    kind: Any = cls
    hints = _hints(kind)
    for name in data:
        if name not in hints:
            raise _bad(f"there is no such member; there are {', '.join(hints)}", f"{pointer}/{_escaped(name)}")
    for field in fields(cls):  # type: ignore[arg-type]
        if field.name not in data and field.default is MISSING and field.default_factory is MISSING:
            raise _bad("is missing", f"{pointer}/{field.name}")
    given = {name: _value(hints[name], value, f"{pointer}/{name}") for name, value in data.items()}
    try:
        return cls(**given)
    except WrongField as wrong:
        raise _bad(wrong.message, f"{pointer}/{wrong.field}", found=wrong.found) from None


def wire(instance: Any) -> dict[str, Any]:
    """What `read` takes: objects, lists, and what JSON knows."""
    plain: dict[str, Any] = _plain(asdict(instance))
    return plain


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def _value(hint: Any, data: Any, pointer: str) -> Any:
    """Lists (of one type) and objects become tuples and dataclasses where the hint asks; the rest is `check`'s.

    A list of another length is refused before any of it is made: a body holds thousands where a few are taken.
    """
    origin, arms = get_origin(hint), get_args(hint)
    if origin is Annotated:
        wrong = _out_of_range(hint, data) if isinstance(data, list) and _structured(hint) is list else None
        if wrong:
            raise _bad(wrong, pointer, found=data)
        return _value(arms[0], data, pointer)
    if origin in (Union, UnionType):
        for arm in arms:
            if _structured(arm) is not None and isinstance(data, _structured(arm) or ()):
                return _value(arm, data, pointer)
        return data
    if origin is tuple and isinstance(data, list):
        return tuple(_value(arms[0], item, f"{pointer}/{at}") for at, item in enumerate(data))
    if is_dataclass(hint) and isinstance(hint, type):
        own = getattr(hint, "parse", None)
        return own(data, pointer) if own else read(hint, data, pointer)
    return data


def _structured(hint: Any) -> type | None:
    if get_origin(hint) is Annotated:
        return _structured(get_args(hint)[0])
    if get_origin(hint) is tuple:
        return list
    return dict if is_dataclass(hint) else None


def _wrong(hint: Any, value: Any) -> str | None:
    """What is wrong with a value, in words; None when nothing is."""
    origin, arms = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _wrong(arms[0], value) or _out_of_range(hint, value)
    if origin in (Union, UnionType):
        said = [_wrong(arm, value) for arm in arms]
        words = dict.fromkeys(str(one).removeprefix("must be ") for one in said)
        return None if None in said else f"must be {' or '.join(words)}"
    if origin is Literal:
        same = any(value == arm and type(value) is type(arm) for arm in arms)
        return None if same else f"must be one of {', '.join(str(arm) for arm in arms)}"
    if origin is tuple:
        return _wrong_items(arms, value)
    right = type(value) is hint or (hint is float and type(value) is int)
    right = right and (type(value) is not float or math.isfinite(value))
    return None if right else f"must be {_NAMES.get(hint, 'an object')}"


def _wrong_items(arms: tuple[Any, ...], value: Any) -> str | None:
    if type(value) is not tuple:
        return "must be a list"
    if arms[-1] is not Ellipsis and len(value) != len(arms):
        return f"must be a list of {len(arms)}"
    each = arms[:1] * len(value) if arms[-1] is Ellipsis else arms
    wrong = (_wrong(arm, item) for arm, item in zip(each, value, strict=True))
    return next((f"each of the list {one}" for one in wrong if one), None)


def _out_of_range(hint: Any, value: Any) -> str | None:
    for bound in hint.__metadata__:
        if isinstance(bound, Range) and value is not None:
            size = len(value) if isinstance(value, (str, tuple, list)) else value
            if isinstance(size, (int, float)) and not bound.least <= size <= bound.most:
                return f"must be {bound.says(hint.__origin__)}"
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _bad(message: str, pointer: str, **found: Any) -> BadInput:
    return BadInput(f"{pointer or 'the body'}: {message}", pointer=pointer, **found)


def _escaped(name: Any) -> str:
    return str(name)[:_NAME_LIMIT_CHARS].replace("~", "~0").replace("/", "~1")
