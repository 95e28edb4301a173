"""The tables of sending again: what was asked for and how far it is, and which job sends which event once more.

A replay's id is that of the job that works on it. `position` is the last row that it has looked at, written in the
transaction of the deliveries that it made of what came before: a replay that is cut off anywhere goes on from there.
An event that was never accepted for an endpoint gets its link in `webhooks_deliveries`; one that was gets a link here
for each time that it is sent again, and `unique(replay_id, event_id, endpoint_id)` makes a repeated step harmless.
"""

from sqlalchemy import BigInteger, Column, Float, Index, Text
from sqlmodel import Field

from shared.db.naming import Table, id_text


class Replay(Table, table=True):
    """`what`: event, failed, missing. `kinds` is JSON, how many were found by what they are; `sent` of them went out.

    `total` counts the rows that are looked at, `seen` those that were. `state`: running, completed, cancelled.
    """

    __tablename__ = "webhooks_replays"
    __table_args__ = (Index("ix_webhooks_replays_tenant", "tenant", "id"),)

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    tenant: str = Field(sa_column=Column(id_text(), nullable=False))
    what: str
    endpoint_id: str | None = Field(default=None, sa_column=Column(id_text()))
    event_id: str | None = Field(default=None, sa_column=Column(id_text()))
    since: int = Field(sa_column=Column(BigInteger, nullable=False))
    until: int = Field(sa_column=Column(BigInteger, nullable=False))
    rate: float = Field(sa_column=Column(Float, nullable=False))
    state: str
    position: str = Field(sa_column=Column(id_text(), nullable=False))
    seen: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    total: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    sent: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    kinds: str = Field(default="{}", sa_column=Column(Text, nullable=False))
    created_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    finished_at: int | None = Field(default=None, sa_column=Column(BigInteger))


class Redelivery(Table, table=True):
    """`replay_id` is the replay, or the job itself when somebody sends one delivery again."""

    __tablename__ = "webhooks_redeliveries"
    __table_args__ = (
        Index("ix_webhooks_redeliveries_endpoint", "endpoint_id", "job_id"),
        Index("ix_webhooks_redeliveries_event", "event_id", "job_id"),
    )

    replay_id: str = Field(sa_column=Column(id_text(), primary_key=True))
    event_id: str = Field(sa_column=Column(id_text(), primary_key=True))
    endpoint_id: str = Field(sa_column=Column(id_text(), primary_key=True))
    job_id: str = Field(sa_column=Column(id_text(), nullable=False))
