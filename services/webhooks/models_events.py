"""The tables behind events: what types of them a tenant has registered, and how far the wide ones have been fanned out.

A type's schema holds from the registration on; events of types that nobody registered pass. A fan-out has a row from
the acceptance of its event: `after` is the last endpoint that was looked at, and moves in the transaction that makes
the deliveries of those before it, so that whoever goes on makes none of them twice.
"""

from sqlalchemy import BigInteger, Column, Text
from sqlmodel import Field

from shared.db.naming import Table, id_text


class EventType(Table, table=True):
    """`json_schema`, `examples` and `retry_schedule_s` hold JSON; NULL of the first and the last: none of its own."""

    __tablename__ = "webhooks_event_types"

    tenant: str = Field(sa_column=Column(id_text(), primary_key=True))
    name: str = Field(sa_column=Column(id_text(), primary_key=True))
    description: str = Field(default="", sa_column=Column(Text, nullable=False))
    json_schema: str | None = Field(default=None, sa_column=Column(Text))
    examples: str = Field(default="[]", sa_column=Column(Text, nullable=False))
    retry_schedule_s: str | None = Field(default=None, sa_column=Column(Text))
    archived: bool = False
    version: int = 1
    created_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    updated_at: int = Field(sa_column=Column(BigInteger, nullable=False))


class FanOut(Table, table=True):
    """`matched` when the event was accepted; `made` so far, of `total` endpoints that were there, `seen` so far."""

    __tablename__ = "webhooks_fanouts"

    event_id: str = Field(sa_column=Column(id_text(), primary_key=True))
    job_id: str = Field(sa_column=Column(id_text(), nullable=False))
    after: str = Field(default="", sa_column=Column(id_text(), nullable=False))
    matched: int = 0
    made: int = 0
    total: int = 0
    seen: int = 0
    finished_at: int | None = Field(default=None, sa_column=Column(BigInteger))
