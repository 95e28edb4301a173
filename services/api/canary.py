"""Canaries, pure: when the rest of the dead letters may follow those that were retried first, and when they may not.

The rest follows only if every canary has completed; one that died again, was cancelled or is not there any more stops
it, as does an hour in which they have not ended. What is decided stands in the follow-up job's result.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from shared.contracts.commands.api import RetryRest
from shared.kernel.clock import SECOND_US
from shared.ledger.states import TERMINAL
from shared.ledger.store_inbox import Matching

CANARIES_MOST = 100
WAIT_S = 3600.0
LOOK_FIRST_S = 0.5
LOOK_LAST_S = 60.0
GONE = "gone"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`wait_s` until the next look; None when it is decided, and then `outcome` says how."""

    outcome: Literal["waiting", "retried", "stopped", "gave_up"]
    canaries: Mapping[str, str]
    wait_s: float | None = None
    died: tuple[str, ...] = field(default=())

    @property
    def words(self) -> str:
        waiting = [state for state in self.canaries.values() if state not in TERMINAL]
        return f"{len(waiting)} of {len(self.canaries)} canaries have not ended"

    def result(self) -> dict[str, Any]:
        """`died`: the canaries that ended otherwise than completed, with their states in `canaries`."""
        return {"outcome": self.outcome, "retried": 0, "died": list(self.died), "canaries": dict(self.canaries)}


def judge(command: RetryRest, states: Mapping[str, str], *, now_us: int, number: int, last: bool) -> Verdict:
    """`states` are the stored ones of the canaries that are there; `number` counts the looks from 1."""
    canaries = {job_id: states.get(job_id, GONE) for job_id in command.canaries}
    if any(state not in TERMINAL and state != GONE for state in canaries.values()):
        left_s = (command.wait_until_us - now_us) / SECOND_US
        if left_s <= 0 or last:
            return Verdict("gave_up", canaries)
        return Verdict("waiting", canaries, min(look_after_s(number), left_s))
    died = tuple(job_id for job_id, state in canaries.items() if state != "completed")
    return Verdict("stopped" if died else "retried", canaries, died=died)


def look_after_s(number: int) -> float:
    """Doubles to a minute: what takes long is looked at rarely, and an hour takes far fewer looks than attempts."""
    return float(min(LOOK_LAST_S, LOOK_FIRST_S * 2 ** min(number - 1, 10)))


def rest_of(command: RetryRest) -> Matching:
    """Canaries that died again died after `until_us`, and are not among them."""
    return Matching(
        task=command.of_task, queue=command.of_queue, fingerprint=command.fingerprint,
        until_us=command.until_us, ids=command.ids,
    )  # fmt: skip
