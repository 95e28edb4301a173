"""Endpoints: what a tenant may say about one, and how it is made and changed.

The invariants: a signing secret and the values of custom headers are sealed before they reach a row, and a secret
leaves this module in clear once, when it is made. Whoever says with If-Match which version they saw changes only that
one. How an endpoint is reached is `services.webhooks.reach`'s.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

import orjson
from pydantic import AfterValidator, Field, model_validator

from services.webhooks import selection
from services.webhooks.headers import HeaderRefused, check_headers
from services.webhooks.keyring import ALL_SCHEMES, Scheme, change_keys, make_keys, rotate_keys, schemes
from services.webhooks.models import Endpoint
from services.webhooks.patterns import PATTERNS_MAX, is_pattern
from services.webhooks.reach import (
    MEMBERS,
    NULLABLE,
    NewReach,
    ReachChange,
    change_reach,
    check_verified,
    set_reach,
)
from services.webhooks.retry import DELAYS_MAX
from services.webhooks.secrets import Box, UnsealError
from services.webhooks.selection import NewSelection, SelectionChange, select
from services.webhooks.targets import headers_context
from shared.contracts.retry import Delay
from shared.kernel.errors import BadInput
from shared.kernel.ids import new_id
from shared.runtime.addresses import AddressPolicy
from shared.runtime.bodies import Body, Line, Text
from shared.runtime.etags import check_match

OVERLAP_S: Final = 86_400.0
OVERLAP_MOST_S: Final = 7 * 86_400.0
METADATA_MAX: Final = 50
BY_REQUEST: Final = "disabled by request"


def _pattern(text: str) -> str:
    if not is_pattern(text):
        raise ValueError("must be an event type, a type followed by .* or *")
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]
Patterns = Annotated[list[Pattern], Field(min_length=1, max_length=PATTERNS_MAX)]
Delays = Annotated[list[Delay], Field(max_length=DELAYS_MAX)]
Timeout = Annotated[float, Field(ge=0.1, le=60)]
Metadata = Annotated[dict[Line, Text], Field(max_length=METADATA_MAX)]


def _distinct(given: list[Scheme]) -> list[Scheme]:
    return [each for each in ALL_SCHEMES if each in given]


Schemes = Annotated[list[Scheme], Field(min_length=1, max_length=2), AfterValidator(_distinct)]


_NULLABLE: Final = {"retry_schedule_s", "headers", "description", "metadata"} | NULLABLE | selection.NULLABLE


class NewEndpoint(NewReach, NewSelection):
    """`retry_schedule_s`: the wait before each retry, in seconds; none for the default of ten attempts in 3 days."""

    event_types: Patterns
    description: Text = ""
    retry_schedule_s: Delays | None = None
    timeout_s: Timeout = 15.0
    signing: Schemes = Field(default_factory=lambda: list(ALL_SCHEMES[:1]))
    headers: dict[str, str] = Field(default_factory=dict)
    metadata: Metadata = Field(default_factory=dict)
    sequence: bool = Field(False, description="number the deliveries: `sequence` in their signed bodies, without gaps")
    enabled: bool = True


class EndpointChange(ReachChange, SelectionChange):
    """Only what is given is changed. Schedule and timeout hold for the deliveries of later events."""

    event_types: Patterns | None = None
    description: Text | None = None
    retry_schedule_s: Delays | None = None
    timeout_s: Timeout | None = None
    signing: Schemes | None = None
    headers: dict[str, str] | None = None
    metadata: Metadata | None = None
    enabled: bool | None = None
    sequence: bool | None = None

    @model_validator(mode="after")
    def _needed(self) -> Self:
        for name in self.model_fields_set - _NULLABLE:
            if getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null")
        return self


class Rotation(Body):
    """For how long the old secret goes on signing beside the new one, in seconds; of which kinds, all by default."""

    overlap_s: float = Field(OVERLAP_S, ge=0, le=OVERLAP_MOST_S)
    signing: Schemes | None = None


def make(
    given: NewEndpoint, tenant: str, box: Box, policy: AddressPolicy, now_us: int
) -> tuple[Endpoint, dict[str, str]]:
    """The row, and its secrets in clear, as they are shown once. Raises BadInput."""
    endpoint_id = new_id("ep")
    endpoint = Endpoint(
        id=endpoint_id,
        tenant=tenant,
        url="",
        description=given.description,
        event_types=_json(given.event_types),
        retry_schedule_s=None if given.retry_schedule_s is None else _json(given.retry_schedule_s),
        timeout_s=given.timeout_s,
        headers=_sealed(given.headers, endpoint_id, box),
        meta=_json(given.metadata),
        secret="",
        sequence=given.sequence,
        sequenced_at=now_us if given.sequence else None,
        enabled=given.enabled,
        disabled_reason=None if given.enabled else BY_REQUEST,
        created_at=now_us,
        updated_at=now_us,
    )
    shown = make_keys(endpoint, given.signing, box)
    select(endpoint, given)
    set_reach(endpoint, given, box, policy, now_us)
    return endpoint, shown


def change(endpoint: Endpoint, given: EndpointChange, box: Box, policy: AddressPolicy, now_us: int) -> dict[str, str]:
    """What is new and shown once, in clear. Raises BadInput, and has then changed nothing that is kept."""
    if not given.model_fields_set:
        return {}
    select(endpoint, given)
    change_reach(endpoint, given, box, policy, now_us)
    values = given.model_dump(exclude_unset=True, exclude=set(MEMBERS | selection.MEMBERS))
    if "headers" in values:
        values["headers"] = _sealed(values["headers"] or {}, endpoint.id, box)
    if "metadata" in values:
        values["meta"] = _json(values.pop("metadata") or {})
    if "event_types" in values:
        values["event_types"] = _json(values["event_types"])
    if values.get("retry_schedule_s") is not None:
        values["retry_schedule_s"] = _json(values["retry_schedule_s"])
    if "description" in values:
        values["description"] = values["description"] or ""
    if values.get("enabled"):
        check_verified(endpoint)
    if "enabled" in values:
        _switch(endpoint, on=values.pop("enabled"))
    signing = values.pop("signing", None)
    shown = change_keys(endpoint, signing, box) if signing is not None else {}
    endpoint.sequenced_at = endpoint.sequenced_at or (now_us if values.get("sequence") else None)
    for name, value in values.items():
        setattr(endpoint, name, value)
    _changed(endpoint, now_us)
    return shown


def switch(endpoint: Endpoint, *, on: bool, now_us: int) -> bool:
    """True when it was the other way before."""
    if endpoint.enabled == on:
        return False
    if on:
        check_verified(endpoint)
    _switch(endpoint, on=on)
    _changed(endpoint, now_us)
    return True


def rotate(endpoint: Endpoint, given: Rotation, box: Box, now_us: int) -> dict[str, str]:
    """New secrets, in clear; the old ones sign beside them until the overlap ends. Raises BadInput, Conflict."""
    has = schemes(endpoint)
    which = given.signing or has
    if missing := [each for each in which if each not in has]:
        raise BadInput(f"the endpoint does not sign with {missing[0]}", pointer="/signing", found=missing)
    shown = rotate_keys(endpoint, which, given.overlap_s, box, now_us)
    _changed(endpoint, now_us)
    return shown


def etag(endpoint: Endpoint) -> str:
    return f'"{endpoint.version}"'


def check_version(endpoint: Endpoint, if_match: str | None) -> None:
    """`if_match` is the header as it came. Raises PreconditionFailed."""
    check_match("endpoint", if_match, etag(endpoint))


def header_names(endpoint: Endpoint, box: Box) -> list[str] | None:
    """Their values are kept secret: they may be somebody's credentials. None when no key at hand opens them."""
    if endpoint.headers is None:
        return []
    try:
        return sorted(orjson.loads(box.open(endpoint.headers, headers_context(endpoint.id))))
    except UnsealError:
        return None  # shown rather than raised: the endpoint must stay visible, so that its headers can be given anew


def _switch(endpoint: Endpoint, *, on: bool) -> None:
    if endpoint.enabled != on:
        endpoint.enabled = on
        endpoint.disabled_reason = None if on else BY_REQUEST


def _changed(endpoint: Endpoint, now_us: int) -> None:
    endpoint.version += 1
    endpoint.updated_at = now_us


def _sealed(headers: Mapping[str, str], endpoint_id: str, box: Box) -> str | None:
    try:
        checked = check_headers(headers)
    except HeaderRefused as refused:
        pointer = "/headers/" + refused.name.replace("~", "~0").replace("/", "~1") if refused.name else "/headers"
        raise BadInput(refused.message, code=refused.code, pointer=pointer, reason=refused.reason) from None
    return box.seal(_json(checked), headers_context(endpoint_id)) if checked else None


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
