"""Every statement on the api service's own tables, and how a job is shown from within a transaction."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text

from shared.db.engine import Database
from shared.db.sql import Connection, Statement
from shared.db.tx import Tx
from shared.ledger.states import shown_state

_INSERT_USER = Statement(
    "insert_user",
    """
    INSERT INTO api_users (id, tenant, email, email_key, name, created_at)
    VALUES (:id, :tenant, :email, :email_key, :name, :now) ON CONFLICT DO NOTHING RETURNING id
    """,
)
_STATE = Statement("job_state", "SELECT state, run_at, attempt FROM job WHERE id = :id AND tenant = :tenant")
_USER = text("SELECT id, email, name, created_at FROM api_users WHERE id = :id AND tenant = :tenant")


async def insert_user(tx: Tx, *, user_id: str, tenant: str, email: str, name: str) -> bool:
    """False when the tenant has a user with this address, whatever its case."""
    values = {"id": user_id, "tenant": tenant, "email": email, "email_key": email.lower(), "name": name}
    return bool(await tx.fetch(_INSERT_USER, {**values, "now": tx.now_us}))


async def read_user(database: Database, user_id: str, tenant: str) -> Mapping[str, Any] | None:
    async with database.reader.connect() as connection:
        row = (await connection.execute(_USER, {"id": user_id, "tenant": tenant})).mappings().first()
    return dict(row) if row else None


async def job_state(connection: Connection, job_id: str, tenant: str, now_us: int) -> str | None:
    """As it is shown; None when the tenant has no such job."""
    rows = await connection.fetch(_STATE, {"id": job_id, "tenant": tenant})
    return shown_state(rows[0]["state"], rows[0]["run_at"], rows[0]["attempt"], now_us) if rows else None
