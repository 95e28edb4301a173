"""How an endpoint is reached and signed for, whether its receiver has proven itself, and how it has been doing.

It only adds: code of 0001 goes on. It knows no other kind than http, and refuses the address of another.
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
        # reach
        sa.Column("kind", sa.Text(), nullable=False, server_default="http"),
        sa.Column("reach", sa.Text()),
        sa.Column("must_verify", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("verified_at", sa.BigInteger()),
    ):
        op.add_column("webhooks_endpoints", column)
    _shape()
    _trust()
    _again()


def _shape() -> None:
    for column in (
        sa.Column("filter", sa.Text()),
        sa.Column("channels", sa.Text()),
        sa.Column("rate_per_s", sa.Float()),
        sa.Column("concurrency", sa.Integer()),
        sa.Column("ordering", _TEXT, nullable=False, server_default="none"),
    ):
        op.add_column("webhooks_endpoints", column)
    op.add_column("webhooks_events", sa.Column("channels", sa.Text()))
    op.drop_index("ix_webhooks_endpoints_tenant", "webhooks_endpoints")
    op.create_index("ix_webhooks_endpoints_tenant", "webhooks_endpoints", ["tenant", "id", "version"])
    op.create_table(
        "webhooks_event_types",
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("name", _ID, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("json_schema", sa.Text()),
        sa.Column("examples", sa.Text(), nullable=False),
        sa.Column("retry_schedule_s", sa.Text()),
        sa.Column("archived", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", name=op.f("pk_webhooks_event_types")),
    )
    op.create_table(
        "webhooks_fanouts",
        sa.Column("event_id", _ID, nullable=False),
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("after", _ID, nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("matched", "made", "total", "seen")),
        sa.Column("finished_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_webhooks_fanouts")),
    )


def _trust() -> None:
    for column in (
        sa.Column("signing", _TEXT, nullable=False, server_default="v1"),
        sa.Column("signing_key", sa.Text()),
        sa.Column("public_key", _TEXT),
        sa.Column("retired", sa.Text()),
    ):
        op.add_column("webhooks_endpoints", column)
    op.create_table(
        "webhooks_health",
        sa.Column("endpoint_id", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("window_at", sa.BigInteger(), nullable=False),
        sa.Column("succeeded", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("trips", sa.Integer(), nullable=False),
        sa.Column("opened_at", sa.BigInteger()),
        sa.Column("held_until", sa.BigInteger(), nullable=False),
        sa.Column("failing_since", sa.BigInteger()),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_failure", sa.Text()),
        sa.Column("troubled", sa.Boolean(), nullable=False),
        sa.Column("ceiling", sa.Integer()),
        sa.Column("ceiling_at", sa.BigInteger(), nullable=False),
        sa.Column("reset_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("endpoint_id", name=op.f("pk_webhooks_health")),
    )


def _again() -> None:
    op.add_column("webhooks_endpoints", sa.Column("sequence", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("webhooks_endpoints", sa.Column("sequenced_at", sa.BigInteger()))
    op.add_column("webhooks_events", sa.Column("erased_at", sa.BigInteger()))
    op.create_index("ix_webhooks_events_tenant", "webhooks_events", ["tenant", "id"])
    op.add_column("webhooks_deliveries", sa.Column("sequence", sa.BigInteger()))
    numbered = sa.text("sequence IS NOT NULL")
    op.create_index(
        "ix_webhooks_deliveries_sequence", "webhooks_deliveries", ["endpoint_id", "sequence"],
        postgresql_where=numbered, sqlite_where=numbered,
    )  # fmt: skip
    op.create_table(
        "webhooks_replays",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("what", _TEXT, nullable=False),
        sa.Column("endpoint_id", _ID),
        sa.Column("event_id", _ID),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("rate", sa.Float(), nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("position", _ID, nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("seen", "total", "sent")),
        sa.Column("kinds", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks_replays")),
    )
    op.create_index("ix_webhooks_replays_tenant", "webhooks_replays", ["tenant", "id"])
    op.create_table(
        "webhooks_redeliveries",
        *(sa.Column(name, _ID, nullable=False) for name in ("replay_id", "event_id", "endpoint_id", "job_id")),
        sa.PrimaryKeyConstraint("replay_id", "event_id", "endpoint_id", name=op.f("pk_webhooks_redeliveries")),
    )
    op.create_index("ix_webhooks_redeliveries_endpoint", "webhooks_redeliveries", ["endpoint_id", "job_id"])
    op.create_index("ix_webhooks_redeliveries_event", "webhooks_redeliveries", ["event_id", "job_id"])
    op.create_table(
        "webhooks_terms",
        sa.Column("endpoint_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.Text()),
        sa.Column("event_types", sa.Text(), nullable=False),
        sa.Column("filter", sa.Text()),
        sa.Column("channels", sa.Text()),
        sa.PrimaryKeyConstraint("endpoint_id", "version", name=op.f("pk_webhooks_terms")),
    )
    op.create_table(
        "webhooks_sequences",
        sa.Column("endpoint_id", _ID, nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("endpoint_id", name=op.f("pk_webhooks_sequences")),
    )
    op.create_table(
        "webhooks_deleted",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks_deleted")),
    )
    op.create_table(
        "webhooks_keeping",
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("payload_keep_s", sa.BigInteger(), nullable=False),
        sa.Column("erased_to", _ID, nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_webhooks_keeping")),
    )
