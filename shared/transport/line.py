"""The line of one queue, in the relay's memory: who is served next. Pure; the ledger is read by its caller.

Jobs that wait for the same priority, tenant and lane are a flow. By priority, then tenants in turn, then the lanes of
a tenant in turn, then by `run_at`: whoever waits is served once before anybody at the same priority is served twice.
A flow holds a short buffer of its oldest jobs and knows whether the ledger has `more`; a lane that stands still is out
of the rotation, so a pick costs what it picks, whatever waits behind.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from shared.contracts.command import PRIORITIES

BUFFER = 2_000  # jobs of one flow in memory
FLOWS_MOST = 100_000  # flows in memory; those that stand still make room for others, and are read again in time
ASIDE_MOST = 200_000  # names of flows that were left out because they stand still; beyond that only a walk finds them
Place = tuple[int, str]
LaneId = tuple[str, str]  # (tenant, name)
FIRST: Place = (-(2**62), "")


class Candidate(NamedTuple):
    run_at: int
    id: str
    priority: int
    tenant: str
    lane: str | None
    task: str
    crashes: int = 0

    @property
    def place(self) -> Place:
        return self.run_at, self.id

    @property
    def lane_id(self) -> LaneId | None:
        return None if self.lane is None else (self.tenant, self.lane)

    @property
    def flow(self) -> str:
        return f"{self.priority}/{self.tenant}/{self.lane or ''}"


class Flow:
    __slots__ = ("after", "blocked", "key", "lane", "led", "more", "priority", "tenant", "waiting")

    def __init__(self, key: str) -> None:
        self.key = key
        priority, self.tenant, lane = key.split("/", 2)
        self.priority = int(priority)
        self.lane: LaneId | None = (self.tenant, lane) if lane else None
        self.waiting: deque[Candidate] = deque()  # oldest first
        self.more = False  # the ledger has jobs of this flow beyond `after`
        self.after = FIRST
        self.blocked = False
        self.led = False  # `waiting` is the head of an ordered lane, and nothing is read in behind or before it

    def insert(self, candidate: Candidate) -> Candidate | None:
        """Returns the one that the buffer has no room for: it stays in the ledger, beyond `after`."""
        if not self.waiting or candidate.place > self.waiting[-1].place:
            self.waiting.append(candidate)
        elif candidate.place < self.waiting[0].place:
            self.waiting.appendleft(candidate)
        else:
            self.waiting = deque(sorted((*self.waiting, candidate)))
        if len(self.waiting) <= BUFFER:
            return None
        beyond = self.waiting.pop()
        last = self.waiting[-1].place
        self.after = min(self.after, last) if self.more else last
        self.more = True
        return beyond


class Line:
    def __init__(self) -> None:
        self._flows: dict[str, Flow] = {}
        # By id, in some buffer or picked. What a buffer has beside it has moved since, and is passed over.
        self._known: dict[str, Candidate] = {}
        self._lanes: dict[LaneId, set[str]] = {}  # lane → its flows
        self._blocked: set[LaneId] = set()
        self._standing: dict[str, None] = {}  # flows of blocked lanes, the longest blocked first
        self._aside: dict[LaneId, set[str]] = {}  # blocked lane → its flows that are not in memory
        self._asides = 0
        self._rings: list[OrderedDict[str, OrderedDict[str, Flow]]] = [OrderedDict() for _ in range(PRIORITIES)]

    def __len__(self) -> int:
        """Jobs in the buffers, and picked ones that have not left."""
        return len(self._known)

    @property
    def is_empty(self) -> bool:
        """Nothing can be served: what there is stands in blocked lanes."""
        return not any(self._rings)

    @property
    def flows(self) -> int:
        return len(self._flows)

    def offer(self, candidates: Iterable[Candidate]) -> None:
        """Jobs that were seen due; those that a flow will read from the ledger in their turn are left there."""
        for candidate in candidates:
            if not self._is_news(candidate):
                continue
            flow = self._flow(candidate.flow)
            if flow is None or (flow.more and candidate.place > flow.after):
                continue
            self._insert(flow, candidate)
            self._place(flow)

    def found(self, keys: Iterable[str]) -> None:
        """Flows that the ledger has jobs of: they are read again from their first one."""
        for key in keys:
            flow = self._flow(key)
            if flow is not None:
                flow.more, flow.after = True, FIRST
                self._place(flow)

    def hungry(self, room: int) -> tuple[list[Flow], int]:
        """Of the flows next in turn, those whose buffer may run dry in `room` picks, and how much to read of each."""
        next_in_turn: list[Flow] = []
        for flow in self._in_turn():
            next_in_turn.append(flow)
            if len(next_in_turn) >= room:
                break
        share = max(1, -(-room // max(1, len(next_in_turn))))
        wanting = [flow for flow in next_in_turn if flow.more and not flow.led and len(flow.waiting) < share]
        return wanting, min(BUFFER, 2 * share)

    def refilled(self, key: str, candidates: list[Candidate], limit: int) -> None:
        """What the ledger gave beyond `after`, oldest first, at most `limit`."""
        flow = self._flows.get(key)
        if flow is None or flow.led:
            return
        flow.more = len(candidates) >= limit
        flow.after = candidates[-1].place if candidates else flow.after
        for candidate in candidates:
            if self._is_news(candidate):
                self._insert(flow, candidate)
        self._place(flow)

    def pick(self, room: int, admit: Callable[[Candidate], bool]) -> list[Candidate]:
        """Take up to `room` jobs in turn. What is not admitted blocks its lane, and stays.

        Ends early at a flow whose next job is still in the ledger: nobody is served in its stead.
        """
        picked: list[Candidate] = []
        for ring in self._rings:
            while ring and len(picked) < room:
                tenant, flows = next(iter(ring.items()))
                flow = next(iter(flows.values()))
                while flow.waiting and not self._is_here(flow.waiting[0]):
                    flow.waiting.popleft()
                    flow.led = False
                if not flow.waiting and flow.more:
                    return picked
                if not flow.waiting:
                    self._place(flow)
                    continue
                if admit(flow.waiting[0]):
                    picked.append(self._take(flow))
                    ring.move_to_end(tenant)
                    self._place(flow)
                elif flow.lane is not None:
                    self.block(flow.lane)
                else:
                    raise AssertionError(f"{flow.key}: only a lane can hold a job back")
        return picked

    def _take(self, flow: Flow) -> Candidate:
        candidate = flow.waiting.popleft()  # known until it has left the ledger's line too: see `left`
        flow.led = False
        self._rings[flow.priority][flow.tenant].move_to_end(flow.key)
        return candidate

    def left(self, picked: Iterable[Candidate]) -> None:
        """What was picked is not in the ledger's line any more."""
        self._forget(picked)

    def block(self, lane: LaneId) -> None:
        self._blocked.add(lane)
        for key in self._lanes.get(lane, ()):
            self._remove(self._flows[key])
            self._flows[key].blocked = True
            self._standing[key] = None

    def unblock(self, lane: LaneId) -> None:
        self._blocked.discard(lane)
        for key in list(self._lanes.get(lane, ())):
            self._flows[key].blocked = False
            self._standing.pop(key, None)
            self._place(self._flows[key])
        aside = self._aside.pop(lane, ())
        self._asides -= len(aside)
        self.found(aside)

    def blocked_lanes(self) -> list[LaneId]:
        """Also those that have no jobs here now: their next one would find itself blocked by nobody."""
        return list(self._blocked)

    def lead(self, head: Candidate) -> None:
        """Let one job of a blocked, ordered lane be served: its head, and nothing else, whatever is due before it.

        A head that is tried again is due later than those behind it. They are read from the ledger once it has gone.
        """
        flow = self._flow(head.flow)
        if flow is not None:
            self._forget(flow.waiting)
            self._known[head.id] = head
            flow.waiting, flow.more, flow.after, flow.led, flow.blocked = deque([head]), True, FIRST, True, False
            self._standing.pop(flow.key, None)
            self._place(flow)

    def waits_in(self, lane: LaneId) -> bool:
        return bool(self._lanes.get(lane))

    def _insert(self, flow: Flow, candidate: Candidate) -> None:
        self._known[candidate.id] = candidate
        beyond = flow.insert(candidate)
        if beyond is not None:
            self._forget([beyond])

    def _is_here(self, candidate: Candidate) -> bool:
        return self._known.get(candidate.id) is candidate

    def _is_news(self, candidate: Candidate) -> bool:
        """Not known yet, or in another place: somebody has changed its priority or its time."""
        known = self._known.get(candidate.id)
        if known is not None and known != candidate:
            del self._known[candidate.id]
            return True
        return known is None

    def _forget(self, candidates: Iterable[Candidate]) -> None:
        for candidate in candidates:
            if self._is_here(candidate):
                del self._known[candidate.id]

    def _flow(self, key: str) -> Flow | None:
        flow = self._flows.get(key)
        if flow is not None:
            return flow
        flow = Flow(key)
        flow.blocked = flow.lane in self._blocked
        if len(self._flows) >= FLOWS_MOST and (flow.blocked or not self._make_room()):
            self._set_aside(flow)
            return None
        self._flows[key] = flow
        if flow.lane is not None:
            self._lanes.setdefault(flow.lane, set()).add(key)
        if flow.blocked:
            self._standing[key] = None
        return flow

    def _make_room(self) -> bool:
        """Forget a flow that stands still. False when there is none: all of them are being served."""
        key = next(iter(self._standing), None)
        if key is None:
            return False
        flow = self._flows[key]
        self._forget(flow.waiting)
        self._drop(flow)
        self._set_aside(flow)
        return True

    def _set_aside(self, flow: Flow) -> None:
        if flow.blocked and flow.lane is not None and self._asides < ASIDE_MOST:
            keys = self._aside.setdefault(flow.lane, set())
            self._asides += flow.key not in keys
            keys.add(flow.key)

    def _drop(self, flow: Flow) -> None:
        del self._flows[flow.key]
        self._standing.pop(flow.key, None)
        if flow.lane is not None:
            keys = self._lanes[flow.lane]
            keys.discard(flow.key)
            if not keys:
                del self._lanes[flow.lane]

    def _place(self, flow: Flow) -> None:
        """Into the rotation, at its end, when it has something; out of memory when it has nothing."""
        if flow.blocked:
            return
        if flow.waiting or flow.more:
            ring = self._rings[flow.priority]
            flows = ring.get(flow.tenant)
            if flows is None:
                flows = ring[flow.tenant] = OrderedDict()
            flows[flow.key] = flow  # stays where it is, if it is there
            return
        self._remove(flow)
        self._drop(flow)

    def _remove(self, flow: Flow) -> None:
        ring = self._rings[flow.priority]
        flows = ring.get(flow.tenant)
        if flows is not None and flows.pop(flow.key, None) is not None and not flows:
            del ring[flow.tenant]

    def _in_turn(self) -> Iterator[Flow]:
        """Every flow of the rotation: the first lane of each tenant, then the second of each, …, by priority."""
        for ring in self._rings:
            tenants: Iterator[Iterator[Flow]] = (iter(flows.values()) for flows in ring.values())
            while True:
                left = []
                for rest in tenants:
                    flow = next(rest, None)
                    if flow is not None:
                        yield flow
                        left.append(rest)
                if not left:
                    break
                tenants = iter(left)
