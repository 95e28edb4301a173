"""A capacity plan: from deliveries a second to pods, PostgreSQL, Redis and cells. Pure, over what was measured.

Everything is sized to be busy for `BUSY` of its time at the peak: the rest is for bursts, retries and what a neighbour
takes. A cell is one PostgreSQL with its Redis and its relays; more work than one carries is parted by tenant.
"""

import math
from dataclasses import dataclass

from bench.scaling.rates import Measured

BUSY = 0.6
CELL_CORES = 32  # of one PostgreSQL: beyond that a machine costs more than two
RELAY_BUSY = 0.7  # of one core: one relay at a time serves a queue, in one event loop
KEEP_JOBS_DAYS, KEEP_ATTEMPTS_DAYS = 1, 14  # the settings' defaults
PARTITION_ROWS_A_DAY = 100_000_000  # from where on ADR 0016 turns around
DAY_S = 86_400
GIB = 1024**3


@dataclass(frozen=True)
class Load:
    """`peak` deliveries a second; `mean` over a day; `fan_out` deliveries of an event; `latency_s` of an endpoint."""

    name: str
    peak: float
    mean: float
    fan_out: float = 1.0
    latency_s: float = 0.1


@dataclass(frozen=True)
class Plan:
    load: Load
    worker_pods: int
    http_pods: int
    relay_cores: float
    database_cores: int
    database_gib: float
    wal_mib_s: float
    attempts_rows: float
    redis_mib: int
    cells: int
    limits: tuple[str, ...]  # what asked for the cells

    @property
    def is_partitioned(self) -> bool:
        """A cell's attempts of a day: deleting them costs more than dropping a partition would."""
        return self.load.mean * DAY_S / self.cells >= PARTITION_ROWS_A_DAY


def pod_rate(measured: Measured, slots: int, latency_s: float) -> float:
    """Deliveries a second of one webhooks-worker: what it was measured to do, or what its slots can wait for."""
    return min(measured.delivery_rate, slots / latency_s)


def database_us(measured: Measured, fan_out: float) -> float:
    """Of PostgreSQL and Valkey together, for a delivery with its share of accepting the event."""
    return measured.delivery_servers_us + measured.accept_servers_us / fan_out


def plan(load: Load, measured: Measured, slots: int) -> Plan:
    events = load.peak / load.fan_out
    cores = load.peak * database_us(measured, load.fan_out) / 1e6 / BUSY
    relay = load.peak * measured.delivery_relay_us / 1e6
    by_database, by_relay = math.ceil(cores / CELL_CORES), math.ceil(relay / RELAY_BUSY)
    cells = max(1, by_database, by_relay)
    limits = [f"PostgreSQL: {cores:.0f} cores, a cell has {CELL_CORES}"] if by_database > 1 else []
    limits += [f"the relay: {relay:.2f} of a core, one has {RELAY_BUSY:g}"] if by_relay > 1 else []
    bytes_a_day = load.mean * DAY_S
    kept = bytes_a_day * (measured.job_bytes * KEEP_JOBS_DAYS + measured.attempt_bytes * KEEP_ATTEMPTS_DAYS)
    pods = math.ceil(load.peak / (pod_rate(measured, slots, load.latency_s) * BUSY))
    return Plan(
        load=load,
        worker_pods=max(1, pods),
        http_pods=max(2, math.ceil(events * measured.accept_us / 1e6 / BUSY)),
        relay_cores=relay,
        database_cores=max(2, math.ceil(cores)),
        database_gib=kept / GIB,
        wal_mib_s=load.peak * measured.job_wal_bytes / 1024**2,
        attempts_rows=bytes_a_day * KEEP_ATTEMPTS_DAYS,
        redis_mib=redis_mib(measured, pods * slots, cells),
        cells=cells,
        limits=tuple(limits),
    )


def redis_mib(measured: Measured, slots: int, cells: int) -> int:
    """A stream holds ids of what is about to run, never a backlog: what was measured, and 1 KiB for each slot; doubled.

    Twice, because a fork for a snapshot or a rewrite of the log may copy every page.
    """
    return math.ceil(2 * (cells * measured.redis_mib + slots / 1024))


def one_postgres_ends_at(measured: Measured, fan_out: float = 1.0) -> dict[str, float]:
    """Deliveries a second at which a cell is full, by what fills it."""
    return {
        "PostgreSQL": CELL_CORES * BUSY * 1e6 / database_us(measured, fan_out),
        "relay of one queue": RELAY_BUSY * 1e6 / measured.delivery_relay_us,
    }
