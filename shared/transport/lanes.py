"""Lanes of one queue, in the memory of its one relay: which may start another job now. Pure; SQL is its caller's.

A lane stands still because it is paused, has as many jobs under way as it may (or, when ordered, its oldest is not
this one), or has spent its tokens. The first ends when the lane's row is read again, the second when one of its jobs
is seen to have ended, the third at a known instant. Tokens are GCRA: one instant, `tat`, says how far ahead of its
rate the lane is; it is written with the dispatch that spent the token, so that the next relay goes on from there.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from shared.contracts.lane import FREE, LanePolicy
from shared.transport.line import Candidate, LaneId


class Row(NamedTuple):
    """A lane's row; `policy` None: without limits of its own."""

    policy: LanePolicy | None
    paused: bool
    tat: int


@dataclass(slots=True)
class Lane:
    policy: LanePolicy
    task: str  # of the job that it was met by
    paused: bool = False
    tat: int = 0
    is_new: bool = True  # its policy or `tat` has just been read
    under_way: set[str] = field(default_factory=set)
    head: str | None = None  # ordered: the oldest job that has not ended, when it is due

    @property
    def is_full(self) -> bool:
        limit = self.policy.limit
        return limit is not None and len(self.under_way) >= limit

    def opens_at(self, now_us: int) -> int:
        """When the next token is there; what is past is there now."""
        if self.is_new:
            self.tat, self.is_new = self.policy.bounded(self.tat, now_us), False
        return self.policy.opens_at(self.tat)

    def spend(self, now_us: int) -> None:
        if self.policy.rate_per_s is not None:
            self.tat = max(self.tat, now_us) + self.policy.interval_us


class Lanes:
    def __init__(self, defaults: Mapping[str, LanePolicy]) -> None:
        """`defaults` are the policies of commands, by task name."""
        self._defaults = defaults
        self._lanes: dict[LaneId, Lane] = {}
        self._rows: dict[LaneId, Row | None] = {}
        self._owner: dict[str, LaneId] = {}  # job → lane, of what is under way
        self._spent: set[LaneId] = set()
        self._full: OrderedDict[LaneId, None] = OrderedDict()  # those that somebody was held back by
        self._looked: set[LaneId] = set()  # at whose jobs, in this pass
        self._unlooked: set[LaneId] = set()  # full, as far as is known without a look
        self.unread: set[LaneId] = set()  # asked for, and not read from the ledger yet
        self.headless: set[LaneId] = set()  # ordered lanes whose oldest job is to be looked up
        self.late: dict[LaneId, int] = {}  # lane → when it has a token again

    def __len__(self) -> int:
        return len(self._lanes)

    def knows(self, name: LaneId) -> bool:
        return name in self._rows

    def note(self, name: LaneId, row: Row | None) -> bool:
        """What the ledger says of a lane, None when it has no row; true when the lane may start nothing at all."""
        self._rows[name] = row
        lane = self._lanes.get(name)
        if lane is not None:
            self._set(lane, row, lane.task)
        return row is not None and row.paused

    def is_shut(self, name: LaneId) -> bool:
        """Paused or full: nothing in it can start before that changes. A full one is watched from now on."""
        lane, row = self._lanes.get(name), self._rows.get(name)
        if lane is not None and lane.is_full:
            self._hold(name)
            return True
        return row is not None and row.paused

    def lane(self, name: LaneId, task: str) -> Lane:
        """Of a lane that is known; without limits of its own the command of its jobs decides."""
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(FREE, task)
            self._set(lane, self._rows.get(name), task)
        return lane

    def _set(self, lane: Lane, row: Row | None, task: str) -> None:
        own = row.policy if row else None
        lane.policy = self._defaults.get(task, FREE) if own is None else own
        lane.paused = row is not None and row.paused
        lane.tat, lane.is_new = max(lane.tat, row.tat) if row else lane.tat, True

    def is_ordered(self, name: LaneId) -> bool:
        lane = self._lanes.get(name)
        return lane is not None and lane.policy.ordered

    def admit(self, candidate: Candidate, now_us: int) -> bool:
        """May it start now? If so, it counts as under way from here on."""
        name = candidate.lane_id
        if name is None:
            return True
        if name not in self._rows:
            self.unread.add(name)
            return False
        lane = self.lane(name, candidate.task)
        if lane.is_full:
            self._hold(name)
        if lane.paused or lane.is_full:
            return False
        if lane.policy.ordered and lane.head != candidate.id:
            self.headless.add(name)
            return False
        opens_at = lane.opens_at(now_us)
        if opens_at > now_us:
            self.late[name] = opens_at
            return False
        lane.head = None
        lane.spend(now_us)
        if lane.policy.rate_per_s is not None:
            self._spent.add(name)
        self.began(candidate.id, name)
        return True

    def began(self, job_id: str, name: LaneId) -> None:
        lane = self._lanes.get(name)
        if lane is not None and lane.policy.limit is not None:
            lane.under_way.add(job_id)
            self._owner[job_id] = name

    def ended(self, ids: Iterable[str]) -> set[LaneId]:
        """These are not under way any more; returns the lanes that have room by that."""
        opened = set()
        for job_id in ids:
            name = self._owner.pop(job_id, None)
            if name is not None:
                self._lanes[name].under_way.discard(job_id)
                self._full.pop(name, None)
                opened.add(name)
        return opened

    @property
    def is_waited_for(self) -> bool:
        return bool(self._full)

    def watched(self, most: int) -> list[str]:
        """Jobs under way in lanes whose others wait for one of them to end; about `most`, of other lanes each time."""
        ids: list[str] = []
        self._looked.clear()
        self._unlooked.clear()
        for name in list(islice(self._full, most)):
            self._full.move_to_end(name)
            self._looked.add(name)
            ids += self._lanes[name].under_way
            if len(ids) >= most:
                break
        return ids

    def unlooked(self, most: int) -> list[str]:
        """Jobs under way, about `most`, of lanes that were found full since `watched`: they may have ended unheard."""
        ids: list[str] = []
        while self._unlooked and len(ids) < most:
            name = self._unlooked.pop()
            self._looked.add(name)
            ids += self._lanes[name].under_way
        return ids

    def _hold(self, name: LaneId) -> None:
        self._full[name] = None
        if name not in self._looked:
            self._unlooked.add(name)

    def open_late(self, now_us: int) -> list[LaneId]:
        """Lanes whose next token is there by now."""
        opened = [name for name, at in self.late.items() if at <= now_us]
        for name in opened:
            del self.late[name]
        return opened

    def spent(self) -> list[tuple[LaneId, int]]:
        """(lane, tat) of those that spent tokens since the last call, in the order in which rows are to be locked."""
        spent = [(name, self._lanes[name].tat) for name in sorted(self._spent)]
        self._spent.clear()
        return spent

    def set_head(self, name: LaneId, head: str | None) -> None:
        self._lanes[name].head = head
