"""Event types that a tenant registers: a JSON Schema for their data, examples of it, retries of their own.

The invariants: every example matches the schema that stands beside it, whatever of the two was changed; whoever says
with If-Match which version they saw changes only that one. A type that is archived takes no more events; one that is
deleted is as if it had never been registered, and events of it pass unchecked.
"""

from typing import Annotated, Any, Final, Self

import orjson
from pydantic import Field, model_validator

from services.webhooks.accepting import EventType as TypeName
from services.webhooks.endpoints import Delays
from services.webhooks.models import EventType
from services.webhooks.payload import PAYLOAD_MAX_BYTES
from services.webhooks.schema_bounds import SchemaRefused
from services.webhooks.schemas import check_data, checked
from shared.kernel.clock import rfc3339
from shared.kernel.errors import BadInput, TooLarge
from shared.runtime.bodies import Body, Text
from shared.runtime.etags import check_match

TYPES_MAX: Final = 1_000
EXAMPLES_MAX: Final = 10
Schema = Annotated[dict[str, Any], Field(description="JSON Schema of an event's `data`; without one, any data passes")]
Examples = Annotated[list[dict[str, Any]], Field(max_length=EXAMPLES_MAX, description="each must match the schema")]
Retries = Annotated[Delays, Field(description="for endpoints without a schedule of their own")]


class TypeTerms(Body):
    """All of a type but its name: what is not given is nothing."""

    description: Text = ""
    json_schema: Annotated[Schema | None, Field(alias="schema")] = None
    examples: Examples = Field(default_factory=list)
    retry_schedule_s: Retries | None = None
    archived: bool = False


class NewType(TypeTerms):
    name: TypeName


class TypeChange(Body):
    """Only what is given is changed; `null` takes a schema, examples, a description or a schedule away."""

    description: Text | None = None
    json_schema: Annotated[Schema | None, Field(alias="schema")] = None
    examples: Examples | None = None
    retry_schedule_s: Retries | None = None
    archived: bool | None = None

    @model_validator(mode="after")
    def _needed(self) -> Self:
        if "archived" in self.model_fields_set and self.archived is None:
            raise ValueError("archived cannot be null")
        return self


def make_type(name: str, given: TypeTerms, tenant: str, now_us: int) -> EventType:
    """Raises BadInput, TooLarge."""
    kind = EventType(tenant=tenant, name=name, created_at=now_us, updated_at=now_us)
    _set(kind, given, TypeTerms.model_fields.keys())
    return kind


def change_type(kind: EventType, given: TypeTerms | TypeChange, now_us: int, *, all_of_it: bool) -> None:
    """Raises BadInput, TooLarge, and has then changed nothing that is kept."""
    names = type(given).model_fields.keys() if all_of_it else given.model_fields_set
    if not names:
        return
    _set(kind, given, names)
    kind.version += 1
    kind.updated_at = max(now_us, kind.updated_at + 1)


def type_etag(kind: EventType) -> str:
    return f'"{kind.version}"'


def check_type_version(kind: EventType, if_match: str | None) -> None:
    """`if_match` is the header as it came. Raises PreconditionFailed."""
    check_match("event type", if_match, type_etag(kind))


def type_document(kind: EventType) -> dict[str, Any]:
    return {
        "name": kind.name,
        "description": kind.description,
        "schema": orjson.loads(kind.json_schema) if kind.json_schema else None,
        "examples": orjson.loads(kind.examples),
        "retry_schedule_s": orjson.loads(kind.retry_schedule_s) if kind.retry_schedule_s else None,
        "archived": kind.archived,
        "version": kind.version,
        "created_at": rfc3339(kind.created_at),
        "updated_at": rfc3339(kind.updated_at),
    }


def _set(kind: EventType, given: TypeTerms | TypeChange, names: Any) -> None:
    if "description" in names:
        kind.description = given.description or ""
    if "json_schema" in names:
        kind.json_schema = None if given.json_schema is None else _json(given.json_schema, "/schema")
    if "examples" in names:
        kind.examples = _json(given.examples or [], "/examples")
    if "retry_schedule_s" in names:
        kind.retry_schedule_s = (
            None if given.retry_schedule_s is None else orjson.dumps(given.retry_schedule_s).decode()
        )
    if "archived" in names:
        kind.archived = bool(given.archived)
    if names & {"json_schema", "examples"}:
        _check(kind, given.json_schema if "json_schema" in names else _stored(kind))


def _check(kind: EventType, schema: Any) -> None:
    if schema is None:
        return
    try:
        validator = checked(schema)
    except SchemaRefused as refused:
        raise BadInput(refused.message, code=refused.code, pointer=f"/schema{refused.pointer}") from None
    for index, example in enumerate(orjson.loads(kind.examples)):
        try:
            check_data(validator, kind.name, example)
        except BadInput as wrong:
            place = f"/examples/{index}{str(wrong.details.pop('pointer')).removeprefix('/data')}"
            words = f"example {index} does not match the schema: {wrong.message}"
            raise BadInput(words, code="example_refused", pointer=place, **wrong.details) from None


def _stored(kind: EventType) -> Any:
    return orjson.loads(kind.json_schema) if kind.json_schema else None


def _json(value: Any, pointer: str) -> str:
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise BadInput(f"this cannot be kept: {error}", pointer=pointer) from None
    if len(text) > PAYLOAD_MAX_BYTES:
        raise TooLarge(f"{pointer[1:]} are {len(text)} bytes of JSON, the limit is {PAYLOAD_MAX_BYTES}")
    return text
