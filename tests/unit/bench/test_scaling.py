"""The autoscaling algorithms under properties, the reader of manifests, the simulation and the plan."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import report
from bench.scaling import arrivals, hpa, keda, manifests, page, plan, rates, scenarios
from bench.scaling.hpa import Bounds, Direction, Memory, Policy
from bench.scaling.keda import Scaled, Watch
from bench.scaling.manifests import Cpu, Scaler
from bench.scaling.simulation import Pod, simulate

PODS = st.integers(1, 500)
POLICIES = st.builds(
    Policy, st.sampled_from(["Pods", "Percent"]), st.integers(1, 200), st.sampled_from([15.0, 60.0, 300.0])
)
DIRECTIONS = st.builds(
    Direction,
    st.lists(POLICIES, min_size=1, max_size=3).map(tuple),
    st.sampled_from([0.0, 60.0, 300.0]),
    st.sampled_from(["Max", "Min", "Disabled"]),
)
BOUNDS = st.builds(Bounds, st.integers(1, 5), st.integers(5, 500), DIRECTIONS, DIRECTIONS)
FREE = Direction((Policy("Percent", 100_000, 15),), 0.0)
FREELY = Bounds(1, 10_000, FREE, Direction((Policy("Percent", 100, 15),), 0.0))
MEASURED = rates.Measured(
    delivery_rate=2000, delivery_us=400, delivery_relay_us=80, delivery_servers_us=260, accept_us=270,
    accept_servers_us=60, job_bytes=450, attempt_bytes=210,
    job_wal_bytes=2600, redis_mib=1.7, picture_rate=None, picture_us=None, runs=("r",),
)  # fmt: skip


@given(PODS, st.floats(0, 50))
def test_the_published_formula_with_its_tolerance(current: int, ratio: float) -> None:
    found = hpa.wished(current, ratio)
    if abs(ratio - 1) <= 0.1:
        assert found == current
    else:
        assert found == math.ceil(round(current * ratio, 9))
        assert (found > current) <= (ratio > 1)


@given(PODS, st.floats(0, 1e6), st.floats(0.5, 1e4))
def test_a_total_is_a_ratio_of_the_average(current: int, total: float, target: float) -> None:
    ratio = total / (target * current)
    if abs(abs(ratio - 1) - 0.1) > 1e-6:  # at the very edge rounding decides
        assert abs(hpa.wished_of_total(current, total, target) - hpa.wished(current, ratio)) <= 1


@given(BOUNDS, st.lists(st.integers(0, 2000), min_size=1, max_size=60), st.integers(5, 20))
def test_whatever_is_wished_bounds_windows_and_policies_hold(bounds: Bounds, wishes: list[int], first: int) -> None:
    memory, current, seen = Memory(), first, [first]
    for n, wish in enumerate(wishes):
        now_s = n * hpa.SYNC_S
        top = hpa.ceiling(current, bounds.up, memory, now_s)
        bottom = hpa.floor(current, bounds.down, memory, now_s)
        after = hpa.decide(current, [wish], bounds, memory, now_s)
        assert bounds.least <= after <= bounds.most
        if bounds.least <= current <= bounds.most:
            assert after <= max(current, top)
            assert after >= min(current, bottom)
            assert not (after > current and bounds.up.select == "Disabled")
            assert not (after < current and bounds.down.select == "Disabled")
            within = [w for m, w in enumerate(wishes[: n + 1]) if now_s - m * hpa.SYNC_S < bounds.down.window_s]
            if after < current:
                assert after >= min(max([*within, wish]), current), "down only to the most of the window"
        current = after
        seen.append(after)


@given(st.integers(1, 40), st.integers(1, 1000))
def test_with_free_behaviour_the_wish_comes_true_at_once(first: int, wish: int) -> None:
    assert hpa.decide(first, [wish], FREELY, Memory(), 0.0) == min(wish, 10_000)


def test_policies_by_hand() -> None:
    """The documentation's own example: 4 pods or 100 % in 15 s; down 10 % a minute."""
    up = Direction((Policy("Percent", 100, 15), Policy("Pods", 4, 15)), 0.0, "Max")
    down = Direction((Policy("Percent", 10, 60),), 0.0)
    memory = Memory()
    seen, current = [], 1
    for n in range(4):
        current = hpa.decide(current, [100], Bounds(1, 100, up, down), memory, n * 15.0)
        seen.append(current)
    assert seen == [5, 10, 20, 40]
    assert hpa.ceiling(10, replace(up, select="Min"), Memory(), 0) == 14
    slowly = Direction((Policy("Percent", 25, 60), Policy("Pods", 1, 60)), 300.0)
    assert [hpa.floor(40, replace(slowly, select=how), Memory(), 0) for how in ("Max", "Min", "Disabled")] == [
        30,
        39,
        40,
    ]
    memory = Memory()
    seen, current = [], 80
    for n in range(9):
        current = hpa.decide(current, [1], Bounds(1, 100, up, down), memory, n * 15.0)
        seen.append(current)
    assert seen == [72, 72, 72, 72, 64, 64, 64, 64, 57], "a tenth of what the period began with, once a period"


