"""The chooser of one queue: keeps the line and the lanes in step with the ledger, and says what starts next.

What is due is found in three ways: by when it was accepted (every pass, from just before the newest seen), by the
relay's own move of later jobs into line, and by walking over the flows every few seconds, for whatever came to be due
otherwise. Lanes are read when their jobs' turn comes. Everything here is rebuilt from the ledger by `reset`, so a new
relay, or one that met a failure, goes on from what is written.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shared.contracts.lane import LanePolicy, group_of
from shared.db.sql import Connection
from shared.kernel.clock import SECOND_US, Clock
from shared.ledger import store_lane, store_line
from shared.ledger.store_dispatch import mark
from shared.transport.lanes import Lanes, Row
from shared.transport.line import Candidate, LaneId, Line

LOOK_MOST = 1_000
LAG_US = 50_000  # commits that overtake each other, and clocks that differ
WIDE_LAG_US = 2 * SECOND_US
WIDE_LOOK_S = 0.25
LOOK_S = 0.05  # at what has arrived, when nobody has said that something did
LATER_LOOK_S = 0.1  # at when the next later job is due, while there is enough to do without
WALK_S = 5.0
WALK_SHARE = 20  # walking over all flows takes at most one part in so many of the time
WALK_REST_MOST_S = 60.0  # whoever was overlooked is found by then, whatever held the last walk up
WALK_MOST = 500
ROUNDS = 4  # of reading what a pick found missing
WATCH_MOST = 1_000
LANES_AT_ONCE = 1_000


class Chooser:
    def __init__(self, queue: str, clock: Clock, defaults: Mapping[str, LanePolicy]) -> None:
        self.queue = queue
        self._clock = clock
        self._defaults = defaults
        self.line = Line()
        self.lanes = Lanes(defaults)
        self.paused = False
        self._after = (max(0, clock.now_us() - WIDE_LAG_US), "")
        self._is_behind = False  # more has arrived than one look takes in
        self._has_more = False  # lanes that their groups have room for, and that have not been looked at
        self._has_news = True
        self._looked_s = float("-inf")
        self._looked_wide_s = float("-inf")
        self._wide_after = (0, "")
        self._walk_after: str | None = ""
        self._walked_s = 0.0  # spent on this walk: what passes between its steps is not its cost
        self._walk_again_s = 0.0
        self._later_floor = 0
        self._next_due: int | None = None
        self._next_is_known = False
        self._looked_later_s = float("-inf")

    async def reset(self, connection: Connection) -> None:
        """Read again who is under way and what is paused, look again at every flow; buffers keep what they have."""
        self.paused = await store_lane.is_paused(connection, self.queue)
        self.lanes = Lanes(self._defaults)
        rows = await store_line.under_way(connection, self.queue)
        under_way = {(row["tenant"], row["lane"]): row["task"] for row in rows}
        held_back = self.line.blocked_lanes()
        await self._read_lanes(connection, [*under_way, *(lane for lane in held_back if lane not in under_way)])
        for lane, task in under_way.items():
            self.lanes.lane(lane, task)
        for row in rows:
            self.lanes.began(row["id"], (row["tenant"], row["lane"]))
        for lane in held_back:
            if not self.lanes.is_shut(lane):
                self.line.unblock(lane)
        self._later_floor = 0
        self._next_is_known = False
        self._looked_later_s = float("-inf")
        if self._walk_after is None and self._clock.monotonic_s() >= self._walk_again_s:
            self._walk_after, self._walked_s = "", 0.0

    def returned(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Dispatched jobs that are back in line."""
        candidates = [_candidate(row) for row in rows]
        self._ended({candidate.id for candidate in candidates})
        self._offer(candidates)

    async def look(self, connection: Connection, now_us: int) -> None:
        """Take note of what has come to be due."""
        if not self._next_is_known and self._clock.monotonic_s() - self._looked_later_s >= LATER_LOOK_S:
            await self._look_later(connection)
        if self._next_is_known and self._next_due is not None and self._next_due <= now_us:
            await self._move_into_line(connection, now_us)
        if self._has_news or self._is_behind or self._clock.monotonic_s() - self._looked_s >= LOOK_S:
            await self._arrived(connection, now_us)
        if self._walk_after is not None:
            await self._walk(connection)

    async def choose(self, connection: Connection, room: int, now_us: int) -> list[Candidate]:
        """Up to `room` jobs that may start now, in the order in which they are to; their lanes count them already."""
        for lane in self.lanes.open_late(now_us):
            self.line.unblock(lane)
        await self._see_ends(connection)
        chosen: list[Candidate] = []
        for _ in range(ROUNDS):
            for lane in self.lanes.let_in(now_us):
                self.line.unblock(lane)
            await self._refill(connection, room - len(chosen))
            chosen += self.line.pick(room - len(chosen), lambda candidate: self.lanes.admit(candidate, now_us))
            await self._read_missing(connection)
            self.lanes.may_let_in(now_us)
            await self._see_unheard_ends(connection, {candidate.id for candidate in chosen})
            self._has_more = self.lanes.may_let_in(now_us)
            if len(chosen) >= room or (self.line.is_empty and not self._has_more):
                break
        for candidate in chosen:
            if candidate.lane_id is not None and self.lanes.is_ordered(candidate.lane_id):
                self.line.block(candidate.lane_id)
                self.lanes.is_shut(candidate.lane_id)  # whoever comes next finds it blocked, and waits for its end
        return chosen

    async def mark(self, connection: Connection, chosen: Sequence[Candidate], now_us: int) -> list[Candidate]:
        """Write spent tokens, then the dispatch; returns what was due still. A token lost between only slows a lane."""
        await store_lane.spend(connection, self.queue, self.lanes.spent(), now_us)
        marked = await mark(connection, [candidate.id for candidate in chosen], now_us)
        self.line.left(chosen)
        self._ended({candidate.id for candidate in chosen} - marked)
        return [candidate for candidate in chosen if candidate.id in marked]

    async def wait_until(self, connection: Connection) -> int | None:
        """The next instant at which something comes to be due by time alone, as far as is known."""
        if not self._next_is_known:
            await self._look_later(connection)
        soonest = [self._next_due, *self.lanes.late.values()]
        return min((at for at in soonest if at is not None), default=None)

    @property
    def is_still(self) -> bool:
        """Nothing more can start before something happens: every flow has been seen, what waits is held back."""
        return self.line.is_empty and self._walk_after is None and not self._is_behind and not self._has_more

    def nudged(self) -> None:
        """Somebody wrote to the ledger: there may be new jobs, and what is known of later ones may be out of date."""
        self._has_news = True
        self._next_is_known = False

    async def _look_later(self, connection: Connection) -> None:
        self._next_due = await store_line.next_due(connection, self.queue, self._later_floor)
        self._next_is_known = True
        self._looked_later_s = self._clock.monotonic_s()

    async def _arrived(self, connection: Connection, now_us: int) -> None:
        self._has_news = False
        self._looked_s = self._clock.monotonic_s()
        rows = await store_line.arrived(connection, self.queue, self._after, LOOK_MOST)
        self._offer(_candidate(row) for row in rows)
        self._is_behind = len(rows) >= LOOK_MOST
        if self._is_behind:
            self._after = (rows[-1]["created_at"], rows[-1]["id"])
            return
        if rows:
            self._after = (max(self._after[0], min(rows[-1]["created_at"], now_us) - LAG_US), "")
        if self._clock.monotonic_s() - self._looked_wide_s >= WIDE_LOOK_S:
            await self._arrived_late(connection, now_us)

    async def _arrived_late(self, connection: Connection, now_us: int) -> None:
        """Look behind the newest again, a part at a time: however much is there, it must not hold up what is new."""
        self._looked_wide_s = self._clock.monotonic_s()
        begin = (max(0, min(self._after[0], now_us) - WIDE_LAG_US), "")
        rows = await store_line.arrived(connection, self.queue, max(begin, self._wide_after), LOOK_MOST)
        self._offer(_candidate(row) for row in rows)
        self._wide_after = (rows[-1]["created_at"], rows[-1]["id"]) if len(rows) >= LOOK_MOST else (0, "")

    async def _move_into_line(self, connection: Connection, now_us: int) -> None:
        rows = await store_line.move_into_line(connection, self.queue, now_us, self._later_floor, LOOK_MOST)
        self._next_is_known = False
        if len(rows) < LOOK_MOST:
            self._later_floor = max(0, now_us - WIDE_LAG_US)
        candidates = sorted(_candidate(row) for row in rows)
        self._offer(candidates)
        for lane in {candidate.lane_id for candidate in candidates if candidate.lane_id is not None}:
            if self.lanes.is_ordered(lane):
                self.line.unblock(lane)  # it may be the head that the lane waits for

    async def _walk(self, connection: Connection) -> None:
        began_s = self._clock.monotonic_s()
        keys = await store_line.flows(connection, self.queue, self._walk_after or "", WALK_MOST)
        now_s = self._clock.monotonic_s()
        self._walked_s += now_s - began_s
        self.line.found(keys)
        if len(keys) >= WALK_MOST:
            self._walk_after = keys[-1]
            return
        self._walk_after = None
        rest_s = min(WALK_REST_MOST_S, max(WALK_S, WALK_SHARE * self._walked_s))
        self._walk_again_s = now_s + rest_s - WALK_S / 2

    async def _refill(self, connection: Connection, room: int) -> None:
        hungry, most = self.line.hungry(room)
        unknown = {flow.lane for flow in hungry if flow.lane is not None and not self.lanes.knows(flow.lane)}
        await self._read_lanes(connection, sorted(unknown))
        hungry = [flow for flow in hungry if not flow.blocked]
        if not hungry:
            return
        wanted = [(flow.key, *flow.after) for flow in hungry]
        found = await store_line.flow_jobs(connection, self.queue, wanted, most)
        for key, rows in found.items():
            self.line.refilled(key, [_candidate(row) for row in rows], most)

    async def _see_ends(self, connection: Connection) -> None:
        watched = self.lanes.watched(WATCH_MOST)
        if watched:
            self._ended(await store_line.ended_of(connection, watched))

    async def _see_unheard_ends(self, connection: Connection, chosen: set[str]) -> None:
        """Of lanes that nobody waited for until now: no end of theirs was asked about. Not of what was just chosen."""
        unlooked = set(self.lanes.unlooked(WATCH_MOST)) - chosen
        if unlooked:
            self._ended(await store_line.ended_of(connection, sorted(unlooked)))

    async def _read_missing(self, connection: Connection) -> None:
        """Read lanes whose jobs' turn came for the first time, and the heads of ordered ones."""
        unread, self.lanes.unread = self.lanes.unread, set()
        headless, self.lanes.headless = self.lanes.headless, set()
        await self._read_lanes(connection, sorted(unread))
        for lane in unread:
            if not self.lanes.is_shut(lane):
                self.line.unblock(lane)
        for row in await store_lane.heads(connection, self.queue, sorted(headless)):
            if row["state"] == "ready" and row["due"]:
                head = _candidate(row)
                self.lanes.set_head((head.tenant, str(head.lane)), head.id)
                self.line.lead(head)

    async def _read_lanes(self, connection: Connection, names: Sequence[LaneId]) -> None:
        """What the ledger says of these; those that are paused stand aside before a job of them is read."""
        groups = {(tenant, group) for tenant, name in names if (group := group_of(name)) is not None}
        names = [*names, *(groups - set(names))]
        for start in range(0, len(names), LANES_AT_ONCE):
            part = names[start : start + LANES_AT_ONCE]
            rows = await store_lane.lanes(connection, self.queue, part)
            found = {(row["tenant"], row["name"]): row for row in rows}
            for name in part:
                if self.lanes.note(name, _lane(found.get(name))):
                    self.line.block(name)

    def _offer(self, candidates: Iterable[Candidate]) -> None:
        self.line.offer(candidates)

    def _ended(self, ids: set[str]) -> None:
        for lane in self.lanes.ended(ids):
            self.line.unblock(lane)


def _candidate(row: Mapping[str, Any]) -> Candidate:
    return Candidate(row["run_at"], row["id"], row["priority"], row["tenant"], row["lane"], row["task"], row["crashes"])


def _lane(row: Mapping[str, Any] | None) -> Row | None:
    if row is None:
        return None
    own = store_lane.own_policy(row)
    return Row(own, row["paused_at"] is not None, row["tat"], row["held_until"], row["ceiling"])
