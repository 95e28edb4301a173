"""Time limits that must fit into each other: drain into grace, beats into leases, patience over a deploy. Pure."""

from shared.kernel.settings import CoreSettings
from shared.runtime.doctor.finding import Finding, Level, judged
from shared.runtime.doctor.subject import PRE_STOP_S, Subject

CLOSING_S = 10.0  # after a drain: what is left is given back, connections are closed
DEPLOY_S = 300.0


async def examine(subject: Subject) -> list[Finding]:
    return [drain(subject.settings.drain_limit_s, subject.grace_s), patience(subject.settings)]


def drain(drain_limit_s: float, grace_s: float) -> Finding:
    needed = drain_limit_s + PRE_STOP_S
    level: Level = "fail" if grace_s <= needed else "warn" if grace_s < needed + CLOSING_S else "ok"
    found = f"drain {drain_limit_s:g} s, grace {grace_s:g} s"
    wanted = f"a grace of {needed + CLOSING_S:g} s (drain, {PRE_STOP_S:g} s preStop, {CLOSING_S:g} s to close)"
    fix = "lower HOLDFAST_DRAIN_LIMIT_S or raise terminationGracePeriodSeconds: what SIGKILL ends runs again"
    return judged("drain limit", level, found, wanted, fix)


def patience(settings: CoreSettings) -> Finding:
    given = settings.unknown_task_patience_s
    fix = "raise HOLDFAST_UNKNOWN_TASK_PATIENCE_S: jobs of new tasks die when the rollout takes longer"
    level: Level = "warn" if given < DEPLOY_S else "ok"
    return judged("patience with unknown tasks", level, f"{given:g} s", f"longer than a deploy ({DEPLOY_S:g} s)", fix)
