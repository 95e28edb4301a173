"""The clocks of this machine, the database and Redis against each other.

Nobody is declared dead by a wall clock. But `run_at`, schedules and the timestamps of signatures are wall time: skew
delays jobs by itself, and receivers refuse signatures that are minutes off.
"""

from collections.abc import Awaitable, Callable

from shared.db.engine import Database
from shared.db.server import read_now_us
from shared.kernel.clock import SECOND_US, Clock
from shared.runtime.doctor.finding import Finding, Level, judged
from shared.runtime.doctor.subject import Subject
from shared.runtime.resources import connect_redis

WARN_S, FAIL_S = 1.0, 30.0


async def examine_database(subject: Subject) -> list[Finding]:
    if subject.settings.database_url.startswith("sqlite"):
        return []  # the same clock
    database = Database(subject.settings.database_url, pool=2)
    try:
        await read_now_us(database)  # connects; not in the measured time
        return [await _look("clock of the database", subject.clock, lambda: read_now_us(database))]
    finally:
        await database.close()


async def examine_redis(subject: Subject) -> list[Finding]:
    redis = connect_redis(subject.settings, connections=1)

    async def now_us() -> int:
        seconds, micros = await redis.time()
        return int(seconds) * SECOND_US + int(micros)

    try:
        await redis.ping()
        return [await _look("clock of Redis", subject.clock, now_us)]
    finally:
        await redis.aclose()
        await redis.connection_pool.disconnect()


async def _look(check: str, clock: Clock, ask: Callable[[], Awaitable[int]]) -> Finding:
    before_us = clock.now_us()
    told_us = await ask()
    return judge(check, before_us, told_us, clock.now_us())


def judge(check: str, before_us: int, told_us: int, after_us: int) -> Finding:
    """The least skew that the two looks at our own clock allow. Pure."""
    ahead_us = max(told_us - after_us, 0) or min(told_us - before_us, 0)
    level: Level = "ok"
    if abs(ahead_us) > WARN_S * SECOND_US:
        level = "fail" if abs(ahead_us) > FAIL_S * SECOND_US else "warn"
    words = f"{abs(ahead_us) / SECOND_US:.3f} s {'ahead of' if ahead_us > 0 else 'behind'} this machine"
    return judged(check, level, words if ahead_us else "as this machine's", f"within {WARN_S:g} s", "run an NTP client")
