"""The command line's direct look at a ledger: the audit works on the database alone, whatever else is down."""

from typing import Any

from shared.db.engine import Database, sqlite_path
from shared.db.failures import is_transient
from shared.db.migrate import schema_problems
from shared.kernel.errors import Misconfigured
from shared.ledger.audit import audit
from shared.ledger.schema import LEDGER


async def run_audit(database_url: str) -> dict[str, Any]:
    """The audit's report; raises Misconfigured when there is no ledger to audit."""
    if database_url.startswith("sqlite") and not sqlite_path(database_url).exists():
        raise Misconfigured(f"there is no database {sqlite_path(database_url)}")
    database = Database(database_url, pool=2)
    try:
        problems = await schema_problems(database, [LEDGER])
        report = (await audit(database)).report() if not problems else {}
    except Exception as error:
        if is_transient(error):
            raise Misconfigured(f"the database does not answer: {error}") from None
        raise
    finally:
        await database.close()
    if problems:
        raise Misconfigured(problems[0])
    return report
