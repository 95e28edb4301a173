"""`python -m shared.runtime.audit`: the audit from within an image, one JSON line; `holdfast audit` shows it.

It works on the database alone, whatever else is down, and changes nothing. Exit codes: 0 the ledger holds, 1 it does
not, 2 it could not be looked at. An image knows the links of its own service; the ledger itself any of them knows.
"""

import json
import sys
from typing import Any

from shared.db.engine import Database, sqlite_path
from shared.db.migrate import schema_problems
from shared.kernel.errors import Misconfigured
from shared.ledger.audit import audit
from shared.ledger.schema import LEDGER
from shared.runtime.oneshot import done
from shared.runtime.schema import owners


async def run_audit(database_url: str) -> dict[str, Any]:
    """The audit's report; raises Misconfigured when there is no ledger to audit."""
    if database_url.startswith("sqlite") and not sqlite_path(database_url).exists():
        raise Misconfigured(f"there is no database {sqlite_path(database_url)}")
    database = Database(database_url, pool=2, command_limit_s=None)  # each check reads all of the ledger
    try:
        problems = await schema_problems(database, [LEDGER])
        report = (await audit(database, await _links(database))).report() if not problems else {}
    finally:
        await database.close()
    if problems:
        raise Misconfigured(problems[0])
    return report


async def _links(database: Database) -> list[tuple[str, str]]:
    """Of the services that this database knows."""
    return [link for owner in owners() if not await schema_problems(database, [owner]) for link in owner.links]


def main() -> int:
    report = done(lambda settings: run_audit(settings.database_url), log_level="ERROR")
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
