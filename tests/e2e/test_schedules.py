"""A schedule in a whole running system: the relay wakes for the tick, and the worker starts its job."""

from __future__ import annotations

import contextlib
import sqlite3
import time

from tests.e2e.running import the_system, wait_until

PURGE = "upkeep.purge_history"
LATE_MOST_S = 5.0  # it is 0.03 s here; what this shows is that nobody polls by the minute
_STARTED = """SELECT j.run_at, a.started_at FROM job AS j JOIN job_attempt AS a ON a.job_id = j.id
               WHERE j.tenant = 'system' AND j.run_at = ?"""


def test_a_tick_starts_its_job_when_it_is_due() -> None:
    up = the_system()
    path = up.known["database_url"].removeprefix("sqlite:///")
    late_s = []
    for _ in range(3):
        tick_us = time.time_ns() // 1000 + 1_700_000
        with contextlib.closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as ledger:
            ledger.execute("UPDATE schedule SET next_at = ? WHERE id = ?", (tick_us, PURGE))
        ((run_at, started_at),) = wait_until(lambda at=tick_us: up.rows(_STARTED, at), "the tick's job has run")
        late_s.append((started_at - run_at) / 1e6)
    print(f"late: {late_s}")
    assert 0 <= min(late_s) <= LATE_MOST_S
    with up.client() as client:
        last = client.get(f"/v1/schedules/{PURGE}").json()["last"]
    assert (last["state"], last["missed"]) == ("completed", 0)
