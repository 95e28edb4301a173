"""Redis wiped, restored, restarted; the relay killed where it hurts most."""

import asyncio
import shutil

import redis.asyncio

from shared.testing.lab import Fail, Noop, Sleep
from shared.testing.servers import Valkey
from tests.faults.rig import Rig

LOAD = [*(Sleep(seconds=0.05) for _ in range(300)), *(Noop(number=n) for n in range(300)), *(Fail() for _ in range(20))]


async def test_redis_wiped_under_load(rig: Rig) -> None:
    rig.relay()
    rig.worker()
    client = redis.asyncio.Redis.from_url(rig.valkey.url)
    await rig.enqueue(*LOAD)
    for done in (50, 200, 400):
        await rig.until_ended(done)
        await client.flushall()
    await client.aclose()
    assert await rig.settled() == {"completed": len(rig.accepted)}


async def test_redis_restarted_under_load(rig: Rig) -> None:
    rig.relay()
    rig.worker()
    await rig.enqueue(*LOAD)
    await rig.until_ended(50)
    rig.valkey.kill()
    await rig.enqueue(*(Noop() for _ in range(50)))  # accepting needs only the database
    await asyncio.to_thread(rig.valkey.start)
    assert await rig.settled() == {"completed": len(rig.accepted)}


async def test_redis_restored_from_an_older_snapshot(rig: Rig) -> None:
    rig.valkey.stop()
    rig.valkey = Valkey(rig.folder / "snapshots", rig.valkey.port, append_only=False).start()
    rig.relay()
    rig.worker()
    client = redis.asyncio.Redis.from_url(rig.valkey.url)
    await rig.enqueue(*LOAD)
    await rig.until_ended(50)
    await client.save()
    kept = rig.folder / "kept.rdb"
    shutil.copy(rig.folder / "snapshots" / "dump.rdb", kept)
    await rig.until_ended(250)
    await client.aclose()
    rig.valkey.kill()
    shutil.copy(kept, rig.folder / "snapshots" / "dump.rdb")
    rig.valkey.start()
    assert await rig.settled() == {"completed": len(rig.accepted)}


async def test_the_relay_killed_between_commit_and_publish(rig: Rig) -> None:
    doomed = rig.relay("doomed", HOLDFAST_FAULT_POINTS=f"relay.dispatched=3@{rig.folder}/once")
    rig.worker()
    await rig.enqueue(*LOAD)
    assert doomed.process is not None
    await asyncio.to_thread(doomed.process.wait, 30)
    rig.supervisor.roles.remove(doomed)
    assert await rig.rows("SELECT id FROM job WHERE state = 'dispatched' LIMIT 1")
    rig.relay("heir")
    assert await rig.settled() == {"completed": len(rig.accepted)}
    assert rig.logged("heir", "reconciled") >= 1


async def test_a_standby_relay_takes_over(rig: Rig) -> None:
    first = rig.relay("first")
    rig.worker()
    await rig.enqueue(*LOAD)
    await rig.until_ended(20)
    rig.relay("second")
    rig.supervisor.roles.remove(first)
    assert first.process is not None
    first.process.kill()
    assert await rig.settled() == {"completed": len(rig.accepted)}
