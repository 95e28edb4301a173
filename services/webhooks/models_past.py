"""The tables of what was: how endpoints stood when an event came, their numbers, and how long payloads are kept.

`webhooks_terms` has a row for each version of an endpoint: what decides whether an event is for it, from then on.
`webhooks_sequences` has the last number that was given to a delivery of an endpoint; its row is locked from the
giving until the commit, so that numbers are given in the order of the commits, without a gap.
"""

from sqlalchemy import BigInteger, Column, Text
from sqlmodel import Field

from shared.db.naming import Table, id_text


class Terms(Table, table=True):
    """`event_types`, `filter` and `channels` as in the endpoint's row."""

    __tablename__ = "webhooks_terms"

    endpoint_id: str = Field(sa_column=Column(id_text(), primary_key=True))
    version: int = Field(primary_key=True)
    at: int = Field(sa_column=Column(BigInteger, nullable=False))
    enabled: bool
    disabled_reason: str | None = Field(default=None, sa_column=Column(Text))
    event_types: str = Field(sa_column=Column(Text, nullable=False))
    filter: str | None = Field(default=None, sa_column=Column(Text))
    channels: str | None = Field(default=None, sa_column=Column(Text))


class Sequence(Table, table=True):
    __tablename__ = "webhooks_sequences"

    endpoint_id: str = Field(sa_column=Column(id_text(), primary_key=True))
    last: int = Field(sa_column=Column(BigInteger, nullable=False))


class DeletedEndpoint(Table, table=True):
    """Kept until what the endpoint has left behind is gone."""

    __tablename__ = "webhooks_deleted"

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    tenant: str = Field(sa_column=Column(id_text(), nullable=False))
    deleted_at: int = Field(sa_column=Column(BigInteger, nullable=False))


class Keeping(Table, table=True):
    """For how long a tenant's payloads are kept; `erased_to` is the last event that was looked at."""

    __tablename__ = "webhooks_keeping"

    tenant: str = Field(sa_column=Column(id_text(), primary_key=True))
    payload_keep_s: int = Field(sa_column=Column(BigInteger, nullable=False))
    erased_to: str = Field(default="", sa_column=Column(id_text(), nullable=False))
    updated_at: int = Field(sa_column=Column(BigInteger, nullable=False))
