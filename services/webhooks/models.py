"""The webhooks service's tables: endpoints, events, and which job delivers which event to which endpoint.

A delivery *is* a ledger job, and what happened to it *is* that job's attempts: there is no state of it here.
`webhooks_deliveries` is a narrow link for what a job row cannot answer: `unique(event_id, endpoint_id)` makes a
fan-out that is repeated harmless, and "the newest deliveries of this endpoint" walks an index of ids instead of
reading the arguments of every job of the tenant. It is written once, in the transaction that accepts the job.

An event's `body` is the very text that is sent and signed, serialised once when it is accepted: every attempt, to
every endpoint, sends the same bytes. Secrets and headers are tokens of `services.webhooks.secrets`, never clear.
"""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Text, false, text
from sqlmodel import Field

from services.webhooks.models_events import EventType, FanOut
from services.webhooks.models_health import Health
from services.webhooks.models_past import DeletedEndpoint, Keeping, Sequence, Terms
from services.webhooks.models_replay import Redelivery, Replay
from shared.db.naming import Table, id_text

__all__ = [
    "DeletedEndpoint", "Delivery", "Endpoint", "Event", "EventType", "FanOut", "Health", "Keeping", "Redelivery",
    "Replay", "Sequence", "Terms",
]  # fmt: skip

UNVERIFIED = "its receiver has not answered a challenge yet"
"""The `disabled_reason` that ends when one is answered."""


class Endpoint(Table, table=True):
    """Where a tenant wants its events. `version` rises with every change that a person makes: it is the ETag.

    `event_types` and `meta` hold JSON; `retry_schedule_s` a JSON list of seconds, NULL for the default schedule;
    `headers` is a sealed JSON object. `kind` names the destination, `reach` is the sealed JSON of what reaching it
    takes (credentials, client certificate). One that `must_verify` is not enabled before `verified_at` is set.
    `signing` names the kinds of signatures, parted by spaces; `secret` is empty without `v1`, `signing_key` and
    `public_key` are NULL without `v1a`. `retired` is a JSON list of what still signs beside them, newest first:
    [sealed, until when in µs, public key or null]; `previous_secret` is what code of 0001 wrote in its place.
    `filter` is the JSON of a condition on events, `channels` a JSON list, NULL for every event; `ordering` says whether
    deliveries keep order ("none", "endpoint", "key"). Their limits stand in the endpoint's lane too, which the relay
    reads. Deliveries are numbered while `sequence` is on; `sequenced_at` is when that was first.
    """

    __tablename__ = "webhooks_endpoints"
    __table_args__ = (Index("ix_webhooks_endpoints_tenant", "tenant", "id", "version"),)

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    tenant: str = Field(sa_column=Column(id_text(), nullable=False))
    url: str = Field(sa_column=Column(Text, nullable=False))
    description: str = Field(default="", sa_column=Column(Text, nullable=False))
    event_types: str = Field(sa_column=Column(Text, nullable=False))
    retry_schedule_s: str | None = Field(default=None, sa_column=Column(Text))
    timeout_s: float = Field(sa_column=Column(Float, nullable=False))
    filter: str | None = Field(default=None, sa_column=Column(Text))
    channels: str | None = Field(default=None, sa_column=Column(Text))
    rate_per_s: float | None = Field(default=None, sa_column=Column(Float))
    concurrency: int | None = None
    ordering: str = Field(default="none", sa_column_kwargs={"server_default": "none"})
    headers: str | None = Field(default=None, sa_column=Column(Text))
    meta: str = Field(default="{}", sa_column=Column(Text, nullable=False))
    enabled: bool = True
    disabled_reason: str | None = Field(default=None, sa_column=Column(Text))
    secret: str = Field(sa_column=Column(Text, nullable=False))
    previous_secret: str | None = Field(default=None, sa_column=Column(Text))
    previous_until: int | None = Field(default=None, sa_column=Column(BigInteger))
    kind: str = Field(default="http", sa_column=Column(Text, nullable=False, server_default="http"))
    reach: str | None = Field(default=None, sa_column=Column(Text))
    must_verify: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=false()))
    verified_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    signing: str = Field(default="v1", sa_column_kwargs={"server_default": "v1"})
    signing_key: str | None = Field(default=None, sa_column=Column(Text))
    public_key: str | None = None
    retired: str | None = Field(default=None, sa_column=Column(Text))
    sequence: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=false()))
    sequenced_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    version: int = 1
    created_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    updated_at: int = Field(sa_column=Column(BigInteger, nullable=False))


class Event(Table, table=True):
    """Immutable once accepted, until its body is erased (empty). `ordering_key` is kept for ordered lanes.

    `channels` is a JSON list, NULL for none.
    """

    __tablename__ = "webhooks_events"
    __table_args__ = (Index("ix_webhooks_events_tenant", "tenant", "id"),)

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    tenant: str = Field(sa_column=Column(id_text(), nullable=False))
    type: str
    body: str = Field(sa_column=Column(Text, nullable=False))
    ordering_key: str | None = None
    channels: str | None = Field(default=None, sa_column=Column(Text))
    created_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    erased_at: int | None = Field(default=None, sa_column=Column(BigInteger))


_NUMBERED = text("sequence IS NOT NULL")


class Delivery(Table, table=True):
    """`sequence`: the delivery's number among those of its endpoint, NULL for one that has none."""

    __tablename__ = "webhooks_deliveries"
    __table_args__ = (
        Index("ix_webhooks_deliveries_endpoint", "endpoint_id", "job_id"),
        Index(
            "ix_webhooks_deliveries_sequence", "endpoint_id", "sequence",
            postgresql_where=_NUMBERED, sqlite_where=_NUMBERED,
        ),
    )  # fmt: skip

    event_id: str = Field(sa_column=Column(id_text(), primary_key=True))
    endpoint_id: str = Field(sa_column=Column(id_text(), primary_key=True))
    job_id: str = Field(sa_column=Column(id_text(), nullable=False))
    sequence: int | None = Field(default=None, sa_column=Column(BigInteger))
