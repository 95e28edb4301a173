"""The media service's workers with slots that a file may kill: see poison_tasks."""

from functools import partial

from services.media import pool, worker

pool.Pool = partial(pool.Pool, tasks_module="tests.faults.poison_tasks")  # type: ignore[misc,assignment]
create_broker, create_bulk_broker = worker.create_broker, worker.create_bulk_broker
