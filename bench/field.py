"""Who takes part: every peer once as it comes and once tuned, in the words of its own documentation."""

from bench.peer import Spec, Tables

_PGQUEUER = Tables(
    names="pgqueuer, pgqueuer_log, pgqueuer_statistics",
    completed="pgqueuer_log WHERE status = 'successful'",
    fill="INSERT INTO pgqueuer (priority, status, entrypoint) SELECT 0, 'queued', 'noop' FROM generate_series(1, $1)",
    bury=(
        "UPDATE pgqueuer SET status = 'picked', queue_manager_id = gen_random_uuid()",
        "DELETE FROM pgqueuer",
    ),
)
_PROCRASTINATE = Tables(
    names="procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers",
    completed="procrastinate_jobs WHERE status = 'succeeded'",
    fill="""
        INSERT INTO procrastinate_jobs (queue_name, task_name)
        SELECT 'bench', 'bench.noop' FROM generate_series(1, $1)
    """,
    bury=(
        "UPDATE procrastinate_jobs SET status = 'doing'",
        "UPDATE procrastinate_jobs SET status = 'succeeded', attempts = 1",
    ),
)
_CELERY = ("celery", "-A", "bench.peers.celery", "worker", "--loglevel", "WARNING")
_DRAMATIQ = ("dramatiq", "bench.peers.dramatiq", "--processes", "1")

CELERY = (
    Spec("Celery", "bench.peers.celery", False, (*_CELERY, "--concurrency", "1")),
    Spec(
        "Celery, tuned", "bench.peers.celery", True,
        (*_CELERY, "--concurrency", "1", "--pool", "threads",
         *(f"--without-{what}" for what in ("gossip", "mingle", "heartbeat"))),
    ),
)  # fmt: skip
DRAMATIQ = (
    Spec("dramatiq", "bench.peers.dramatiq", False, _DRAMATIQ),
    Spec(
        "dramatiq, tuned", "bench.peers.dramatiq", True, (*_DRAMATIQ, "--threads", "2"),
        env={"dramatiq_queue_prefetch": "1000"},
    ),
)  # fmt: skip
PROCRASTINATE = tuple(
    Spec(name, "bench.peers.procrastinate", tuned, ("python", "-m", "bench.peers.procrastinate", "work"), True,
         _PROCRASTINATE)
    for name, tuned in (("procrastinate", False), ("procrastinate, 20 at once", True))
)  # fmt: skip
PGQUEUER = tuple(
    Spec(name, "bench.peers.pgqueuer", tuned, ("python", "-m", "bench.peers.pgqueuer", "work"), True, _PGQUEUER)
    for name, tuned in (("pgqueuer", False), ("pgqueuer, batch 100", True))
)
PEERS = (*CELERY, *DRAMATIQ, *PROCRASTINATE, *PGQUEUER)
