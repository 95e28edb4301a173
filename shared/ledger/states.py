"""The state machine of a job, pure: from what happened to an attempt to the row that the ledger will hold.

Drawn and argued in docs/state-machine.md. Every way out of `running` is a `Transition`, whoever decides it: the worker
that ran the job, the rescuer of a dead worker, the enforcer of deadlines. One statement records them all, and only
if the fence, the incarnation and `running` still match.
"""

from dataclasses import dataclass, replace
from typing import Literal

from shared.kernel.clock import after_us
from shared.ledger.output import Chunk
from shared.ledger.progress import Key, Report, storable

State = Literal["ready", "dispatched", "running", "completed", "dead", "cancelled"]
Outcome = Literal["completed", "failed", "timed_out", "crashed", "lost", "released", "cancelled"]
TERMINAL: frozenset[str] = frozenset({"completed", "dead", "cancelled"})
STATES: tuple[State, ...] = ("ready", "dispatched", "running", "completed", "dead", "cancelled")

SUSPECT_CRASHES = 2  # one dead process is no evidence: an operator or the OOM killer may have picked it
POISON_CRASHES = SUSPECT_CRASHES + 2  # two more, alone in the process both times
MAX_RELEASES = 20  # given back without spending an attempt; after that a release spends one
DEADLINE_GRACE_S = 10.0  # the worker enforces the timeout; the ledger's deadline is behind it


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this incarnation holds: what is needed to run it and to end it."""

    id: str
    task: str
    args: str
    tenant: str
    queue: str
    fence: int
    incarnation: str
    attempt: int
    max_attempts: int
    crashes: int
    releases: int
    timeout_s: float
    created_at: int
    claimed_at: int
    run_at: int = 0
    trace: str | None = None
    parent: str | None = None
    lane: str | None = None
    cancel_requested: bool = False

    @property
    def key(self) -> Key:
        """What guards whatever this attempt writes."""
        return self.id, self.fence, self.incarnation

    @property
    def suspect(self) -> bool:
        """Must run alone in its process."""
        return self.crashes >= SUSPECT_CRASHES


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not complete. `trace` is shown with the attempt only.

    Both are words of somebody else's: what no database holds is taken out of them, for the end itself must be written.
    """

    type: str
    message: str
    fingerprint: str = ""
    trace: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", storable(self.message))
        if self.trace is not None:
            object.__setattr__(self, "trace", storable(self.trace))


@dataclass(frozen=True, slots=True)
class Transition:
    """One way out of `running`. `outcome` None writes no attempt row: the handler had not started."""

    claim: Claim
    state: State
    outcome: Outcome | None
    finished_at: int
    run_at: int | None = None
    started_at: int | None = None
    attempt: int = 0
    crashes: int = 0
    releases: int = 0
    result: str | None = None
    failure: Failure | None = None
    detail: str | None = None
    progress: Report | None = None  # the attempt's last, when it is not in the ledger yet
    output: tuple[Chunk, ...] = ()  # what it has written, as far as that is not known to be there


def _leave(claim: Claim, now_us: int, state: State, outcome: Outcome | None, started_at: int | None) -> Transition:
    return Transition(
        claim=claim,
        state=state,
        outcome=outcome,
        finished_at=now_us,
        started_at=started_at,
        attempt=claim.attempt,
        crashes=claim.crashes,
        releases=claim.releases,
    )


def completed(
    claim: Claim, now_us: int, *, started_at: int, result: str | None = None, detail: str | None = None
) -> Transition:
    return Transition(  # built at once: this one is on the hot path
        claim=claim,
        state="completed",
        outcome="completed",
        finished_at=now_us,
        started_at=started_at,
        attempt=claim.attempt + 1,
        crashes=claim.crashes,
        releases=claim.releases,
        result=result,
        detail=detail,
    )


def _cancelled(left: Transition) -> Transition:
    """Somebody asked to cancel while it ran: whatever would have brought it back ends it instead."""
    return replace(
        left, state="cancelled", run_at=None, failure=Failure("Cancelled", "cancelled on request", "cancelled")
    )


