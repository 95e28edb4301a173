"""Dispatch without a relay: what a relay of that moment would mark, for tests of what comes before or after it."""

from shared.contracts.commands import ALL
from shared.db.sql import Connection
from shared.kernel.clock import ManualClock
from shared.transport.chooser import Chooser

LOOKS = 1_000


async def dispatch_due(connection: Connection, queue: str, now_us: int, room: int = 10_000) -> list[str]:
    """Mark up to `room` of what is due at `now_us`; returns their ids in the order of publishing."""
    chooser = Chooser(queue, ManualClock(now_us), {name: command.lanes for name, command in ALL.items()})
    await chooser.reset(connection)
    marked: list[str] = []
    for _ in range(LOOKS):
        due = await chooser.wait_until(connection)
        await chooser.look(connection, now_us)
        if due is not None and due <= now_us:
            continue
        chosen = await chooser.choose(connection, room - len(marked), now_us)
        marked += [job.id for job in await chooser.mark(connection, chosen, now_us)]
        if len(marked) >= room or (not chosen and chooser.is_still):
            return marked
    raise AssertionError(f"{queue}: no end of due jobs after {LOOKS} looks")