def test_several_metrics_the_largest_wins_and_a_window_waits() -> None:
    calm = Bounds(1, 100, FREE, Direction((Policy("Percent", 100, 15),), 300.0))
    memory = Memory()
    assert hpa.decide(5, [3, 9], calm, memory, 0.0) == 9
    assert [hpa.decide(9, [2], calm, memory, at) for at in (15.0, 285.0)] == [9, 9]
    assert hpa.decide(9, [2], calm, memory, 300.0) == 2
    hesitant = Bounds(1, 100, replace(FREE, window_s=60.0), FREE)
    memory = Memory()
    assert [hpa.decide(2, [n], hesitant, memory, at) for n, at in ((2, 0.0), (9, 15.0), (8, 45.0), (9, 60.0))] == [
        2, 2, 2, 8,
    ]  # fmt: skip


@given(st.lists(st.tuples(st.floats(0, 40), st.sampled_from([0.0, 0.0, 3.0])), min_size=1, max_size=80))
def test_keda_sleeps_only_after_the_cooldown_and_wakes_at_a_look(looks: list[tuple[float, float]]) -> None:
    scaled, watch = Scaled(0, 8.0, polling_s=5.0, cooldown_s=60.0), Watch()
    now_s, replicas, active_s = 0.0, 1, float("-inf")
    asked_s = float("-inf")
    for passed_s, backlog in looks:
        now_s += passed_s
        asks = now_s - asked_s >= 5.0
        asked_s = now_s if asks else asked_s
        after = keda.decide(replicas, backlog, scaled, watch, now_s)
        if asks and backlog:
            active_s = now_s
        if after == 0 and replicas:
            assert asks
            assert not backlog
            assert now_s - active_s >= 60.0
        if after and not replicas:
            assert asks
            assert backlog
        replicas = after
    assert keda.decide(3, 0.0, Scaled(1, 8.0), Watch(), 1e6) == 3, "never to zero where a pod is to stay"


PARTS = {
    "kustomization.yaml": """
resources: [all.yaml]
patches:
  - {path: behavior.yaml, target: {kind: ScaledObject, name: (api|webhooks)-worker}}
""",
    "behavior.yaml": """
spec: {advanced: {horizontalPodAutoscalerConfig: {behavior: {
  scaleUp: {stabilizationWindowSeconds: 0, selectPolicy: Max,
            policies: [{type: Percent, value: 100, periodSeconds: 15}]},
  scaleDown: {stabilizationWindowSeconds: 120, selectPolicy: Min,
              policies: [{type: Pods, value: 1, periodSeconds: 60}]}}}}}
""",
    "all.yaml": """
kind: ScaledObject
metadata: {name: webhooks-worker}
spec:
  scaleTargetRef: {name: webhooks-worker}
  minReplicaCount: 0
  maxReplicaCount: 20
  pollingInterval: 5
  cooldownPeriod: 90
  triggers:
    - {type: metrics-api, metricType: AverageValue, metadata: {targetValue: "150"}}
    - {type: cpu, metricType: AverageValue, metadata: {value: 600m}}
---
kind: HorizontalPodAutoscaler
metadata: {name: media-worker}
spec:
  scaleTargetRef: {name: media-worker}
  minReplicas: 2
  maxReplicas: 9
  metrics:
    - {type: ContainerResource, containerResource: {name: cpu, target: {type: Utilization, averageUtilization: 75}}}
---
kind: ConfigMap
metadata: {name: beside}
""",
}


