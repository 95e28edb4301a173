"""`python -m shared.runtime.migrate`: bring the ledger, and the services that this image holds, to their newest schema.

Idempotent, and safe to run by many at once: an advisory lock lets one work. Prints one JSON line.
"""

import asyncio
import json
import sys

from shared.db.engine import Database, sqlite_path
from shared.db.failures import is_transient
from shared.db.migrate import migrate
from shared.kernel import logs
from shared.kernel.errors import Misconfigured
from shared.kernel.settings import CoreSettings, load
from shared.runtime.schema import owners


async def upgrade(database_url: str) -> dict[str, str]:
    """The version of each owner afterwards."""
    database = Database(database_url, pool=2)
    if database.dialect == "sqlite":
        sqlite_path(database_url).parent.mkdir(parents=True, exist_ok=True)
    await database.open()
    try:
        return await migrate(database, owners())
    finally:
        await database.close()


def main() -> int:
    try:
        settings = load(CoreSettings)
        logs.configure(settings.log_level)
        versions = asyncio.run(upgrade(settings.database_url))
    except Misconfigured as wrong:
        sys.stderr.write(f"{wrong}\n")
        return 2
    except Exception as error:
        if not is_transient(error):
            raise
        sys.stderr.write(f"the database does not answer: {error}\n")
        return 2
    sys.stdout.write(json.dumps({"ok": True, "versions": versions}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
