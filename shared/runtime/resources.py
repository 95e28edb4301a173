"""What a process holds while it lives: the database, Redis, the acceptor. Opened by an app's lifespan, closed with it.

A lifespan opens resources and starts no loops: Taskiq runs it in every worker as well.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from redis.asyncio import BlockingConnectionPool, Redis
from taskiq import TaskiqDepends

from shared.db.engine import Database
from shared.db.tx import Tx, open_tx
from shared.kernel.settings import CoreSettings
from shared.transport.enqueue import Acceptor
from shared.transport.wake import Waker


@dataclass(frozen=True)
class Resources:
    settings: CoreSettings
    database: Database
    redis: "Redis"
    waker: Waker
    acceptor: Acceptor

    def tx(self) -> AbstractAsyncContextManager[Tx]:
        """A transaction that wakes the relays of the queues it gave work to, once it has committed."""
        return open_tx(self.database, wake=self.waker.wake)


@asynccontextmanager
async def open_resources(settings: CoreSettings) -> AsyncIterator[Resources]:
    """Connect to the database and make the Redis client, which connects when it is first used."""
    database = Database(settings.database_url, pool=settings.db_pool, tx_cap_s=settings.tx_cap_s)
    await database.open()
    redis = connect_redis(settings)
    waker = Waker(redis)
    acceptor = Acceptor(database, waker.wake)
    try:
        yield Resources(settings, database, redis, waker, acceptor)
    finally:
        await acceptor.settle()
        await waker.close()
        await redis.aclose()
        await redis.connection_pool.disconnect()
        await database.close()


def connect_redis(settings: CoreSettings, *, connections: int = 16) -> "Redis":
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        settings.redis_url.get_secret_value(),
        max_connections=connections,
        socket_connect_timeout=2.0,
        socket_timeout=10.0,
        health_check_interval=15,
    )
    return Redis(connection_pool=pool)


def get_resources(request: Request = TaskiqDepends()) -> Resources:
    """The same dependency for routes and for handlers (`taskiq_fastapi` gives those a request of the app)."""
    resources: Resources = request.app.state.resources
    return resources
