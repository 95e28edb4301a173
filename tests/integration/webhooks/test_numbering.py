"""Numbers under several processes at once: no gap, none twice, and none ever seen before the one below it.

Four databases of their own stand for four processes. Each takes links of a few events to a few endpoints at a time;
some transactions are rolled back at the end, and some links are given again by somebody else, as after a crash.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from services.webhooks.store_sequence import numbering
from shared.db.engine import Database
from shared.db.sql import Statement
from shared.db.tx import open_tx
from tests.integration.webhooks.office import Office

PROCESSES, TAKES, ENDPOINTS = 4, 12, ("ep_a", "ep_b", "ep_c")
NUMBERS = Statement(
    "test_numbers",
    "SELECT endpoint_id, sequence FROM webhooks_deliveries WHERE sequence IS NOT NULL ORDER BY endpoint_id, sequence",
)
Link = tuple[str, str, str]


class Undo(Exception):
    pass


@pytest.mark.parametrize("seed", range(4))
async def test_numbers_are_given_without_a_gap_by_processes_at_once(office: Office, seed: int) -> None:
    plan = random.Random(seed)
    seen = 0
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(_opened(office.database.url)) for _ in range(PROCESSES)]
        takes = [list(_takes(plan, process)) for process in range(PROCESSES)]
        async with asyncio.TaskGroup() as group:
            givers = [
                group.create_task(_give(database, own, random.Random(plan.random())))
                for database, own in zip(opened, takes, strict=True)
            ]
            while not all(giver.done() for giver in givers):
                _whole(await _numbers(office))
                seen += 1
                await asyncio.sleep(0)
        kept = set().union(*[giver.result() for giver in givers])
    assert seen > 1
    found = _whole(await _numbers(office))
    assert {name: len(numbers) for name, numbers in found.items()} == {
        name: len({event for event, endpoint, _ in kept if endpoint == name}) for name in found
    }
    last = await office.rows("SELECT endpoint_id, last FROM webhooks_sequences")
    assert {row["endpoint_id"]: row["last"] for row in last if row["last"]} == {
        name: len(numbers) for name, numbers in found.items()
    }


async def _give(database: Database, takes: list[tuple[list[Link], bool]], chance: random.Random) -> set[Link]:
    kept: set[Link] = set()
    for links, undone in takes:
        for _ in range(1 + (chance.random() < 0.2)):  # an answer was lost, and the same is asked again
            with suppress(Undo):
                async with open_tx(database, cap_s=30) as tx:
                    for statement, rows in numbering(links):
                        await tx.fetch(statement, None, rows)
                        await asyncio.sleep(chance.random() * 0.002)
                    if undone:
                        raise Undo
                kept.update(links)
    return kept


def _takes(plan: random.Random, process: int) -> Iterator[tuple[list[Link], bool]]:
    for number in range(TAKES):
        # A third of the events are those that a neighbour gives links of too.
        owner = plan.choice([process, process, (process + 1) % PROCESSES])
        events = [f"evt_{owner}_{number:02}_{one}" for one in range(plan.randint(1, 4))]
        links = [(event, name, f"job_{process}_{number}_{event}_{name}") for event in events for name in ENDPOINTS]
        yield plan.sample(links, plan.randint(1, len(links))), plan.random() < 0.2


async def _numbers(office: Office) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row in await office.database.fetch(NUMBERS):
        found.setdefault(row["endpoint_id"], []).append(row["sequence"])
    return found


def _whole(found: dict[str, list[int]]) -> dict[str, list[int]]:
    for name, numbers in found.items():
        assert numbers == list(range(1, len(numbers) + 1)), f"{name} shows {numbers}"
    return found


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Database]:
    database = Database(url, pool=2, tx_cap_s=15)
    await database.open()
    yield database
    await database.close()
