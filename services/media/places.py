"""Places in this process for jobs that bring bytes: they wait for networks, and pictures must find room beside them.

Lanes bound what one tenant may have under way; this bounds all of them together, in each worker process. Invariant: no
more than BRINGS_MOST run. One that finds none does not wait here, where it would take the room that pictures need:
it is put off, and its tenant's lane is held for a moment, so that the line behind it is not put off job by job. No
attempt is spent by that, as long as it is not one too often (20 times, which takes most of an hour).
"""

import contextlib
import random
from collections.abc import AsyncIterator
from typing import Final

from shared.contracts.commands.media import BRINGS_MOST
from shared.kernel.clock import after_us
from shared.ledger.states import Claim
from shared.ledger.store_lane import bound
from shared.runtime.resources import Resources
from shared.transport.attempt import Attempt, Postpone

HELD_S: Final = 1.0
AGAIN_MOST_S: Final = 180.0
WHY: Final = "no_place"


class NoPlace(Postpone):
    """As many bring bytes in this process as may; no attempt is spent."""


class Places:
    def __init__(self, most: int = BRINGS_MOST) -> None:
        self._free = most
        self._most = most

    @contextlib.asynccontextmanager
    async def one(self, attempt: Attempt, resources: Resources) -> AsyncIterator[None]:
        """Around what brings the bytes. Raises NoPlace."""
        if not self._free:
            with contextlib.suppress(Exception):  # it only spares the line; the job is put off in any case
                await _hold(attempt.claim, resources)
            raise NoPlace(again_s(attempt.claim.releases), f"{self._most} jobs bring bytes here, which is the limit")
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


def again_s(releases: int) -> float:
    """Twice as long each time, and never all at once."""
    return random.uniform(0.5, 1.0) * min(AGAIN_MOST_S, 2.0 * HELD_S * 2.0 ** min(releases, 16))  # noqa: S311 - spread


async def _hold(claim: Claim, resources: Resources) -> None:
    if claim.lane is None:
        return
    async with resources.tx() as tx:
        lane = (claim.tenant, claim.lane)
        await bound(tx, claim.queue, [(lane, after_us(tx.now_us, HELD_S), WHY, None)], tx.now_us)
        tx.after_commit(lambda: resources.waker.changed(claim.queue))
