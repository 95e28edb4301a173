"""How each endpoint has been doing lately: the state of its circuit breaker, and since when nothing but failures came.

There is a row once an attempt has failed; an endpoint that always answers has none. Written when something changes,
never by a success that changes nothing. The rules are `services.webhooks.breaker`'s; what the relay heeds of it
(`held_until`, `ceiling`) is copied to the endpoint's lane in the same transaction.
"""

from sqlalchemy import BigInteger, Column, Text
from sqlmodel import Field

from shared.db.naming import Table, id_text


class Health(Table, table=True):
    """`trips` counts openings since the last success; `failing_since` is NULL unless the last attempt failed.

    `troubled`: people were told of failures, so a success is worth telling of. `ceiling` NULL: as the lane's limit is.
    """

    __tablename__ = "webhooks_health"

    endpoint_id: str = Field(sa_column=Column(id_text(), primary_key=True))
    tenant: str = Field(sa_column=Column(id_text(), nullable=False))
    window_at: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    succeeded: int = 0
    failed: int = 0
    trips: int = 0
    opened_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    held_until: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    failing_since: int | None = Field(default=None, sa_column=Column(BigInteger))
    failures: int = 0
    last_failure: str | None = Field(default=None, sa_column=Column(Text))
    troubled: bool = False
    ceiling: int | None = None
    ceiling_at: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    reset_at: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    updated_at: int = Field(sa_column=Column(BigInteger, nullable=False))
