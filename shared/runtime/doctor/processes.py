"""The processes that beat: workers by queue and relays, watched for as long as one of them takes to beat.

A beat that stands still for a lease is a death that no relay has declared yet. Backlogs say whether it hurts.
"""

import asyncio
from collections.abc import Mapping, Sequence

from shared.contracts.commands import QUEUES
from shared.db.engine import Database, sqlite_path
from shared.db.migrate import schema_problems
from shared.db.reading import looking
from shared.ledger.schema import LEDGER
from shared.ledger.store_backlog import read_backlog
from shared.ledger.store_incarnation import living
from shared.runtime.doctor.finding import Finding, Level, judged
from shared.runtime.doctor.subject import Subject

LOOK_S = 0.25
BEATS_LATE = 2.0
RELAY = "relay"


async def examine(subject: Subject) -> list[Finding]:
    url = subject.settings.database_url
    if url.startswith("sqlite") and not sqlite_path(url).exists():
        return []  # `schema` says so
    database = Database(url, pool=2)
    try:
        if await schema_problems(database, [LEDGER]):
            return []
        beating, silent = await _watch(database, subject.settings.beat_s * BEATS_LATE)
        now_us = database.clock.now_us()
        queues = subject.settings.queues or QUEUES
        backlogs = {queue: (await read_backlog(database, queue, now_us)).backlog for queue in queues}
    finally:
        await database.close()
    return judge(beating, silent, backlogs)


async def _watch(database: Database, limit_s: float) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """By queue: those whose beat has moved, and those whose has not."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + limit_s
    first = {row["id"]: row["beat"] for row in await _living(database)}
    while True:
        now = await _living(database)
        moved = {row["id"] for row in now if row["beat"] != first.get(row["id"], -1)}
        if len(moved) == len(now) or loop.time() >= until_s:
            return _by_queue([row["queue"] for row in now if row["id"] in moved]), _by_queue(
                [row["queue"] for row in now if row["id"] not in moved]
            )
        await asyncio.sleep(LOOK_S)


async def _living(database: Database) -> Sequence[Mapping[str, object]]:
    async with looking(database) as connection:
        return await living(connection)


def _by_queue(queues: Sequence[object]) -> dict[str, int]:
    return {str(queue): queues.count(queue) for queue in queues}


def judge(beating: Mapping[str, int], silent: Mapping[str, int], backlogs: Mapping[str, int]) -> list[Finding]:
    """A queue without a worker may be at zero on purpose, as long as nothing waits. Pure."""
    findings = [_of(f"workers of {queue}", queue, beating, silent, waiting) for queue, waiting in backlogs.items()]
    return [*findings, _of("relays", RELAY, beating, silent, sum(backlogs.values()))]


def _of(check: str, queue: str, beating: Mapping[str, int], silent: Mapping[str, int], waiting: int) -> Finding:
    alive, quiet = beating.get(queue, 0), silent.get(queue, 0)
    level: Level = "ok" if alive and not quiet else "fail" if waiting and not alive else "warn"
    found = f"{alive} beating" + (f", {quiet} silent" if quiet else "") + (f"; {waiting} waiting" if waiting else "")
    fix = "start one, or read the log of the one that does not beat"
    return judged(check, level, found, "all beat" if alive or quiet else "one that beats", fix)
