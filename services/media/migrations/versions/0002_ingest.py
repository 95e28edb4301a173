"""Sources that assets share, uploads in parts, preset sets of tenants, and contents that end slots.

It only adds: code of 0001 goes on, and makes assets of its own kind.
"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
works_from = 1

_ID = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_TEXT = sqlmodel.sql.sqltypes.AutoString()


def upgrade() -> None:
    for column in (
        sa.Column("source_id", _ID),
        sa.Column("kind", sa.Text(), nullable=False, server_default="image"),
        sa.Column("presets", sa.Text()),
        sa.Column("priority", sa.Text(), nullable=False, server_default="interactive"),
    ):
        op.add_column("media_assets", column)
    op.create_index("ix_media_assets_source_id", "media_assets", ["source_id"])
    op.create_index("ix_media_assets_tenant_id", "media_assets", ["tenant", "id"])
    op.create_table(
        "media_sources",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("sha256", _ID, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_media_sources"),
        sa.UniqueConstraint("tenant", "sha256", name="uq_media_sources_tenant_sha256"),
    )
    _uploads()
    _sets()


def _uploads() -> None:
    op.create_table(
        "media_uploads",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("protocol", _TEXT, nullable=False),
        sa.Column("length_bytes", sa.BigInteger(), nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("metadata_text", sa.Text()),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("asset_id", _ID),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_media_uploads"),
    )
    op.create_index("ix_media_uploads_expires_at_id", "media_uploads", ["expires_at", "id"])
    unended = sa.text("asset_id IS NULL")
    op.create_index(
        "ix_media_uploads_open", "media_uploads", ["tenant", "expires_at"],
        postgresql_where=unended, sqlite_where=unended,
    )  # fmt: skip
    op.create_index("ix_media_uploads_asset_id", "media_uploads", ["asset_id"])
    op.create_table(
        "media_upload_parts",
        sa.Column("upload_id", _ID, nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("key", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("upload_id", "starts_at", name="pk_media_upload_parts"),
    )


def _sets() -> None:
    op.create_table(
        "media_preset_sets",
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("name", _ID, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", name="pk_media_preset_sets"),
    )
    op.create_table(
        "media_casualties",
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("sha256", _ID, nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("ended_by", _TEXT, nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("quarantined_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("tenant", "sha256", name="pk_media_casualties"),
    )
    op.create_index("ix_media_casualties_last_at", "media_casualties", ["last_at"])
