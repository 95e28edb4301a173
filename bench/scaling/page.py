"""What docs/explanation/scaling.md shows between its markers: the runs, the plots and the plan. Pure."""

from collections.abc import Sequence

from bench.scaling import plan
from bench.scaling.plan import Load, Plan
from bench.scaling.rates import Measured
from bench.scaling.scenarios import TITLES, Shown

PAGE = "docs/explanation/scaling.md"
DAY_S = 86_400
PEAK = 3.0  # of a day's mean
LOADS = (
    Load("100/s", 100, 100 / PEAK),
    Load("ten times that", 1_000, 1_000 / PEAK),
    Load("100 million a day", PEAK * 1e8 / DAY_S, 1e8 / DAY_S),
    Load("10,000/s", 10_000, 10_000 / PEAK),
    Load("10,000/s, endpoints take 2 s", 10_000, 10_000 / PEAK, latency_s=2.0),
)
RUN_HEAD = "| | most backlog | left at the end | most pods | pod-hours | waits p50 | p99 | longest |"


def block(shown: Sequence[Shown], measured: Measured, slots: int) -> str:
    parts = [f"Measured in runs {', '.join(measured.runs)}: see [performance](performance.md).", ""]
    for one in shown:
        parts += [
            f"### {TITLES[one.name]}",
            "",
            f"![{TITLES[one.name]}](../img/scaling-{one.name}.svg)",
            "",
            *_runs(one),
            "",
        ]
    if measured.picture_rate is None:
        parts += ["media-worker is left out: no published run has measured pictures (`python -m bench media`).", ""]
    return "\n".join([*parts, "### What a load needs", "", *plan_lines(measured, slots)])


def _runs(one: Shown) -> list[str]:
    lines = [RUN_HEAD, "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for side, run in one.runs.items():
        waits = " | ".join(_seconds(run.wait_s(share)) for share in (0.5, 0.99, 1.0))
        lines.append(
            f"| {side} | {max(run.backlog):,.0f} | {run.backlog[-1]:,.0f} | {max(run.replicas)} | {run.pod_hours:.2f} "
            f"| {waits} |"
        )
    return lines


def plan_lines(measured: Measured, slots: int) -> list[str]:
    plans = [plan.plan(load, measured, slots) for load in LOADS]
    rows = [
        ("deliveries a second at the peak, and as a day's mean", lambda p: f"{p.load.peak:,.0f}, {p.load.mean:,.0f}"),
        ("webhooks-worker pods (200 slots)", lambda p: str(p.worker_pods)),
        ("api-http pods, an event for each delivery", lambda p: str(p.http_pods)),
        ("relay, of one core", lambda p: f"{p.relay_cores:.2f}"),
        ("PostgreSQL and Redis, cores", lambda p: str(p.database_cores)),
        ("ledger with its indexes, GiB", lambda p: f"{p.database_gib:,.1f}"),
        ("attempts kept (14 days)", lambda p: f"{p.attempts_rows / 1e6:,.0f} million"),
        ("WAL at the peak, MiB/s", lambda p: f"{p.wal_mib_s:,.1f}"),
        ("Redis memory, MiB", lambda p: str(p.redis_mib)),
        ("cells", lambda p: str(p.cells)),
        ("attempts in partitions by day", lambda p: "yes" if p.is_partitioned else "no"),
        ("more than one cell because of", lambda p: "; ".join(p.limits)),
    ]
    head = [f"| | {' | '.join(each.load.name for each in plans)} |", f"|---|{'---:|' * len(plans)}"]
    lines = [*head, *(f"| {words} | {' | '.join(_cell(cell, each) for each in plans)} |" for words, cell in rows)]
    ends = plan.one_postgres_ends_at(measured)
    return [*lines, "", *(f"- One cell ends at {rate:,.0f} deliveries/s by {what}." for what, rate in ends.items())]


def _cell(cell: object, each: Plan) -> str:
    assert callable(cell)
    return str(cell(each))


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value else "< 1 s"