def failed(
    claim: Claim,
    now_us: int,
    failure: Failure,
    *,
    started_at: int | None,
    delay_s: float | None,
    outcome: Outcome = "failed",
    detail: str | None = None,
) -> Transition:
    """Spend an attempt. `delay_s` None, or no attempt left, ends in `dead`; a cancelled job is not retried."""
    spent = claim.attempt + 1
    left = replace(_leave(claim, now_us, "dead", outcome, started_at), attempt=spent, failure=failure, detail=detail)
    if claim.cancel_requested:
        return _cancelled(left)
    if delay_s is None or spent >= claim.max_attempts:
        return left
    return replace(left, state="ready", run_at=after_us(now_us, delay_s))


def dead(
    claim: Claim, now_us: int, failure: Failure, *, started_at: int | None, detail: str | None = None
) -> Transition:
    return failed(claim, now_us, failure, started_at=started_at, delay_s=None, detail=detail)


def discarded(
    claim: Claim, now_us: int, failure: Failure, *, started_at: int | None, detail: str | None = None
) -> Transition:
    """The handler says that the work is not wanted any more, or a person cancelled it while it ran."""
    left = _leave(claim, now_us, "cancelled", "cancelled", started_at)
    return replace(left, attempt=claim.attempt + 1, failure=failure, detail=detail)


def released(
    claim: Claim, now_us: int, reason: str, *, started_at: int | None = None, delay_s: float = 0.0
) -> Transition:
    """Give back without spending an attempt: a drain, a lease loss, an unknown task. Bounded by MAX_RELEASES."""
    if claim.releases >= MAX_RELEASES:
        failure = Failure("Released", f"given back {claim.releases} times: {reason}", "released")
        return failed(claim, now_us, failure, started_at=started_at, delay_s=delay_s or 1.0, outcome="released")
    outcome: Outcome | None = None if started_at is None else "released"
    left = _leave(claim, now_us, "ready", outcome, started_at)
    if claim.cancel_requested:
        return _cancelled(left)
    return replace(
        left,
        run_at=after_us(now_us, delay_s) if delay_s else None,  # None keeps its place in the queue
        releases=claim.releases + 1,
        failure=Failure("Released", reason, "released") if outcome else None,
    )


def lost(claim: Claim, now_us: int, reason: str) -> Transition:
    """The incarnation stopped beating, ended or lost its place: nobody is to blame, the job goes back at once."""
    left = released(claim, now_us, reason, started_at=claim.claimed_at)
    return replace(left, outcome="lost")


def crashed(claim: Claim, now_us: int, how: str) -> Transition:
    """The process is known to have died under the job; a suspect that keeps killing its process alone is poison."""
    crashes = claim.crashes + 1
    left = replace(
        _leave(claim, now_us, "ready", "crashed", claim.claimed_at),
        crashes=crashes,  # and its place in the queue: what was interrupted goes first
        failure=Failure("Crashed", how, "crashed"),
    )
    if claim.cancel_requested:
        return _cancelled(left)
    if crashes >= POISON_CRASHES:
        alone = crashes - SUSPECT_CRASHES
        words = f"poison: its process died {crashes} times under it, the last {alone} times alone; {how}"
        return replace(left, state="dead", failure=Failure("poison", words, "poison"))
    return left


def overdue(claim: Claim, now_us: int, delay_s: float | None) -> Transition:
    """The ledger's deadline has passed and the worker has not ended the attempt."""
    failure = Failure(
        "DeadlineExceeded", f"still running past its deadline ({claim.timeout_s:g} s and grace)", "deadline"
    )
    return failed(claim, now_us, failure, started_at=claim.claimed_at, delay_s=delay_s, outcome="timed_out")


def shown_state(state: str, run_at: int, attempt: int, now_us: int) -> str:
    """What people see: scheduled, queued, retrying, running, completed, dead, cancelled."""
    if state == "ready" and attempt > 0:
        return "retrying"
    if state == "ready" and run_at > now_us:
        return "scheduled"
    return "queued" if state in ("ready", "dispatched") else state
