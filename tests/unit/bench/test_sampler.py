"""In which room of the house a sample of a worker's processor time counts."""

import pytest

from bench.sampler import REST, ROOMS, room_of


@pytest.mark.parametrize(
    ("file", "room"),
    [
        ("/srv/holdfast/services/webhooks/sender.py", "the delivery: services/webhooks"),
        ("/srv/holdfast/shared/transport/pump.py", "the engine: shared/transport"),
        ("/srv/holdfast/shared/db/committer.py", "the ledger: shared/ledger, shared/db"),
        ("services/webhooks/sender.py", "the delivery: services/webhooks"),
        ("/v/lib/python3.11/site-packages/aiohttp/connector.py", "HTTP: aiohttp"),
        ("/v/lib/python3.11/site-packages/asyncpg/connection.py", "drivers: asyncpg, redis"),
        ("/v/lib/python3.11/site-packages/taskiq/cli/worker/run.py", "tasks and the loop: taskiq, asyncio, uvloop"),
        ("/usr/lib/python3.11/asyncio/timeouts.py", "tasks and the loop: taskiq, asyncio, uvloop"),
        ("/usr/lib/python3.11/contextlib.py", REST),
        ("/v/lib/python3.11/site-packages/shared/transport/theirs.py", REST),
        ("<string>", REST),
    ],
)
def test_a_file_stands_in_one_room(file: str, room: str) -> None:
    assert room_of(file) == room
    assert room in ROOMS
