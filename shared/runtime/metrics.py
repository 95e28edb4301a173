"""Metrics of this process, by the names in docs/telemetry.md; one registry, no connection, nothing at import but names.

Labels are bounded: task and queue names come from command classes, outcomes and reasons from the state machine.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response

REGISTRY = CollectorRegistry(auto_describe=True)
_RUN_S = (0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 1800.0)
_WAIT_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 600.0, 3600.0)

jobs = Counter("holdfast_jobs", "attempts recorded", ("task", "outcome"), registry=REGISTRY)
run_seconds = Histogram("holdfast_run_seconds", "a handler's run", ("task",), buckets=_RUN_S, registry=REGISTRY)
wait_seconds = Histogram("holdfast_wait_seconds", "due to started", ("task",), buckets=_WAIT_S, registry=REGISTRY)
stale_writes = Counter("holdfast_stale_writes", "results refused by the fence", registry=REGISTRY)
rescues = Counter("holdfast_rescues", "jobs given back for a dead process", ("reason",), registry=REGISTRY)
stray_entries = Counter("holdfast_stray_entries", "stream entries deleted: not dispatched", registry=REGISTRY)
queue_depth = Gauge("holdfast_queue_depth", "due and runnable jobs", ("queue",), registry=REGISTRY)
queue_oldest_seconds = Gauge(
    "holdfast_queue_oldest_seconds", "age of the oldest due job", ("queue",), registry=REGISTRY
)
dead_open = Gauge("holdfast_dead_open", "dead letters waiting for a person", registry=REGISTRY)


def attempt_recorded(task: str, outcome: str, *, run_s: float | None = None, wait_s: float | None = None) -> None:
    jobs.labels(task, outcome).inc()
    if run_s is not None:
        run_seconds.labels(task).observe(max(0.0, run_s))
    if wait_s is not None:
        wait_seconds.labels(task).observe(max(0.0, wait_s))


def queue_measured(queue: str, depth: int, oldest_s: float) -> None:
    queue_depth.labels(queue).set(depth)
    queue_oldest_seconds.labels(queue).set(oldest_s)


def exposition() -> Response:
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)
