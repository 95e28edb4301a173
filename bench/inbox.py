"""What a look at the inbox and one decision cost with many dead letters: `python -m bench.inbox [letters]`.

PostgreSQL, fsync on, one tenant with a hundred groups of which one holds two thirds, a second tenant with as many
letters again; the median of seven, and the plans of the two reads that walk the index. Ends by itself; prints only.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import text

from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.ledger import store_inbox
from shared.ledger.schema import LEDGER
from shared.ledger.store_dead import retry_jobs
from shared.ledger.store_inbox import Matching, dead_groups, dead_matching
from shared.ledger.store_read import list_jobs
from shared.testing.servers import Postgres, remove

LETTERS = 300_000
ROUNDS = 7
BIG = "f" * 16
FILL = """
    INSERT INTO job (id, queue, task, args, tenant, priority, run_at, state, fence, attempt, max_attempts, crashes,
                     releases, timeout_s, created_at, finished_at, error_type, error_message, error_fingerprint)
    SELECT 'job_' || lpad(CAST(n * 2 + :odd AS text), 26, '0'), 'api', 'mail.send', '{"to": "a@b.cd"}', :tenant,
           5, n, 'dead', 1, 1, 1, 0, 0, 30, n, n, 'Boom', 'it broke: ' || n,
           CASE WHEN n % 3 < 2 THEN :big ELSE lpad(CAST(n % 99 AS text), 16, '0') END
      FROM generate_series(1, :letters) AS n
"""


async def measured(database: Database) -> dict[str, float]:
    group = Matching(task="mail.send", fingerprint=BIG, until_us=2**60)
    small = Matching(task="mail.send", fingerprint=f"{2:016d}")
    reads: dict[str, Callable[[], Awaitable[Any]]] = {
        "groups": lambda: dead_groups(database, "acme"),
        "newest 50": lambda: list_jobs(database, "acme", states=("dead",), limit=50),
        "a page of a small group": lambda: list_jobs(
            database, "acme", states=("dead",), task="mail.send", fingerprint=f"{2:016d}", limit=50
        ),
        "1,000 of the large group": lambda: dead_matching(database, "acme", group, 1_000),
        "a small group": lambda: dead_matching(database, "acme", small, 1_000),
        "1,000 of everything": lambda: dead_matching(database, "acme", Matching(), 1_000),
    }
    found = {}
    for name, read in reads.items():
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            await read()
            times.append(time.perf_counter() - began)
        found[name] = statistics.median(times) * 1e3
    batches = []
    for _ in range(20):
        began = time.perf_counter()
        async with database.transaction() as connection:
            ids, _ = await dead_matching(connection, "acme", group, 1_000)
            await retry_jobs(connection, "acme", ids, 2**61)
        batches.append(time.perf_counter() - began)
    found["retry 1,000 (first of 20)"], found["retry 1,000 (last of 20)"] = batches[0] * 1e3, batches[-1] * 1e3
    return found


async def main(letters: int, server: Postgres) -> None:
    database = Database(server.url)
    try:
        await database.open()
        await migrate(database, [LEDGER])
        async with database.engine.begin() as connection:
            for odd, tenant in enumerate(("acme", "globex")):
                await connection.execute(text(FILL), {"odd": odd, "tenant": tenant, "big": BIG, "letters": letters})
        for when in ("before a vacuum", "after a vacuum"):
            for name, ms in (await measured(database)).items():
                print(f"{when}: {name}: {ms:.1f} ms")
            async with database.engine.connect() as connection:
                plain = await connection.execution_options(isolation_level="AUTOCOMMIT")
                explained = text(f"EXPLAIN (ANALYZE, BUFFERS) {store_inbox._FIRSTS.text}")  # noqa: SLF001 - its plan is what is shown
                for line in (await plain.execute(explained, {"tenant": "acme", "most": 501})).scalars():
                    print("   ", line)
                await plain.execute(text("VACUUM ANALYZE job"))
    finally:
        await database.close()


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp(prefix="holdfast-inbox-"))
    place.chmod(0o755)  # PostgreSQL runs as an unprivileged user
    started = Postgres(place / "postgres").start()
    try:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else LETTERS, started))
    finally:
        started.stop()
        remove(place)
