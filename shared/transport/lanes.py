"""Lanes of one queue, in the memory of its one relay: which may start another job now. Pure; SQL is its caller's.

A lane stands still because it is paused, has as many jobs under way as it may (or, when ordered, its oldest is not
this one), or has spent its tokens. The first ends when the lane's row is read again, the second when one of its jobs
is seen to have ended, the third at a known instant. Tokens are GCRA: one instant, `tat`, says how far ahead of its
rate the lane is; it is written with the dispatch that spent the token, so that the next relay goes on from there.
A service may hold a lane until an instant, or to fewer jobs at once than its limit. Lanes of a grouped command that
are named `a:b` stand in the lane `a` too, whose row bounds them all together; if it is ordered, each is by itself.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from shared.contracts.lane import FREE, LanePolicy, group_of
from shared.transport.line import Candidate, LaneId

LET_IN_MOST = 64  # lanes of a group that are tried at once when it has room; the others once these have been seen
LET_IN_LEAST = 8
_GROUP = "\0"  # behind its name: in no name of a lane


class Row(NamedTuple):
    """A lane's row; `policy` None: without limits of its own."""

    policy: LanePolicy | None
    paused: bool
    tat: int
    held_until: int = 0
    ceiling: int | None = None


@dataclass(slots=True)
class Lane:
    policy: LanePolicy
    task: str  # of the job that it was met by
    paused: bool = False
    tat: int = 0
    is_new: bool = True  # its policy or `tat` has just been read
    under_way: set[str] = field(default_factory=set)
    head: str | None = None  # ordered: the oldest job that has not ended, when it is due
    limit: int | None = None
    held_until: int = 0
    group: LaneId | None = None  # the one that it stands in
    behind: OrderedDict[LaneId, None] | None = None  # of a group: lanes that it holds back

    @property
    def is_full(self) -> bool:
        return self.limit is not None and len(self.under_way) >= self.limit

    def opens_at(self, now_us: int) -> int:
        """When it is held no longer and the next token is there; what is past is there now."""
        if self.is_new:
            self.tat, self.is_new = self.policy.bounded(self.tat, now_us), False
        return max(self.held_until, self.policy.opens_at(self.tat))

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
        self._holding: dict[LaneId, None] = {}  # groups that hold lanes back

    def __len__(self) -> int:
        return len(self._lanes)

    def knows(self, name: LaneId) -> bool:
        return name in self._rows

    def note(self, name: LaneId, row: Row | None) -> bool:
        """What the ledger says of a lane, None when it has no row; true when the lane may start nothing at all."""
        self._rows[name] = row
        for lane in (self._lanes.get(name), self._lanes.get((name[0], name[1] + _GROUP))):
            if lane is not None:
                self._set(lane, row, lane.task)
        return row is not None and row.paused

    def is_shut(self, name: LaneId) -> bool:
        """Paused or full: nothing in it can start before that changes. A full one is watched from now on."""
        lane, row = self._lanes.get(name), self._rows.get(name)
        if lane is not None and lane.is_full:
            self._hold(name)
            return True
        if lane is not None and self._is_group_shut(name, lane):
            return True
        return row is not None and row.paused

    def _is_group_shut(self, name: LaneId, lane: Lane) -> bool:
        if lane.group is None:
            return False
        group = self._lanes[lane.group]
        if group.is_full:
            self._hold(lane.group)
            self._stand_behind(name, lane.group)
        return group.paused or group.is_full

    def _stand_behind(self, name: LaneId, group_id: LaneId) -> None:
        behind = self._lanes[group_id].behind
        if behind is not None:
            behind[name] = None
            self._holding[group_id] = None

    def lane(self, name: LaneId, task: str) -> Lane:
        """Of a lane that is known; without limits of its own the command of its jobs decides."""
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(FREE, task)
            default, group = self._defaults.get(task, FREE), group_of(name[1])
            if default.grouped and group is not None:
                lane.group = self._group((name[0], group), task)
            self._set(lane, self._rows.get(name), task)
        return lane

    def _group(self, name: LaneId, task: str) -> LaneId:
        group_id = (name[0], name[1] + _GROUP)
        if group_id not in self._lanes:
            group = self._lanes[group_id] = Lane(FREE, task, behind=OrderedDict())
            self._set(group, self._rows.get(name), task)
        return group_id

    def _set(self, lane: Lane, row: Row | None, task: str) -> None:
        own = row.policy if row else None
        lane.policy = self._default(lane, task) if own is None else own
        limit = lane.policy.limit if lane.behind is None else lane.policy.concurrency
        lane.limit = limit
        if row is not None and row.ceiling is not None:
            lane.limit = row.ceiling if limit is None else min(limit, row.ceiling)
        lane.paused = row is not None and row.paused
        lane.held_until = row.held_until if row is not None else 0
        lane.tat, lane.is_new = max(lane.tat, row.tat) if row else lane.tat, True

    def _default(self, lane: Lane, task: str) -> LanePolicy:
        """Of a lane without limits of its own: whoever orders a group orders each that stands in it."""
        policy = self._defaults.get(task, FREE)
        if lane.group is not None and self._lanes[lane.group].policy.ordered:
            return policy if policy.ordered else policy.model_copy(update={"ordered": True})
        return policy

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
        if lane.paused or lane.is_full or self._is_group_shut(name, lane):
            return False
        group = self._lanes[lane.group] if lane.group is not None else None
        if lane.policy.ordered and lane.head != candidate.id:
            self.headless.add(name)
            return False
        if not self._is_open(name, lane, now_us):
            return False
        lane.head = None
        self._spend(name, lane, now_us)
        if group is not None and lane.group is not None:
            self._spend(lane.group, group, now_us)
        self.began(candidate.id, name)
        return True

    def _is_open(self, name: LaneId, lane: Lane, now_us: int) -> bool:
        """Held no longer, and with a token: its own, and its group's."""
        if lane.group is not None and (opens_at := self._lanes[lane.group].opens_at(now_us)) > now_us:
            self.late[lane.group] = opens_at
            self._stand_behind(name, lane.group)
        elif (opens_at := lane.opens_at(now_us)) > now_us:
            self.late[name] = opens_at
        return opens_at <= now_us

    def _spend(self, name: LaneId, lane: Lane, now_us: int) -> None:
        lane.spend(now_us)
        if lane.policy.rate_per_s is not None:
            self._spent.add(name)

    def began(self, job_id: str, name: LaneId) -> None:
        lane = self._lanes.get(name)
        if lane is None:
            return
        group = self._lanes[lane.group] if lane.group is not None else None
        if lane.limit is not None or group is not None:
            lane.under_way.add(job_id)
            self._owner[job_id] = name
        if group is not None:
            group.under_way.add(job_id)

    def ended(self, ids: Iterable[str]) -> set[LaneId]:
        """These are not under way any more; returns the lanes that have room by that."""
        opened = set()
        for job_id in ids:
            name = self._owner.pop(job_id, None)
            if name is not None:
                lane = self._lanes[name]
                lane.under_way.discard(job_id)
                self._full.pop(name, None)
                opened.add(name)
                if lane.group is not None:
                    self._lanes[lane.group].under_way.discard(job_id)
                    self._full.pop(lane.group, None)
        return opened

    def let_in(self, now_us: int) -> list[LaneId]:
        """Lanes that their groups held back and have room for, the longest held back first; more at the next call.

        Not all at once, because most of them would find the room taken. Those that have nothing to start do not
        come back by themselves, and those behind them are let in in their stead.
        """
        opened: list[LaneId] = []
        for group_id in list(self._holding):
            group = self._lanes[group_id]
            behind = group.behind if group.behind is not None else OrderedDict()
            most = min(len(behind), self._room(group, now_us))
            opened += [behind.popitem(last=False)[0] for _ in range(most)]
            if not behind:
                del self._holding[group_id]
        return opened

    def _room(self, group: Lane, now_us: int) -> int:
        """How many lanes to try: more than may start, for some have nothing to start."""
        opens_at = group.opens_at(now_us)
        if group.is_full or group.paused or opens_at > now_us:
            return 0
        rooms = [] if group.limit is None else [group.limit - len(group.under_way)]
        tokens = group.policy.tokens(group.tat, now_us)
        rooms += [] if tokens is None else [tokens]
        return max(LET_IN_LEAST, min(LET_IN_MOST, 2 * min(rooms, default=LET_IN_MOST)))

    def may_let_in(self, now_us: int) -> bool:
        """A group that has room holds lanes back: another look will find more to start.

        Of those that have none, the next end or the next token is waited for from now on.
        """
        more = False
        for group_id in self._holding:
            group = self._lanes[group_id]
            if group.is_full:
                self._hold(group_id)
            elif (opens_at := group.opens_at(now_us)) > now_us:
                self.late[group_id] = opens_at
            else:
                more = more or not group.paused
        return more

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
        tats: dict[LaneId, int] = {}
        for tenant, name in self._spent:
            row = (tenant, name.removesuffix(_GROUP))
            tats[row] = max(tats.get(row, 0), self._lanes[tenant, name].tat)
        self._spent.clear()
        return sorted(tats.items())

    def set_head(self, name: LaneId, head: str | None) -> None:
        self._lanes[name].head = head
