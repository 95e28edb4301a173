"""Celery on Redis: `celery -A bench.peers.celery worker`, its defaults, or late acknowledgement and a deep prefetch.

Not durable beyond Valkey's log; a task that was delivered to a worker which died comes back after an hour.
"""

import celery

from bench.peers.tally import REDIS, TUNED, Tally, timed

app = celery.Celery("bench", broker=REDIS)
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)
if TUNED:
    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=100, task_ignore_result=True)
tally = Tally()


@app.task(name="bench.noop")
def noop() -> None:
    tally.ran()


if __name__ == "__main__":
    timed(noop.delay)
