"""Reconcile against a real Valkey: what Redis forgot, and what it gave to somebody who will never claim it."""

import pytest
from redis.asyncio import Redis

from shared.kernel.clock import SECOND_US, ManualClock
from shared.transport.names import GROUP, JOB, stream
from shared.transport.reconcile import ensure_group, reconcile_window
from tests.integration.ledger.jobs import NOW_US, QUEUE, accepted, born, dispatched, job, row


@pytest.fixture
async def redis(valkey):
    client = Redis.from_url(valkey.url)
    await ensure_group(client, QUEUE)
    yield client
    await client.aclose()


@pytest.fixture
def clock():
    return ManualClock(NOW_US + 10 * SECOND_US)


async def published(database, redis):
    (job_id,) = await accepted(database, job(1))
    await dispatched(database)
    await redis.xadd(stream(QUEUE), {JOB: job_id})
    return job_id


async def test_what_is_in_the_stream_is_left_alone(database, redis, clock):
    job_id = await published(database, redis)
    assert (await reconcile_window(database, redis, QUEUE, clock)).redispatched == 0
    assert (await row(database, job_id))["state"] == "dispatched"


async def test_a_wiped_redis_is_filled_again(database, redis, clock):
    job_id = await published(database, redis)
    await redis.flushall()
    assert (await reconcile_window(database, redis, QUEUE, clock)).redispatched == 1
    assert (await row(database, job_id))["state"] == "ready"


async def test_what_a_dead_reader_held_comes_back(database, redis, clock):
    job_id = await published(database, redis)
    await redis.xreadgroup(GROUP, "inc_dead", {stream(QUEUE): ">"})
    done = await reconcile_window(database, redis, QUEUE, clock)
    assert (done.redispatched, done.strays, done.consumers) == (1, 1, 1)
    assert (await row(database, job_id))["state"] == "ready"
    assert await redis.xlen(stream(QUEUE)) == 0


async def test_what_a_living_reader_has_just_read_is_its_own(database, redis, clock):
    await published(database, redis)
    await redis.xreadgroup(GROUP, await born(database, "inc_a"), {stream(QUEUE): ">"})
    assert (await reconcile_window(database, redis, QUEUE, clock)).redispatched == 0


async def test_an_entry_without_a_dispatched_job_is_a_stray(database, redis, clock):
    await redis.xadd(stream(QUEUE), {JOB: job(7).id})
    await redis.xadd(stream(QUEUE), {"something": "else"})
    assert (await reconcile_window(database, redis, QUEUE, clock)).strays == 2
    assert await redis.xlen(stream(QUEUE)) == 0


async def test_what_reaches_a_dead_reader_while_it_is_being_forgotten_comes_back(database, redis, clock):
    """Found by the simulation: Redis serves the blocked read of a process whose death it has not noticed yet.

    XGROUP DELCONSUMER drops that delivery: the entry is in the stream, behind the group's last id, and held by nobody.
    """
    await redis.xgroup_createconsumer(stream(QUEUE), GROUP, "inc_dead")
    look = redis.xinfo_consumers

    async def late_delivery(*names):
        redis.xinfo_consumers = look
        await published(database, redis)
        await redis.xreadgroup(GROUP, "inc_dead", {stream(QUEUE): ">"})
        return await look(*names)

    redis.xinfo_consumers = late_delivery
    for _ in range(3):
        await reconcile_window(database, redis, QUEUE, clock)
        clock.advance(60)
    assert (await row(database, job(1).id))["state"] == "ready"