@pytest.fixture
def component(tmp_path: Path) -> Path:
    (tmp_path / "c").mkdir()
    for name, text in PARTS.items():
        (tmp_path / "c" / name).write_text(text)
    return tmp_path


def test_scalers_are_read_with_the_behaviour_that_patches_give_them(component: Path) -> None:
    found = manifests.scalers("c", component)
    assert found["webhooks-worker"] == Scaler(
        "webhooks-worker",
        Bounds(1, 20, Direction((Policy("Percent", 100, 15),), 0.0), Direction((Policy("Pods", 1, 60),), 120.0, "Min")),
        Cpu(cores=0.6),
        Scaled(0, 150.0, 5.0, 90.0),
    )
    assert found["media-worker"] == Scaler("media-worker", Bounds(2, 9), Cpu(share=0.75))
    assert found["media-worker"].cpu.target(2.0) == 1.5
    text = PARTS["all.yaml"].replace(
        "metricType: AverageValue, metadata: {targetValue", "metricType: Value, metadata: {x"
    )
    (component / "c" / "all.yaml").write_text(text)
    with pytest.raises(ValueError, match="only AverageValue"):
        manifests.scalers("c", component)


def test_the_real_manifests_are_understood() -> None:
    if not (manifests.FOLDER / "autoscale-keda").is_dir():
        pytest.skip("k8s/components/autoscale-* are not here yet")
    by_backlog, by_cpu = (manifests.scalers(f"autoscale-{kind}") for kind in ("keda", "cpu"))
    workers = {"api-worker", "webhooks-worker", "media-worker", "media-bulk-worker"}
    assert workers <= set(by_backlog)
    assert workers <= set(by_cpu)
    for scaler in (*by_backlog.values(), *by_cpu.values()):
        assert scaler.bounds.up.window_s < scaler.bounds.down.window_s, "up at once, down slowly"
    slots = manifests.slots_of("webhooks-worker")
    assert by_backlog["webhooks-worker"].keda.target <= slots, "a full pod must ask for another"


POD = Pod(rate=100.0, slots=200, latency_s=0.1, cpu_us=2000.0)
CPU = Scaler("w", Bounds(1, 20), Cpu(cores=0.6))
KEDA = Scaler("w", Bounds(1, 20), Cpu(cores=0.6), Scaled(0, 150.0, 5.0, 60.0))


@given(st.lists(st.floats(0, 2000), min_size=1, max_size=200), st.sampled_from([CPU, KEDA]))
def test_nothing_is_lost_or_made_up_on_the_way(curve: list[float], scaler: Scaler) -> None:
    run = simulate(curve, POD, scaler)
    assert math.isclose(sum(run.served) + run.waiting[-1], sum(curve), rel_tol=1e-6, abs_tol=1e-3)
    assert math.isclose(sum(count for _, count in run.waits), sum(curve), rel_tol=1e-6, abs_tol=1e-3)
    assert all(served <= ready * POD.capacity + 1e-6 for served, ready in zip(run.served, run.ready, strict=True))
    assert all(0 <= ready <= replicas <= 20 for ready, replicas in zip(run.ready, run.replicas, strict=True))


def test_a_step_of_ten_times_is_met_and_given_back() -> None:
    curve = arrivals.step(60, 10, 60, 600) + arrivals.steady(0, 900)
    run = simulate(curve, POD, KEDA)
    assert max(run.replicas) >= 6
    assert run.waiting[599] == 0
    assert run.replicas[-1] == 0, "KEDA puts it to sleep"
    assert run.wait_s(0.5) < run.wait_s(0.99) <= max(run.oldest_s) + 1


