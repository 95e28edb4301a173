"""PostgreSQL restarted, crashed, and its backends killed, which makes commits ambiguous."""

import asyncio
import signal

import pytest
from sqlalchemy import text

from shared.testing.lab import Fail, Noop, Sleep
from tests.faults.rig import Rig

LOAD = [*(Sleep(seconds=0.05) for _ in range(300)), *(Noop(number=n) for n in range(300)), *(Fail() for _ in range(20))]


@pytest.fixture(autouse=True)
def _postgres_only(rig: Rig) -> None:
    if rig.postgres is None:
        pytest.skip("SQLite has no server to restart")


async def test_killed_backends(rig: Rig) -> None:
    rig.relay()
    rig.worker()
    await rig.enqueue(*LOAD)
    kill = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
    )
    for done in (30, 120, 250, 400):
        await rig.until_ended(done)
        async with rig.database.engine.connect() as connection:
            await connection.execute(kill)
    assert await rig.settled(90) == {"completed": len(rig.accepted)}


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGQUIT])
async def test_the_server_restarted(rig: Rig, signum: int) -> None:
    """SIGINT is a fast shutdown, SIGQUIT an immediate one that needs recovery, as after a crash."""
    assert rig.postgres is not None
    rig.relay()
    rig.worker()
    await rig.enqueue(*LOAD)
    await rig.until_ended(100)
    await asyncio.to_thread(rig.postgres.stop, signum)
    await asyncio.sleep(1.0)  # the outage itself, not a wait for anything
    await asyncio.to_thread(rig.postgres.start)
    assert await rig.settled(90) == {"completed": len(rig.accepted)}
