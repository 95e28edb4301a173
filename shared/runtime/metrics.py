"""What `/metrics` shows: the engine's counters of this process, and the queues' gauges, taken when somebody looks.

Names and labels are listed in docs/telemetry.md. Labels are bounded: queues and tasks come from command classes,
outcomes and reasons from the state machine; no tenant, no id, no path stands in one.
"""

from prometheus_client import REGISTRY, Gauge, generate_latest, start_http_server
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response

from shared.kernel.logs import get_logger
from shared.transport import telemetry

log = get_logger(__name__)

ENGINE = (
    telemetry.JOBS,
    telemetry.RUN_SECONDS,
    telemetry.WAIT_SECONDS,
    telemetry.STALE_WRITES,
    telemetry.RESCUES,
    telemetry.STRAYS,
    telemetry.REDISPATCHED,
    telemetry.CRON_LATE,
    telemetry.CRON_MISSED,
)
QUEUE_DEPTH = Gauge("holdfast_queue_depth", "Due and runnable jobs: ready, dispatched and running", ["queue"])
QUEUE_OLDEST_S = Gauge("holdfast_queue_oldest_seconds", "Since the oldest of them was due", ["queue"])
DEAD_OPEN = Gauge("holdfast_dead_open", "Dead letters that nobody has resolved")


def queue_measured(queue: str, depth: int, oldest_s: float) -> None:
    QUEUE_DEPTH.labels(queue).set(depth)
    QUEUE_OLDEST_S.labels(queue).set(oldest_s)


def exposition() -> Response:
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


def serve(port: int | None) -> None:
    """Show this process's counters on a port of its own, for processes without HTTP; not being able to is no end."""
    if port is None:
        return
    try:
        start_http_server(port)
    except OSError as error:
        log.warning("metrics_unserved", port=port, error=str(error))
