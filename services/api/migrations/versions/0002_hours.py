"""Counted hours, synced items, and how far both are. It only adds: code of 0001 goes on."""

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
    counts = ("completed", "dead", "cancelled", "retries", "ran", "run_us_sum", "run_us_max", "wait_us_sum", "wait_us_max")
    op.create_table(
        "api_hourly",
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("task", _ID, nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in counts),
        sa.PrimaryKeyConstraint("tenant", "hour", "task", name=op.f("pk_api_hourly")),
    )
    op.create_index("ix_api_hourly_hour", "api_hourly", ["hour", "tenant", "task"])
    op.create_table(
        "api_marks",
        sa.Column("name", _ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_api_marks")),
    )
    op.create_table(
        "api_synced_items",
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.Text()),
        sa.Column("deleted_at", sa.BigInteger()),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_api_synced_items")),
    )
    gone = sa.text("deleted_at IS NOT NULL")
    op.create_index(
        "ix_api_synced_items_deleted", "api_synced_items", ["deleted_at", "tenant", "id"],
        postgresql_where=gone, sqlite_where=gone,
    )
    op.create_table(
        "api_sync",
        sa.Column("feed", _ID, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("valid_for", sa.Text()),
        sa.Column("etag", sa.Text()),
        sa.Column("last_modified", sa.Text()),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("feed", name=op.f("pk_api_sync")),
    )
