"""The engine's metrics, named as docs/telemetry.md lists them; one registry for each process.

They stand here, below the runtime, because the receiver and the relay count; `shared.runtime.metrics` exposes them.
"""

from functools import lru_cache

from prometheus_client import Counter, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

JOBS = Counter("holdfast_jobs", "Attempts that ended, by task and outcome", ["task", "outcome"])
RUN_SECONDS = Histogram("holdfast_run_seconds", "From a handler's start to its end", ["task"], buckets=_SECONDS)
WAIT_SECONDS = Histogram(
    "holdfast_wait_seconds", "From when a job was due to its handler's start", ["task"], buckets=_SECONDS
)
STALE_WRITES = Counter("holdfast_stale_writes", "Attempts whose outcome was refused by the fence", ["queue"])
RESCUES = Counter("holdfast_rescues", "Running jobs taken back from who could not finish them", ["reason"])
STRAYS = Counter("holdfast_stray_entries", "Stream entries that no dispatched job stands behind", ["queue"])
REDISPATCHED = Counter("holdfast_redispatched", "Dispatched jobs that Redis had forgotten", ["queue"])
CRON_LATE = Histogram("holdfast_cron_late_seconds", "From a tick to its job", ["schedule"], buckets=_SECONDS)
CRON_MISSED = Counter("holdfast_cron_missed", "Ticks that made no job of their own", ["schedule"])


@lru_cache(maxsize=1024)
def run_seconds(task: str) -> Histogram:
    """The labelled child, remembered: finding it costs more than observing does."""
    return RUN_SECONDS.labels(task=task)


@lru_cache(maxsize=1024)
def wait_seconds(task: str) -> Histogram:
    return WAIT_SECONDS.labels(task=task)


@lru_cache(maxsize=8192)
def jobs_ended(task: str, outcome: str) -> Counter:
    return JOBS.labels(task=task, outcome=outcome)
