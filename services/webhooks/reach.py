"""How an endpoint is reached: its kind, its address, what reaching it takes, and whether its receiver has answered.

The invariants: an address is stored in the one spelling that was vetted; credentials are sealed before they reach a
row; an endpoint whose receiver must prove itself is not enabled before it has, and loses that when its address
changes. A kind is for ever: another one is another endpoint.
"""

from typing import Annotated, Any, Final

import orjson
from pydantic import AfterValidator, Field

from services.webhooks.access import ClientCertificate, OAuth2, checked_access, shown_access
from services.webhooks.destinations import KINDS
from services.webhooks.destinations.base import read_config
from services.webhooks.models import UNVERIFIED, Endpoint
from services.webhooks.secrets import Box, UnsealError
from shared.kernel.clock import rfc3339
from shared.kernel.errors import BadInput, Conflict
from shared.runtime.addresses import AddressPolicy, EgressRefused, check_url
from shared.runtime.bodies import Body

HTTP: Final = "http"
Url = Annotated[str, Field(min_length=1, max_length=2_048)]


def _kind(text: str) -> str:
    if text not in KINDS:
        raise ValueError(f"must be one of {', '.join(sorted(KINDS))}")
    return text


Kind = Annotated[str, AfterValidator(_kind), Field(json_schema_extra={"enum": sorted(KINDS)})]


_STREAM: Final = {"url": "rediss://redis.example:6379/0", "stream": "events", "max_len": 100_000, "password": "…"}
_BUCKET: Final = {
    "bucket": "events",
    "region": "eu-central-1",
    "prefix": "in/",
    "access_key_id": "…",
    "secret_access_key": "…",
}
Config = Annotated[dict[str, Any], Field(examples=[_STREAM, _BUCKET])]


class NewReach(Body):
    """`url`, `client_certificate` and `oauth2` are of kind `http`; `config` is of the others."""

    url: Url | None = None
    kind: Kind = HTTP
    config: Config | None = None
    client_certificate: ClientCertificate | None = None
    oauth2: OAuth2 | None = None
    verify: bool = Field(default=False, description="disabled until its receiver has answered a challenge")


class ReachChange(Body):
    """A `config` takes the place of the whole one before; null takes a certificate or OAuth2 away."""

    url: Url | None = None
    config: Config | None = None
    client_certificate: ClientCertificate | None = None
    oauth2: OAuth2 | None = None


NULLABLE: Final = frozenset({"client_certificate", "oauth2"})
MEMBERS: Final = frozenset(ReachChange.model_fields)


def reach_context(endpoint_id: str) -> str:
    return f"endpoint-reach:{endpoint_id}"


def set_reach(endpoint: Endpoint, given: NewReach, box: Box, policy: AddressPolicy, now_us: int) -> None:
    """Of a new endpoint. Raises BadInput."""
    if given.verify and given.kind != HTTP:
        raise _misplaced("verify", f"an endpoint of kind {given.kind} has nobody who answers a challenge")
    endpoint.kind = given.kind
    endpoint.must_verify = given.verify
    _set(endpoint, given.model_fields_set, given, {}, box, policy, now_us)
    if given.verify:
        _unverify(endpoint)


def change_reach(endpoint: Endpoint, given: ReachChange, box: Box, policy: AddressPolicy, now_us: int) -> None:
    """Raises BadInput, and UnsealError when what is kept beside the change cannot be read."""
    named = given.model_fields_set & MEMBERS
    if not named:
        return
    keeps = endpoint.kind == HTTP and not named >= NULLABLE
    before = opened(endpoint, box) if keeps else {}
    at = endpoint.url
    _set(endpoint, named, given, before, box, policy, now_us)
    if endpoint.must_verify and (endpoint.url != at or "config" in named):
        endpoint.verified_at = None
        _unverify(endpoint)


