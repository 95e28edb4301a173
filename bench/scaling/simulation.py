"""Runs one Deployment through an arrival curve, a second at a time: pods that start and drain, a line, a scaler.

Pure: the same curve, pod and scaler give the same run. A fluid model: within a second what a pod can do is divided
evenly. A pod ends at most `rate` jobs a second, at most what its slots allow at the jobs' latency, and no more than
one core's worth of its CPU (as many as it requests, for media). New pods work `start_s` after they were asked for;
pods that are taken away finish what they run within their drain, and take nothing new.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.scaling import hpa, keda
from bench.scaling.manifests import Scaler

START_S = 20  # image at hand, imports, schema looked at, slot taken, first beat
METRICS_S = 15  # metrics-server looks so often, and tells the mean of what was between


@dataclass(frozen=True)
class Pod:
    """`latency_s`: of one job in a slot. `cores`: that it can use at most; `requested`: by its manifest."""

    rate: float
    slots: int
    latency_s: float
    cpu_us: float
    cores: float = 1.0
    requested: float = 0.25
    start_s: int = START_S

    @property
    def capacity(self) -> float:
        """Jobs a second, of a pod that has all it wants."""
        by_cpu = self.cores * 1e6 / self.cpu_us if self.cpu_us else float("inf")
        return min(self.rate, self.slots / max(self.latency_s, 1e-6), by_cpu)


@dataclass
class Run:
    """By second. `waiting`: not begun; `backlog`: waiting and running. `waits`: seconds of every job that was begun."""

    waiting: list[float] = field(default_factory=list)
    backlog: list[float] = field(default_factory=list)
    replicas: list[int] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)
    oldest_s: list[float] = field(default_factory=list)
    served: list[float] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)  # seconds, how many

    def wait_s(self, share: float) -> float:
        """What `share` of the jobs waited at most; those that never began count with their age at the end."""
        ordered = sorted(self.waits)
        wanted, seen = share * sum(count for _, count in ordered), 0.0
        for seconds, count in ordered:
            seen += count
            if seen >= wanted - 1e-9:
                return seconds
        return 0.0

    @property
    def pod_hours(self) -> float:
        return sum(self.replicas) / 3600


@dataclass
class _State:
    replicas: int
    ready: int
    starting: deque[tuple[float, int]] = field(default_factory=deque)  # when they will be there, how many
    line: deque[tuple[int, float]] = field(default_factory=deque)  # arrived at, how many
    used: deque[float] = field(default_factory=lambda: deque(maxlen=METRICS_S))  # cores, of all pods together


def simulate(
    arrivals: Sequence[float], pod: Pod, scaler: Scaler, *, at_first: int = 1, most_rate: float = float("inf")
) -> Run:
    """`most_rate`: what relay and database let through, however many pods there are."""
    state, run = _State(at_first, at_first), Run()
    memory, watch = hpa.Memory(), keda.Watch()
    for now_s, arrived in enumerate(arrivals):
        while state.starting and state.starting[0][0] <= now_s:
            state.ready += state.starting.popleft()[1]
        if arrived > 0:
            state.line.append((now_s, arrived))
        served = _serve(state, run, min(state.ready * pod.capacity, most_rate), now_s)
        state.used.append(served * pod.cpu_us / 1e6)
        waiting = sum(count for _, count in state.line)
        backlog = waiting + served * pod.latency_s  # Little's law: what runs
        _note(run, state, waiting, backlog, served, now_s)
        _scale(state, pod, scaler, memory, watch, backlog, now_s)
    end_s = len(arrivals)
    run.waits += [(float(end_s - at), count) for at, count in state.line]
    return run


def _serve(state: _State, run: Run, room: float, now_s: int) -> float:
    """First in, first out; returns how many were begun."""
    left = room
    while state.line and left > 1e-9:
        at, count = state.line[0]
        taken = min(count, left)
        run.waits.append((float(now_s - at), taken))
        left -= taken
        if taken < count:
            state.line[0] = (at, count - taken)
        else:
            state.line.popleft()
    return room - left


def _note(run: Run, state: _State, waiting: float, backlog: float, served: float, now_s: int) -> None:
    run.waiting.append(waiting)
    run.backlog.append(backlog)
    run.replicas.append(state.replicas)
    run.ready.append(state.ready)
    run.served.append(served)
    run.oldest_s.append(float(now_s - state.line[0][0]) if state.line else 0.0)


def _scale(
    state: _State, pod: Pod, scaler: Scaler, memory: hpa.Memory, watch: keda.Watch, backlog: float, now_s: int
) -> None:
    wanted = state.replicas
    if scaler.keda is not None:
        wanted = keda.decide(state.replicas, backlog, scaler.keda, watch, now_s)
    if wanted and wanted == state.replicas and now_s % int(hpa.SYNC_S) == 0:
        wanted = hpa.decide(state.replicas, _wishes(state, pod, scaler, backlog), scaler.bounds, memory, now_s)
    if wanted > state.replicas:
        state.starting.append((now_s + pod.start_s, wanted - state.replicas))
    else:
        _take_away(state, state.replicas - wanted)
    state.replicas = wanted


def _wishes(state: _State, pod: Pod, scaler: Scaler, backlog: float) -> list[int]:
    """Of the backlog, and of CPU as the mean of the last seconds; pods that start count as idle on the way up."""
    wishes = []
    if scaler.keda is not None:
        wishes.append(hpa.wished_of_total(state.replicas, backlog, scaler.keda.target))
    if scaler.cpu is not None and state.ready:
        target = scaler.cpu.target(pod.requested)
        used = sum(state.used) / len(state.used)
        ratio = used / state.ready / target
        if ratio > 1:
            ratio = max(1.0, used / state.replicas / target)
        wishes.append(state.replicas if ratio == 1.0 else hpa.wished(state.replicas, ratio))
    return wishes


def _take_away(state: _State, count: int) -> None:
    """Pods that have not started go first, as Kubernetes chooses; the others drain: what they run ends there."""
    while count and state.starting:
        at, starting = state.starting.pop()
        gone = min(count, starting)
        count -= gone
        if starting > gone:
            state.starting.append((at, starting - gone))
    state.ready -= count