def test_cpu_alone_does_not_see_work_that_waits_for_others() -> None:
    """Endpoints that take two seconds: all slots are taken, and the processor has nothing to do."""
    slow = replace(POD, rate=2000.0, latency_s=2.0, cpu_us=400.0)
    curve = arrivals.steady(400, 900)
    by_cpu, by_backlog = simulate(curve, slow, CPU), simulate(curve, slow, KEDA)
    assert max(by_cpu.replicas) == 1
    assert by_cpu.waiting[-1] > 200_000
    assert by_backlog.waiting[-1] == 0
    assert max(by_backlog.replicas) >= 4


def test_curves_bring_what_they_say() -> None:
    assert sum(arrivals.steady(5, 10)) == 50
    assert math.isclose(sum(arrivals.diurnal(0, 10, 1000)), 5000, rel_tol=1e-6)
    assert sum(arrivals.burst(1, 500, 5, 10, 100)) == 600
    assert sum(arrivals.storm(10, 300, 60, 60, 600)) == 600 * 10 + 300 * 10, "what failed comes again"
    assert max(arrivals.storm(10, 300, 60, 60, 600)) == 10 + 50
    seen = arrivals.recorded()
    assert sum(seen) > 1000
    assert math.isclose(sum(arrivals.recorded(scale=2.0, times=3)), 6 * sum(seen))


@given(st.floats(1, 1e6), st.floats(1.01, 20), st.floats(0.01, 5))
def test_more_work_never_asks_for_less(peak: float, factor: float, latency_s: float) -> None:
    small = plan.plan(plan.Load("s", peak, peak / 3, latency_s=latency_s), MEASURED, 200)
    large = plan.plan(plan.Load("l", peak * factor, peak * factor / 3, latency_s=latency_s), MEASURED, 200)
    for name in ("worker_pods", "http_pods", "relay_cores", "database_cores", "database_gib", "redis_mib", "cells"):
        assert getattr(large, name) >= getattr(small, name), name
    assert small.worker_pods * plan.pod_rate(MEASURED, 200, latency_s) >= peak
    ends = plan.one_postgres_ends_at(MEASURED)
    assert (small.cells == 1) == (peak <= min(ends.values()) * (1 + 1e-9)) or math.isclose(peak, min(ends.values()))


def test_a_plan_by_hand() -> None:
    found = plan.plan(plan.Load("x", 10_000, 1_000), MEASURED, 200)
    assert (found.worker_pods, found.http_pods) == (9, 5)
    assert found.database_cores == math.ceil(10_000 * 320e-6 / 0.6)
    assert found.cells == 2, "the relay of one queue has 0.7 of a core and would need 0.8"
    assert found.limits == ("the relay: 0.80 of a core, one has 0.7",)
    assert math.isclose(found.database_gib, 86.4e6 * (450 + 14 * 210) / 1024**3)
    assert not found.is_partitioned


def test_the_page_shows_plots_that_are_there_and_says_the_same_twice() -> None:
    """Of a few curves: the page itself is made anew by `python -m bench.scaling`."""
    text = (report.ROOT / page.PAGE).read_text("utf-8")
    named = re.findall(r"\.\./img/(scaling-\w+\.svg)", text)
    assert {f"scaling-{name}.svg" for name in scenarios.curves(MEASURED)} <= set(named)
    assert [name for name in named if not (report.ROOT / "docs" / "img" / name).exists()] == []
    runs = {side: simulate(arrivals.steady(60, 60), POD, scaler) for side, scaler in (("a", KEDA), ("b", CPU))}
    shown = [scenarios.Shown("steady", arrivals.steady(60, 60), runs)]
    block = page.block(shown, MEASURED, 200)
    assert block == page.block(shown, MEASURED, 200)
    assert "| a |" in block
    assert "media-worker is left out" in block
    assert "media-worker is left out" not in page.block(shown, replace(MEASURED, picture_rate=5.0), 200)
    (drawn,) = scenarios.drawable(shown)
    assert max(drawn["runs"]["a"]["backlog"]) == round(max(runs["a"].backlog), 2), "no peak is thinned out"
    assert report.between(text, block).count(block.strip()) == 1


def test_the_published_runs_have_what_the_plan_needs() -> None:
    measured = rates.read()
    assert measured.delivery_rate > 100
    assert 10 < measured.delivery_us < 10_000
    assert measured.runs
    with pytest.raises(ValueError, match="run `python -m bench crowd`"):
        rates.of({"outcomes": []})
