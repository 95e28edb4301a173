"""procrastinate on PostgreSQL: one job at a time as it comes, or twenty at once on a pool.

Durable: a job is done when the transaction that says so has committed.
"""

import asyncio

from procrastinate import App, PsycopgConnector

from bench.peers.tally import BULK, POSTGRES, TUNED, Tally, arguments, run, timed_async

CONCURRENCY = 20
connector = PsycopgConnector(conninfo=POSTGRES, max_size=CONCURRENCY) if TUNED else PsycopgConnector(conninfo=POSTGRES)
app = App(connector=connector)
tally = Tally()


@app.task(name="bench.noop", queue="bench")
async def noop() -> None:
    tally.ran()


async def main(what: str, count: int) -> None:
    async with app.open_async():
        if what == "setup":
            await app.schema_manager.apply_schema_async()
            print("{}")
        elif what == "one":
            await noop.defer_async()
            await timed_async(count - 1, noop.defer_async)
        elif what == "bulk":
            await timed_async(count // BULK, lambda: noop.batch_defer_async(*([{}] * BULK)), jobs=BULK)
        else:
            await app.run_worker_async(concurrency=CONCURRENCY if TUNED else 1)


if __name__ == "__main__":
    run(main(*arguments()))
    asyncio.set_event_loop(None)
