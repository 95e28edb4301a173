"""What `/metrics` shows: the engine's counters of this process, and the queues' gauges, taken when somebody looks.

Names and labels are listed in docs/telemetry.md. Labels are bounded: queues and tasks come from command classes,
outcomes and reasons from the state machine; no tenant, no id, no path stands in one.
"""

import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import REGISTRY, Gauge, generate_latest, make_wsgi_app
from prometheus_client.exposition import CONTENT_TYPE_LATEST, ThreadingWSGIServer
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


def serve(port: int | None, ready: Callable[[], tuple[int, bytes]] | None = None) -> None:
    """Show this process's counters on a port of its own, for processes without HTTP; not being able to is no end.

    `ready` gives status and JSON of `/readyz` there; it is called in a thread.
    """
    if port is None:
        return
    shown = make_wsgi_app(REGISTRY)

    def app(environ: dict[str, Any], start: Any) -> Any:
        if ready is None or environ.get("PATH_INFO") != "/readyz":
            return shown(environ, start)
        status, body = ready()
        start(f"{status} {HTTPStatus(status).phrase}", [("Content-Type", "application/json")])
        return [body]

    try:
        server = make_server("0.0.0.0", port, app, ThreadingWSGIServer, handler_class=_Quiet)  # noqa: S104 - a pod's own
    except OSError as error:
        log.warning("metrics_unserved", port=port, error=str(error))
        return
    threading.Thread(target=server.serve_forever, daemon=True).start()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as its base names it
        """Who scrapes is nobody's news."""
