"""`python -m shared.runtime.migrate`: bring the ledger, and the services that this image holds, to their newest schema.

Idempotent, and safe to run by many at once: an advisory lock lets one work. Prints one JSON line. `--wait-s 900` waits
that long for a database that does not answer, or that breaks off, instead of ending with exit code 2 at once.
"""

import argparse
import asyncio
import json
import sys
import time

from shared.db.engine import Database, sqlite_path
from shared.db.failures import is_transient
from shared.db.migrate import migrate
from shared.kernel import logs
from shared.runtime.oneshot import done
from shared.runtime.schema import owners

AGAIN_S = 1.0
log = logs.get_logger(__name__)


async def upgrade(database_url: str) -> dict[str, str]:
    """The version of each owner afterwards."""
    database = Database(database_url, pool=2, command_limit_s=None)  # an index on a large table takes its time
    if database.dialect == "sqlite":
        sqlite_path(database_url).parent.mkdir(parents=True, exist_ok=True)
    await database.open()
    try:
        return await migrate(database, owners())
    finally:
        await database.close()


async def upgrade_within(database_url: str, wait_s: float) -> dict[str, str]:
    """The same; what passes by itself is tried again for so long, and then raised."""
    until_s = time.monotonic() + wait_s
    told = ""
    while True:
        try:
            return await upgrade(database_url)
        except Exception as error:
            if not is_transient(error) or time.monotonic() >= until_s:
                raise
            if told != (told := repr(error)):
                log.warning("database_awaited", error=told)
        await asyncio.sleep(AGAIN_S)


def main() -> int:
    parser = argparse.ArgumentParser(description="bring the schemas of this image to their newest")
    parser.add_argument("--wait-s", type=float, default=0.0, help="for a database that does not answer")
    wait_s = parser.parse_args().wait_s
    versions = done(lambda settings: upgrade_within(settings.database_url, wait_s))
    sys.stdout.write(json.dumps({"ok": True, "versions": versions}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
