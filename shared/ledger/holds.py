"""What holds a job back, pure: from facts of the ledger to the one reason that is shown, and a lane's room.

The reasons are asked in the order in which the job would meet them: its time, its children, pauses, its lane, workers,
and at last the line. Instants are µs. What the relay keeps in memory is not asked, so this may be a moment behind it.
"""

from dataclasses import dataclass
from typing import Any

from shared.contracts.lane import LanePolicy
from shared.ledger.states import SUSPECT_CRASHES

AHEAD_MOST = 1_000  # jobs ahead in line that are counted


@dataclass(frozen=True, slots=True)
class LaneFacts:
    name: str
    policy: LanePolicy
    paused_at: int | None = None
    tat: int = 0
    under_way: int = 0  # dispatched or running
    head: str | None = None  # the oldest job that has not ended
    held_until: int = 0
    held_why: str | None = None  # one word of the service that holds it
    ceiling: int | None = None
    group: "LaneFacts | None" = None  # the lane that this one stands in; its `ordered` is not asked

    @property
    def limit(self) -> int | None:
        own = self.policy.limit
        return own if self.ceiling is None else min(self.ceiling, own or self.ceiling)

    def room(self, now_us: int) -> int | None:
        """How many more may start at this moment; None when nothing limits it."""
        if self.paused_at is not None or self.held_until > now_us:
            return 0
        limit, tokens = self.limit, self.policy.tokens(self.policy.bounded(self.tat, now_us), now_us)
        rooms = ([] if limit is None else [max(0, limit - self.under_way)]) + ([] if tokens is None else [tokens])
        rooms += [room] if self.group is not None and (room := self.group.room(now_us)) is not None else []
        return min(rooms, default=None)


@dataclass(frozen=True, slots=True)
class JobFacts:
    id: str
    state: str
    run_at: int
    now_us: int
    children: int = 0
    crashes: int = 0
    queue_paused_at: int | None = None
    lane: LaneFacts | None = None
    capacity: int = 0  # slots of the queue's living workers
    ahead: int = 0  # due before it in its own flow: the same priority, tenant and lane


def waiting_for(job: JobFacts) -> dict[str, Any] | None:
    """`{kind, …}`; None when it runs or has ended."""
    if job.state not in ("ready", "dispatched"):
        return None
    return _early(job) or _paused(job) or _held(job) or _served(job)


def _early(job: JobFacts) -> dict[str, Any] | None:
    if job.state == "ready" and job.run_at > job.now_us:
        return {"kind": "future", "until": job.run_at}
    if job.state == "ready" and job.children:
        return {"kind": "children", "left": job.children}
    return None


def _served(job: JobFacts) -> dict[str, Any]:
    """Nothing but its turn is missing, and somebody to run it."""
    if job.capacity <= 0:
        return {"kind": "no_worker"}
    if job.state == "dispatched":
        return {"kind": "window", **({"alone": True} if job.crashes >= SUSPECT_CRASHES else {})}
    return {"kind": "line", "behind": job.ahead if job.ahead <= AHEAD_MOST else f"{AHEAD_MOST}+"}


def _paused(job: JobFacts) -> dict[str, Any] | None:
    if job.queue_paused_at is not None:
        return {"kind": "paused", "what": "queue", "since": job.queue_paused_at}
    for lane in _lanes(job):
        if lane.paused_at is not None:
            return {"kind": "paused", "what": "lane", "since": lane.paused_at}
    return None


def _held(job: JobFacts) -> dict[str, Any] | None:
    lane = job.lane
    if job.state != "ready" or lane is None:
        return None
    for each in _lanes(job):
        if each.held_until > job.now_us:
            return {"kind": "held", "lane": each.name, "why": each.held_why, "until": each.held_until}
    if lane.policy.ordered and lane.head not in (None, job.id):
        return {"kind": "ordered", "behind": lane.head}
    for each in _lanes(job):
        if each.limit is not None and each.under_way >= each.limit:
            return {"kind": "lane", "lane": each.name, "under_way": each.under_way, "limit": each.limit}
        opens_at = each.policy.opens_at(each.policy.bounded(each.tat, job.now_us))
        if opens_at > job.now_us:
            return {"kind": "rate", "lane": each.name, "next_at": opens_at}
    return None


def _lanes(job: JobFacts) -> list[LaneFacts]:
    return [lane for lane in (job.lane, job.lane.group if job.lane else None) if lane is not None]
