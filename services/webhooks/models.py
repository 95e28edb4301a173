"""The webhooks service's tables: endpoints, events, and which job delivers which event to which endpoint.

A delivery *is* a ledger job, and what happened to it *is* that job's attempts: there is no state of it here.
`webhooks_deliveries` is a narrow link for what a job row cannot answer: `unique(event_id, endpoint_id)` makes a
fan-out that is repeated harmless, and "the newest deliveries of this endpoint" walks an index of ids instead of
reading the arguments of every job of the tenant. It is written once, in the transaction that accepts the job.

An event's `body` is the very text that is sent and signed, serialised once when it is accepted: every attempt, to
every endpoint, sends the same bytes. Secrets and headers are tokens of `services.webhooks.secrets`, never clear.
"""

from sqlalchemy import BigInteger, Column, Float, Index, Text
from sqlmodel import Field

from shared.db.naming import Table, id_text


class Endpoint(Table, table=True):
    """Where a tenant wants its events. `version` rises with every change that a person makes: it is the ETag.

    `event_types` and `meta` hold JSON; `retry_schedule_s` a JSON list of seconds, NULL for the default schedule;
    `headers` is a sealed JSON object. While `previous_until` has not passed, both secrets sign.
    """

    __tablename__ = "webhooks_endpoints"
    __table_args__ = (Index("ix_webhooks_endpoints_tenant", "tenant", "id"),)

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    tenant: str = Field(sa_column=Column(id_text(), nullable=False))
    url: str = Field(sa_column=Column(Text, nullable=False))
    description: str = Field(default="", sa_column=Column(Text, nullable=False))
    event_types: str = Field(sa_column=Column(Text, nullable=False))
    retry_schedule_s: str | None = Field(default=None, sa_column=Column(Text))
    timeout_s: float = Field(sa_column=Column(Float, nullable=False))
    headers: str | None = Field(default=None, sa_column=Column(Text))
    meta: str = Field(default="{}", sa_column=Column(Text, nullable=False))
    enabled: bool = True
    disabled_reason: str | None = Field(default=None, sa_column=Column(Text))
    secret: str = Field(sa_column=Column(Text, nullable=False))
    previous_secret: str | None = Field(default=None, sa_column=Column(Text))
    previous_until: int | None = Field(default=None, sa_column=Column(BigInteger))
    version: int = 1
    created_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    updated_at: int = Field(sa_column=Column(BigInteger, nullable=False))


class Event(Table, table=True):
    """Immutable once accepted. `ordering_key` is kept for ordered lanes."""

    __tablename__ = "webhooks_events"

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    tenant: str = Field(sa_column=Column(id_text(), nullable=False))
    type: str
    body: str = Field(sa_column=Column(Text, nullable=False))
    ordering_key: str | None = None
    created_at: int = Field(sa_column=Column(BigInteger, nullable=False))


class Delivery(Table, table=True):
    __tablename__ = "webhooks_deliveries"
    __table_args__ = (Index("ix_webhooks_deliveries_endpoint", "endpoint_id", "job_id"),)

    event_id: str = Field(sa_column=Column(id_text(), primary_key=True))
    endpoint_id: str = Field(sa_column=Column(id_text(), primary_key=True))
    job_id: str = Field(sa_column=Column(id_text(), nullable=False))
