"""Schemas of event types: JSON Schema, compiled from what was registered, and events held to it as they are accepted.

Pure. Drafts 4 to 2020-12, by `$schema`; without one 2020-12, where `format` is an annotation. Nothing is ever fetched:
what is outside of the schema is refused. Patterns run on an engine that is linear in the text, so lookaround and
back-references are refused; how often a schema may look at one place is for `services.webhooks.schema_bounds`. The
validator is jsonschema-rs.
"""

from collections.abc import Mapping
from typing import Any, Final, NoReturn, Protocol

import jsonschema_rs

from services.webhooks.filters import escaped
from services.webhooks.schema_bounds import SchemaRefused, check_bounds
from shared.kernel.errors import BadInput

_REGEX_BYTES: Final = 1024 * 1024
_LINEAR: Final = jsonschema_rs.RegexOptions(size_limit=_REGEX_BYTES, dfa_size_limit=_REGEX_BYTES)
_WORDS_MAX_CHARS: Final = 300
_NEWEST: Final = "https://json-schema.org/draft/2020-12/schema"
_DRAFTS: Final[Mapping[str, type[Any]]] = {
    "http://json-schema.org/draft-04/schema": jsonschema_rs.Draft4Validator,
    "http://json-schema.org/draft-06/schema": jsonschema_rs.Draft6Validator,
    "http://json-schema.org/draft-07/schema": jsonschema_rs.Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": jsonschema_rs.Draft201909Validator,
    _NEWEST: jsonschema_rs.Draft202012Validator,
}


class Validator(Protocol):
    def is_valid(self, instance: Any) -> bool: ...
    def validate(self, instance: Any) -> None: ...


def checked(schema: Any) -> Validator:
    """Of a schema that somebody registers. Raises SchemaRefused."""
    check_bounds(schema)
    return compiled(schema)


def compiled(schema: Any) -> Validator:
    """Of a schema that was checked once. Raises SchemaRefused."""
    try:
        validator: Validator = _draft(schema)(schema, retriever=_fetch, pattern_options=_LINEAR, mask="the value")
    except jsonschema_rs.ValidationError as wrong:
        hint = ""
        if "regex" in wrong.message:
            hint = " (patterns are regular expressions without lookaround and back-references, of bounded size)"
        raise SchemaRefused(f"this is not JSON Schema: {_words(wrong)}{hint}", wrong.instance_path) from None
    except (jsonschema_rs.ReferencingError, ValueError, TypeError, OverflowError) as wrong:
        raise SchemaRefused(f"this is not JSON Schema: {str(wrong)[:_WORDS_MAX_CHARS]}", ()) from None
    return validator


def check_data(validator: Validator, event_type: str, data: Mapping[str, Any]) -> None:
    """Raises BadInput, which names the place, the rule that is broken, and where that stands in the schema."""
    try:
        if validator.is_valid(data):
            return
        validator.validate(data)
    except jsonschema_rs.ValidationError as wrong:
        pointer = "/data" + _pointer(wrong.instance_path)
        rule = next((str(part) for part in reversed(wrong.schema_path) if isinstance(part, str)), "false")
        raise BadInput(
            f"the data does not match the schema of {event_type}: at {pointer}, {_words(wrong)}",
            code="schema_violated", pointer=pointer, found=wrong.instance,
            rule=rule, schema_pointer=_pointer(wrong.schema_path),
        ) from None  # fmt: skip
    except (ValueError, TypeError, OverflowError) as wrong:  # a text that is no Unicode, nesting past its bound
        raise BadInput(f"the data cannot be checked: {str(wrong)[:_WORDS_MAX_CHARS]}", pointer="/data") from None


def _draft(schema: Any) -> type[Any]:
    named = schema.get("$schema", _NEWEST) if isinstance(schema, dict) else _NEWEST
    draft = _DRAFTS.get(named.removesuffix("#")) if isinstance(named, str) else None
    if draft is None:
        raise SchemaRefused(f"$schema is one of {', '.join(_DRAFTS)}", ("$schema",))
    return draft


def _words(wrong: jsonschema_rs.ValidationError) -> str:
    return wrong.message if len(wrong.message) <= _WORDS_MAX_CHARS else wrong.message[:_WORDS_MAX_CHARS] + "…"


def _pointer(path: Any) -> str:
    return "".join(f"/{escaped(part)}" for part in path)


def _fetch(uri: str) -> NoReturn:
    raise ValueError(f"{uri[:_WORDS_MAX_CHARS]} is outside of the schema, and nothing is fetched")
