"""When a failed delivery goes out again: retry arithmetic, pure.

An endpoint's own schedule is exact: retry n waits `schedule[n-1]` seconds, and there are no more attempts than
`len(schedule) + 1`. Without one the default schedule of the command holds, with its jitter. A receiver's Retry-After
may put a retry off, never bring it forward, and by no more than the larger of the scheduled delay and
`WISH_MOST_S`: a receiver must not be able to park deliveries for a day.
"""

from collections.abc import Sequence
from typing import Final

from shared.contracts.commands.webhooks import DeliverWebhook
from shared.contracts.retry import Schedule

WISH_MOST_S: Final = 600.0
DELAYS_MAX: Final = 50


def policy_of(schedule_s: Sequence[float] | None) -> Schedule:
    """The endpoint's policy; `max_attempts` of it is what a delivery is accepted with."""
    if schedule_s is not None:
        return Schedule(delays_s=tuple(schedule_s))
    default = DeliverWebhook.retry
    assert isinstance(default, Schedule)
    return default


def next_delay_s(policy: Schedule, attempt: int, wish_s: float | None = None) -> float | None:
    """Seconds to wait after the failed attempt number `attempt` (from 1); None when that was the last one."""
    if attempt >= policy.max_attempts:
        return None
    delay_s = policy.delay_s(attempt)
    if wish_s is None:
        return delay_s
    return max(delay_s, min(wish_s, max(2 * delay_s, WISH_MOST_S)))