def opened(endpoint: Endpoint, box: Box) -> dict[str, Any]:
    """What is sealed, in clear. Raises UnsealError."""
    found: dict[str, Any] = orjson.loads(box.open(endpoint.reach, reach_context(endpoint.id))) if endpoint.reach else {}
    return found


def check_verified(endpoint: Endpoint) -> None:
    """Before it is enabled. Raises Conflict."""
    if endpoint.must_verify and endpoint.verified_at is None:
        raise Conflict(
            f"{endpoint.id} cannot be enabled: {UNVERIFIED} (POST …/{endpoint.id}/verify sends one)",
            code="endpoint_unverified",
        )


def shown_reach(endpoint: Endpoint, box: Box, now_us: int) -> dict[str, Any]:
    """Members of the endpoint's document. What no key at hand opens is null: the endpoint stays visible."""
    shown: dict[str, Any] = {
        "kind": endpoint.kind,
        "config": None,
        "client_certificate": None,
        "oauth2": None,
        "verification": {"required": endpoint.must_verify, "verified_at": rfc3339(endpoint.verified_at)},
    }
    if endpoint.reach is None:
        return shown
    try:
        kept = opened(endpoint, box)
    except UnsealError:
        return shown
    if endpoint.kind == HTTP:
        return {**shown, **shown_access(kept, now_us)}
    kind = KINDS.get(endpoint.kind)
    return {**shown, "config": kind.shown(kept) if kind is not None else None}


def _set(
    endpoint: Endpoint,
    named: set[str],
    given: NewReach | ReachChange,
    before: dict[str, Any],
    box: Box,
    policy: AddressPolicy,
    now_us: int,
) -> None:
    if endpoint.kind != HTTP:
        _set_config(endpoint, named, given, box, policy)
        return
    if given.config is not None:
        raise _misplaced("config", "an endpoint of kind http has no config: it has a url")
    if "url" in named or not endpoint.url:
        endpoint.url = _vetted(given.url, policy)
    certificate = (
        given.client_certificate
        if "client_certificate" in named
        else _read(ClientCertificate, before, "client_certificate")
    )
    oauth2 = given.oauth2 if "oauth2" in named else _read(OAuth2, before, "oauth2")
    access = checked_access(endpoint.url, certificate, oauth2, policy, now_us)
    endpoint.reach = _sealed(access, endpoint.id, box)


def _set_config(
    endpoint: Endpoint, named: set[str], given: NewReach | ReachChange, box: Box, policy: AddressPolicy
) -> None:
    for name in ("url", *NULLABLE):
        if getattr(given, name) is not None:
            raise _misplaced(name, f"an endpoint of kind {endpoint.kind} has no {name}: it has a config")
    if "config" not in named and endpoint.reach is not None:
        return
    kind = KINDS[endpoint.kind]
    config = read_config(kind, given.config or {})
    endpoint.url = kind.location(config, policy)
    endpoint.reach = _sealed(config.model_dump(mode="json"), endpoint.id, box)


def _read(model: type[Any], before: dict[str, Any], name: str) -> Any:
    return model.model_validate(before[name]) if name in before else None


def _sealed(kept: dict[str, Any], endpoint_id: str, box: Box) -> str | None:
    return box.seal(orjson.dumps(kept).decode(), reach_context(endpoint_id)) if kept else None


def _vetted(url: str | None, policy: AddressPolicy) -> str:
    if url is None:
        raise BadInput("an endpoint of kind http needs a url", code="url_missing", pointer="/url")
    try:
        return check_url(url, policy).url
    except EgressRefused as refused:
        raise BadInput(
            f"nothing can be delivered to this URL: {refused.message}",
            code="url_refused", pointer="/url", found=refused.host, reason=refused.reason,
        ) from None  # fmt: skip


def _misplaced(name: str, message: str) -> BadInput:
    return BadInput(message, code="config_refused", pointer=f"/{name}")


def _unverify(endpoint: Endpoint) -> None:
    endpoint.enabled = False
    endpoint.disabled_reason = UNVERIFIED
