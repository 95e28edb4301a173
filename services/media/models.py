"""The media service's table: one row for each asset; its bytes are in storage, under keys that only rows make count.

An asset's state is its job's, read from the ledger; `renditions` and `error` are set in the transaction that ends the
job, so they are there exactly when the event that reports them is.
"""

from sqlalchemy import BigInteger, Column, Text
from sqlmodel import Field

from shared.db.naming import Table, id_text


class Asset(Table, table=True):
    __tablename__ = "media_assets"

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    tenant: str = Field(sa_column=Column(id_text(), nullable=False))
    job_id: str
    preset_set: str
    source_key: str
    size_bytes: int = Field(sa_column=Column(BigInteger, nullable=False))
    sha256: str
    created_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    probe: str | None = Field(default=None, sa_column=Column(Text))
    renditions: str | None = Field(default=None, sa_column=Column(Text))
    error: str | None = Field(default=None, sa_column=Column(Text))
