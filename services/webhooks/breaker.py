"""How an endpoint is treated by how it answers: its circuit breaker, its ceiling, and at last whether it is given up.

Pure. `step` takes what is known of an endpoint and one attempt that ended, and says what is known then. The breaker
opens when at least `least` attempts of a window ended and the `share` of failures among them is reached; while it is
open nothing starts, then one attempt at a time probes: a success closes it, a failure holds the lane twice as long.
The ceiling on attempts at once is halved when the receiver throttles (429, 502, 504) and rises by a twentieth of the
limit a second while it answers; it is never below 1. Attempts that began before a change say nothing about it.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

from shared.kernel.clock import SECOND_US

HOLD: Final = "circuit_open"
STEP_SHARE: Final = 20  # of the limit: how much the ceiling rises at once
STEP_US: Final = SECOND_US  # and how often at most
REASON_MOST_CHARS: Final = 300

Circuit = Literal["closed", "open", "half_open"]
Kind = Literal["ok", "failed", "throttled"]


@dataclass(frozen=True, slots=True)
class Rules:
    """Seconds; `disable_after_s` 0 never disables."""

    window_s: float = 60.0
    least: int = 10
    share: float = 0.5
    pause_s: float = 5.0
    pause_most_s: float = 300.0
    disable_after_s: float = 5 * 86_400.0


@dataclass(frozen=True, slots=True)
class State:
    """Of one endpoint; instants in µs. What is not in the ledger yet is as a `State()`: closed, and never failed."""

    window_at: int = 0
    succeeded: int = 0
    failed: int = 0
    trips: int = 0  # openings since it was last closed
    opened_at: int | None = None
    held_until: int = 0
    failing_since: int | None = None  # the last attempt failed, and all of them since then
    failures: int = 0  # in a row
    last_failure: str | None = None
    troubled: bool = False  # people were told, or would have been
    ceiling: int | None = None
    ceiling_at: int = 0
    reset_at: int = 0  # what began before says nothing: it went somewhere else, or somebody has seen to it

    def circuit(self, now_us: int) -> Circuit:
        if self.opened_at is None:
            return "closed"
        return "open" if now_us < self.held_until else "half_open"

    @property
    def at_once(self) -> int | None:
        """How many attempts may be under way: one while it is open or probed, whatever the ceiling was."""
        return 1 if self.opened_at is not None else self.ceiling


@dataclass(frozen=True, slots=True)
class Seen:
    """An attempt that ended. `others` succeeded before it, and were not written of; `told`: people hear of it."""

    kind: Kind
    started_at: int
    ended_at: int
    reason: str = ""
    others: int = 0
    told: bool = False


FRESH: Final = State()


def step(state: State, seen: Seen, rules: Rules, limit: int) -> State:
    """`limit` is how many attempts the lane allows at once. The same state, when nothing is worth writing."""
    if seen.started_at < state.reset_at:
        return state
    if seen.kind == "ok":
        return _recovering(_succeeded(state, seen, limit), seen, limit)
    return _failed(_throttled(state, seen, limit) if seen.kind == "throttled" else state, seen, rules)


def is_hopeless(state: State, now_us: int, rules: Rules) -> bool:
    """Nothing but failures for so long that it is to be disabled."""
    since = state.failing_since
    return bool(rules.disable_after_s) and since is not None and now_us - since >= rules.disable_after_s * SECOND_US


def reset(state: State, now_us: int) -> State:
    """Somebody has switched it on, or changed where it is: what was known counts no more, nor what is under way."""
    return State(troubled=state.troubled, reset_at=now_us)


def _succeeded(state: State, seen: Seen, limit: int) -> State:
    if state.opened_at is not None and seen.started_at < state.opened_at:
        return state  # it began when things were better
    if state.opened_at is not None:
        slow = max(1, (limit if state.ceiling is None else state.ceiling) // 2)  # what has waited must not come at once
        state = replace(
            state, opened_at=None, held_until=0, trips=0, window_at=seen.ended_at, succeeded=0, failed=0,
            ceiling=slow if slow < limit else None, ceiling_at=seen.ended_at,
        )  # fmt: skip
    if state.failing_since is None and not state.troubled:
        return state
    return replace(state, failing_since=None, failures=0, troubled=False)


def _recovering(state: State, seen: Seen, limit: int) -> State:
    if state.ceiling is None or seen.started_at < state.ceiling_at or seen.ended_at - state.ceiling_at < STEP_US:
        return state
    higher = state.ceiling + max(1, limit // STEP_SHARE)
    return replace(state, ceiling=higher if higher < limit else None, ceiling_at=seen.ended_at)


def _throttled(state: State, seen: Seen, limit: int) -> State:
    if seen.started_at < state.ceiling_at:
        return state  # the same storm that it was halved for
    lower = max(1, min(limit, limit if state.ceiling is None else state.ceiling) // 2)
    if lower == state.ceiling:
        return state
    return replace(state, ceiling=lower if lower < limit else None, ceiling_at=seen.ended_at)


def _failed(state: State, seen: Seen, rules: Rules) -> State:
    at = seen.ended_at
    state = replace(
        state, failing_since=at if state.failing_since is None else state.failing_since, failures=state.failures + 1,
        last_failure=seen.reason[:REASON_MOST_CHARS], troubled=state.troubled or seen.told,
    )  # fmt: skip
    if state.opened_at is not None:
        if seen.started_at < state.held_until:
            return state  # under way when it opened, or let through by a worker that had not heard
        return _opened(state, at, rules)
    if at - state.window_at >= rules.window_s * SECOND_US:
        state = replace(state, window_at=at, succeeded=0, failed=0)
    state = replace(state, failed=state.failed + 1, succeeded=state.succeeded + seen.others)
    ended = state.failed + state.succeeded
    if ended < rules.least or state.failed < rules.share * ended:
        return state
    return _opened(replace(state, opened_at=at), at, rules)


def _opened(state: State, at: int, rules: Rules) -> State:
    pause_s = min(rules.pause_most_s, rules.pause_s * 2.0 ** min(state.trips, 30))
    return replace(state, trips=state.trips + 1, held_until=at + round(pause_s * SECOND_US), troubled=True)
