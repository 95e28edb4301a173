"""The api service's tables."""

from sqlalchemy import BigInteger, Column, Index, Text, text
from sqlmodel import Field

from shared.db.naming import Table, id_text


class User(Table, table=True):
    """`email_key` is the address in lower case: one account for each of them in a tenant, on both databases alike."""

    __tablename__ = "api_users"
    __table_args__ = (Index("uq_api_users_tenant_email_key", "tenant", "email_key", unique=True),)

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    tenant: str = Field(sa_column=Column(id_text(), nullable=False))
    email: str
    email_key: str = Field(sa_column=Column(id_text(), nullable=False))
    name: str
    created_at: int = Field(sa_column=Column(BigInteger, nullable=False))


class Hour(Table, table=True):
    """What ended in the hour that began at `hour` (µs), of one tenant and task. `ran`: completed or dead, and run."""

    __tablename__ = "api_hourly"
    __table_args__ = (Index("ix_api_hourly_hour", "hour", "tenant", "task"),)

    tenant: str = Field(sa_column=Column(id_text(), primary_key=True))
    hour: int = Field(sa_column=Column(BigInteger, primary_key=True))
    task: str = Field(sa_column=Column(id_text(), primary_key=True))
    completed: int = Field(sa_column=Column(BigInteger, nullable=False))
    dead: int = Field(sa_column=Column(BigInteger, nullable=False))
    cancelled: int = Field(sa_column=Column(BigInteger, nullable=False))
    retries: int = Field(sa_column=Column(BigInteger, nullable=False))
    ran: int = Field(sa_column=Column(BigInteger, nullable=False))
    run_us_sum: int = Field(sa_column=Column(BigInteger, nullable=False))
    run_us_max: int = Field(sa_column=Column(BigInteger, nullable=False))
    wait_us_sum: int = Field(sa_column=Column(BigInteger, nullable=False))
    wait_us_max: int = Field(sa_column=Column(BigInteger, nullable=False))


class Mark(Table, table=True):
    """How far something is done: an instant, by name."""

    __tablename__ = "api_marks"

    name: str = Field(sa_column=Column(id_text(), primary_key=True))
    at: int = Field(sa_column=Column(BigInteger, nullable=False))


class SyncedItem(Table, table=True):
    """One item of the feed: its newest version. A deleted one keeps its row, without data, so that it stays deleted."""

    __tablename__ = "api_synced_items"
    __table_args__ = (
        Index(
            "ix_api_synced_items_deleted",
            "deleted_at",
            "tenant",
            "id",
            postgresql_where=text("deleted_at IS NOT NULL"),
            sqlite_where=text("deleted_at IS NOT NULL"),
        ),
    )

    tenant: str = Field(sa_column=Column(id_text(), primary_key=True))
    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    data: str | None = Field(default=None, sa_column=Column(Text))
    deleted_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    updated_at: int = Field(sa_column=Column(BigInteger, nullable=False))


class Sync(Table, table=True):
    """How far a feed is read. `etag` and `last_modified` are of the page `valid_for`; `revision` counts pages."""

    __tablename__ = "api_sync"

    feed: str = Field(sa_column=Column(id_text(), primary_key=True))
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    cursor: str = Field(sa_column=Column(Text, nullable=False))
    valid_for: str | None = Field(default=None, sa_column=Column(Text))
    etag: str | None = Field(default=None, sa_column=Column(Text))
    last_modified: str | None = Field(default=None, sa_column=Column(Text))
    updated_at: int = Field(sa_column=Column(BigInteger, nullable=False))
