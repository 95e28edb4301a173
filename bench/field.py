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


def _on_postgres(name: str, adapter: str, tables: Tables, *, tuned: bool, slow: bool = False) -> Spec:
    command = ("python", "-m", f"bench.peers.{adapter}", "work")
    return Spec(name, f"bench.peers.{adapter}", tuned, command, bulk=True, slow=slow, tables=tables)


CELERY = (
    Spec("Celery", "bench.peers.celery", False, (*_CELERY, "--concurrency", "1"), slow=True),
    Spec(
        "Celery, tuned", "bench.peers.celery", True,
        (*_CELERY, "--concurrency", "20", "--pool", "threads",
         *(f"--without-{what}" for what in ("gossip", "mingle", "heartbeat"))), slow=True,
    ),
)  # fmt: skip
DRAMATIQ = (
    Spec("dramatiq", "bench.peers.dramatiq", False, _DRAMATIQ),
    Spec(
        "dramatiq, tuned", "bench.peers.dramatiq", True, (*_DRAMATIQ, "--threads", "2"),
        env={"dramatiq_queue_prefetch": "1000"},
    ),
)  # fmt: skip
PROCRASTINATE = (
    _on_postgres("procrastinate", "procrastinate", _PROCRASTINATE, tuned=False, slow=True),
    _on_postgres("procrastinate, 20 at once", "procrastinate", _PROCRASTINATE, tuned=True, slow=True),
)
PGQUEUER = (
    _on_postgres("pgqueuer", "pgqueuer", _PGQUEUER, tuned=False),
    _on_postgres("pgqueuer, batch 100", "pgqueuer", _PGQUEUER, tuned=True),
)
PEERS = (*CELERY, *DRAMATIQ, *PROCRASTINATE, *PGQUEUER)
