"""Contents that keep ending their slots are kept out of them, by tenant and hash.

Owns when a content is quarantined and what its jobs are told. Invariant: a slot's death is committed when it happens,
in a transaction of its own, so that neither a crash of the worker nor the end of the job loses it. Counted is SlotDied
only: a deadline or the memory limit says what happened, and a busy machine can cause the one. Somebody else's signal
looks as one's own: it is not counted while other contents are ended in the same way (the machine has a problem, not
they), and one success forgets what was counted, even a quarantine that other jobs have brought about meanwhile.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.media.errors import ContentQuarantined, SlotDied
from services.media.store_quarantine import (
    Casualty,
    forget_casualty,
    note_casualty,
    others_ended,
    read_casualty,
)
from shared.db.engine import Database
from shared.kernel.clock import SECOND_US
from shared.kernel.logs import get_logger

log = get_logger(__name__)
FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "unknown")
"""No decoder dies of these by itself; the kernel without memory, a person and a test do it to whoever runs."""
STORM_US = 60 * SECOND_US


@asynccontextmanager
async def watched(database: Database, tenant: str, sha256: str, *, most: int) -> AsyncIterator[None]:
    """Around a call of the pool for this content; `most`: slots that it may end (0: as many as it likes).

    Raises ContentQuarantined, which another attempt would get as well, before the block when the content is kept out,
    and instead of the block's SlotDied when that was one too many.
    """
    if most == 0:
        yield
        return
    known = await read_casualty(database, tenant, sha256)
    if known is not None and known.quarantined_at is not None:
        raise refusal(known)
    try:
        yield
    except SlotDied as death:
        noted = await _note(database, tenant, sha256, death, most)
        if noted is not None and noted.quarantined_at is not None:
            raise refusal(noted) from death
        raise
    now_known = await read_casualty(database, tenant, sha256)  # other jobs of this content may have died meanwhile
    if now_known is not None and now_known.deaths:
        await forget_casualty(database, tenant, sha256)


def refusal(casualty: Casualty) -> ContentQuarantined:
    times = "a media slot" if casualty.deaths == 1 else f"{casualty.deaths} media slots"
    return ContentQuarantined(
        f"this content has ended {times}, the last one by {casualty.ended_by}: it is quarantined",
        sha256=casualty.sha256,
        deaths=casualty.deaths,
        ended_by=casualty.ended_by,
    )


def cause(death: SlotDied) -> str:
    """`SIGSEGV`, `exit 3`, or `unknown`."""
    if signal := death.details.get("signal"):
        return str(signal)
    code = death.details.get("exit_code")
    return "unknown" if code is None else f"exit {code}"


async def _note(database: Database, tenant: str, sha256: str, death: SlotDied, most: int) -> Casualty | None:
    ended_by = cause(death)
    try:
        counted = ended_by not in FROM_OUTSIDE or not await others_ended(
            database, tenant, sha256, by=FROM_OUTSIDE, within_us=STORM_US
        )
        return await note_casualty(database, tenant, sha256, ended_by, counted=counted, most=most)
    except Exception as error:  # the attempt ends as it would have: its own end needs the database too
        log.warning("casualty_unnoted", tenant=tenant, sha256=sha256, ended_by=ended_by, error=repr(error))
        return None
