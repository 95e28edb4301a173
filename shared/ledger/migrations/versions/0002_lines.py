"""Jobs stand in line: due ones apart from later ones, lanes, pauses, schedules with their next tick, actions.

It only adds: code of 0001 goes on (its jobs are not `due`, and are moved into line by the new relay).
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
_FLOW = "CAST(priority AS text) || '/' || tenant || '/' || coalesce(lane, '')"
_DUE = "state = 'ready' AND due"
_INDEXES = (
    ("ix_job_line", ["queue", sa.text(f"({_FLOW})"), "run_at", "id"], False, _DUE),
    ("ix_job_arrived", ["queue", "created_at", "id"], False, _DUE),
    ("ix_job_later", ["queue", "run_at", "id"], False, "state = 'ready' AND NOT due AND waits_for = 0"),
    ("ix_job_lane", ["queue", "tenant", "lane", "id"], False, "lane IS NOT NULL AND state IN ('ready', 'dispatched', 'running')"),
    ("uq_job_unique", ["unique_key"], True, "state IN ('ready', 'dispatched')"),
    ("ix_job_parent", ["parent", "id"], False, "parent IS NOT NULL"),
    ("ix_job_died", ["finished_at", "id"], False, "state = 'dead'"),
    ("ix_job_alike", ["tenant", "task", "error_fingerprint", "finished_at", "id"], False, "state = 'dead'"),
)


def upgrade() -> None:
    for column in (
        sa.Column("due", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("waits_for", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("counted", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("on_dead", _TEXT),
        sa.Column("progress", sa.Float()),
        sa.Column("progress_note", sa.Text()),
        sa.Column("progress_at", sa.BigInteger()),
        sa.Column("output_chunks", sa.Integer(), nullable=False, server_default="0"),
    ):
        op.add_column("job", column)
    if op.get_bind().dialect.name == "postgresql":  # names sort as their bytes do, as in the table of lanes
        op.execute('ALTER TABLE job ALTER COLUMN lane TYPE varchar COLLATE "C"')
    op.drop_index("ix_job_ready", "job")
    for name, columns, unique, where in _INDEXES:
        op.create_index(
            name, "job", columns, unique=unique, postgresql_where=sa.text(where), sqlite_where=sa.text(where)
        )
    for column in (
        sa.Column("queue", _TEXT, nullable=False, server_default=sa.text("''")),
        sa.Column("tenant", _TEXT, nullable=False, server_default="system"),
        sa.Column("catch_up", sa.Integer(), nullable=False, server_default="10"),
        sa.Column("source", _TEXT, nullable=False, server_default="code"),
        sa.Column("next_at", sa.BigInteger()),
        sa.Column("updated_at", sa.BigInteger(), nullable=False, server_default="0"),
    ):
        op.add_column("schedule", column)
    op.add_column("cron_tick", sa.Column("missed", sa.Integer(), nullable=False, server_default="0"))
    _tables()
    _vacuum_often()


def _vacuum_often() -> None:
    """By default a fifth of a table must be dead first: nearly three days' purged attempts, an hour's job versions."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE job SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)")
        op.execute(
            "ALTER TABLE job_attempt SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)"
        )


def _tables() -> None:
    op.create_table(
        "lane",
        sa.Column("queue", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("name", _ID, nullable=False),
        sa.Column("own", sa.Boolean(), nullable=False),
        sa.Column("concurrency", sa.Integer()),
        sa.Column("rate_per_s", sa.Float()),
        sa.Column("burst", sa.Integer(), nullable=False),
        sa.Column("ordered", sa.Boolean(), nullable=False),
        sa.Column("paused_at", sa.BigInteger()),
        sa.Column("tat", sa.BigInteger(), nullable=False),
        sa.Column("held_until", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("held_why", _TEXT),
        sa.Column("ceiling", sa.Integer()),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("queue", "tenant", "name", name=op.f("pk_lane")),
    )
    op.create_table(
        "queue_pause",
        sa.Column("queue", _ID, nullable=False),
        sa.Column("paused_at", sa.BigInteger(), nullable=False),
        sa.Column("paused_by", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("queue", name=op.f("pk_queue_pause")),
    )
    op.create_table(
        "job_action",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("caller", _TEXT, nullable=False),
        sa.Column("action", _TEXT, nullable=False),
        sa.Column("job_id", _TEXT),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_action")),
    )
    op.create_index("ix_job_action_tenant", "job_action", ["tenant", "id"])
    one = sa.text("job_id IS NOT NULL")
    op.create_index(
        "ix_job_action_job", "job_action", ["job_id", "id"], postgresql_where=one, sqlite_where=one
    )
    op.create_table(
        "job_output",
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("offset_chars", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "fence", "number", name=op.f("pk_job_output")),
    )
    op.create_table(
        "served_task",
        sa.Column("task", _ID, nullable=False),
        sa.Column("queue", _TEXT, nullable=False),
        sa.Column("args_schema", sa.Text(), nullable=False),
        sa.Column("retry", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task", name=op.f("pk_served_task")),
    )
    op.create_table(
        "shadow_task",
        sa.Column("id", _ID, nullable=False),
        sa.Column("function", _TEXT, nullable=False),
        sa.Column("path", _TEXT, nullable=False),
        sa.Column("process", _TEXT, nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("error", _TEXT),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadow_task")),
    )
