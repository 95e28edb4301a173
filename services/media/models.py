"""The media service's tables. Bytes are in storage, under keys that only rows make count.

An asset's state is its job's, read from the ledger; `renditions` and `error` are set in the transaction that ends the
job, so they are there exactly when the event that reports them is. A source is one tenant's bytes, stored once for
however many assets. An upload is what has not become an asset yet.
"""

from sqlalchemy import BigInteger, Column, Index, Text, UniqueConstraint, text
from sqlmodel import Field

from shared.db.naming import Table, id_text


class Asset(Table, table=True):
    """`kind` is image, video or audio; `presets` is the set as it was when the asset was accepted, as JSON."""

    __tablename__ = "media_assets"
    __table_args__ = (Index(None, "tenant", "id"),)

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
    source_id: str | None = Field(default=None, sa_column=Column(id_text(), index=True))
    kind: str = Field(default="image", sa_column=Column(Text, nullable=False, server_default="image"))
    presets: str | None = Field(default=None, sa_column=Column(Text))
    priority: str = Field(default="interactive", sa_column=Column(Text, nullable=False, server_default="interactive"))


class Source(Table, table=True):
    """The bytes of one or more assets of a tenant, under `sources/<id>/source`."""

    __tablename__ = "media_sources"
    __table_args__ = (UniqueConstraint("tenant", "sha256"),)

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    tenant: str = Field(sa_column=Column(id_text(), nullable=False))
    sha256: str = Field(sa_column=Column(id_text(), nullable=False))
    size_bytes: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: int = Field(sa_column=Column(BigInteger, nullable=False))


class Upload(Table, table=True):
    """One that comes in parts (`tus`) or goes straight to the bucket (`direct`); `options` is the asset's, as JSON."""

    __tablename__ = "media_uploads"
    __table_args__ = (
        Index(None, "expires_at", "id"),
        Index(
            "ix_media_uploads_open",
            "tenant",
            "expires_at",
            postgresql_where=text("asset_id IS NULL"),
            sqlite_where=text("asset_id IS NULL"),
        ),
    )

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    tenant: str = Field(sa_column=Column(id_text(), nullable=False))
    protocol: str
    length_bytes: int = Field(sa_column=Column(BigInteger, nullable=False))
    offset_bytes: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    parts: int = 0
    metadata_text: str | None = Field(default=None, sa_column=Column(Text))
    options: str = Field(sa_column=Column(Text, nullable=False))
    asset_id: str | None = Field(default=None, sa_column=Column(id_text(), index=True))
    created_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    expires_at: int = Field(sa_column=Column(BigInteger, nullable=False))


class UploadPart(Table, table=True):
    """What one PATCH has brought: `size_bytes` from `starts_at`, an object of its own."""

    __tablename__ = "media_upload_parts"

    upload_id: str = Field(sa_column=Column(id_text(), primary_key=True))
    starts_at: int = Field(sa_column=Column(BigInteger, primary_key=True))
    size_bytes: int = Field(sa_column=Column(BigInteger, nullable=False))
    key: str


class PresetSetRow(Table, table=True):
    """A set that a tenant has made; `body` is its JSON, `version` counts its changes."""

    __tablename__ = "media_preset_sets"

    tenant: str = Field(sa_column=Column(id_text(), primary_key=True))
    name: str = Field(sa_column=Column(id_text(), primary_key=True))
    body: str = Field(sa_column=Column(Text, nullable=False))
    version: int = 1
    created_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    updated_at: int = Field(sa_column=Column(BigInteger, nullable=False))


class Casualty(Table, table=True):
    """A content that has ended slots: how often, by which signal last; quarantined once it has done so too often."""

    __tablename__ = "media_casualties"

    tenant: str = Field(sa_column=Column(id_text(), primary_key=True))
    sha256: str = Field(sa_column=Column(id_text(), primary_key=True))
    deaths: int = 0
    ended_by: str
    first_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    last_at: int = Field(sa_column=Column(BigInteger, nullable=False, index=True))
    quarantined_at: int | None = Field(default=None, sa_column=Column(BigInteger))
