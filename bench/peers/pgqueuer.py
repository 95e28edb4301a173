"""pgqueuer on PostgreSQL: batches of ten as it comes, or of a hundred.

Durable: every table is logged (its default); a job is done when the transaction that moves it to the log has committed.
"""

import asyncio
import signal

import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer, Queries
from pgqueuer.models import Job

from bench.peers.tally import BULK, POSTGRES, TUNED, Tally, arguments, run, timed_async

BATCH = 100 if TUNED else 10
tally = Tally()


async def main(what: str, count: int) -> None:
    connection = await asyncpg.connect(POSTGRES)
    queries = Queries(AsyncpgDriver(connection))
    if what == "setup":
        await queries.install()
        print("{}")
    elif what == "one":
        await queries.enqueue("noop", None)
        await timed_async(count - 1, lambda: queries.enqueue("noop", None))
    elif what == "bulk":
        names, payloads, priorities = ["noop"] * BULK, [None] * BULK, [0] * BULK
        await timed_async(count // BULK, lambda: queries.enqueue(names, payloads, priorities), jobs=BULK)
    else:
        await _work(connection)
    await connection.close()


async def _work(connection: asyncpg.Connection) -> None:
    queue = PgQueuer(AsyncpgDriver(connection))

    @queue.entrypoint("noop")
    async def noop(job: Job) -> None:  # noqa: ARG001 - handed to every handler
        tally.ran()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, queue.shutdown.set)
    await queue.run(batch_size=BATCH)


if __name__ == "__main__":
    run(main(*arguments()))
