"""The doctor's look at the master key: it is there, and it opens what the database holds sealed.

A restore with another key would look healthy until the first delivery could not be signed.
"""

from services.webhooks.reseal import sealed_again
from services.webhooks.schema import OWNER
from services.webhooks.secrets import Box
from services.webhooks.store_reseal import read_sealed
from shared.db.engine import Database, sqlite_path
from shared.db.migrate import schema_problems
from shared.kernel.errors import Misconfigured
from shared.runtime.doctor.finding import Finding, Level, judged
from shared.runtime.doctor.subject import Subject

LOOKED_AT = 100  # the newest endpoints
WANTED = "32 bytes in base64url, that open what is stored"


async def examine(subject: Subject) -> list[Finding]:
    try:
        box = Box(subject.settings.master_key.get_secret_value())
    except Misconfigured as wrong:
        return [Finding("master key", "fail", wrong.message, WANTED, "set HOLDFAST_MASTER_KEY, from where it is kept")]
    url = subject.settings.database_url
    if url.startswith("sqlite") and not sqlite_path(url).exists():
        return [judge(0, 0)]
    database = Database(url, pool=2)
    try:
        if await schema_problems(database, [OWNER]):
            return [judge(0, 0)]
        rows = await read_sealed(database, LOOKED_AT)
    finally:
        await database.close()
    now_us = subject.clock.now_us()
    return [judge(len(rows), sum(not sealed_again(row, box, now_us)[1] for row in rows))]


def judge(looked_at: int, unreadable: int) -> Finding:
    """Pure."""
    level: Level = "fail" if unreadable else "ok"
    found = f"opens {looked_at - unreadable} of the newest {looked_at} endpoints" if looked_at else "there"
    fix = "add the key that sealed them to HOLDFAST_MASTER_KEY (newest first, parted by commas)"
    return judged("master key", level, found, WANTED, fix)
