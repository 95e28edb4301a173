"""Scaling: one scaler for each Deployment, no number of replicas beside it, and targets that fit what a pod does."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
import yaml

from shared.contracts.commands import QUEUES
from shared.runtime.metrics import QUEUE_DEPTH

from .policy import Object, command_of, is_role
from .render import RENDERINGS, ROOT, rendered
from .subset import containers

_SCALED = {f"{service}-{part}" for service in ("api", "webhooks", "media") for part in ("http", "worker")} | {
    "media-bulk-worker"
}
_KEDA = ("keda", "keda-monitoring", "production-keda")
_PLAIN = ("dev", "debug", "sync", "plain", "datastores-isolated")
overlays = pytest.mark.parametrize("overlay", RENDERINGS)


def scalers(overlay: str) -> list[Object]:
    return [item for item in rendered(overlay) if item["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}]


def target_of(scaler: Object) -> str:
    reference = scaler["spec"]["scaleTargetRef"]
    assert reference.get("kind", "Deployment") == "Deployment"
    return str(reference["name"])


def behavior_of(scaler: Object) -> Object:
    spec = scaler["spec"]
    found: Object = spec.get("behavior") or spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    return found


def most_at_once(overlay: str, role: str) -> int:
    [item] = [item for item in rendered(overlay) if item["kind"] == "Deployment" and item["metadata"]["name"] == role]
    command = command_of(item)
    return int(command[command.index("--max-async-tasks") + 1])


def backlog_targets(overlay: str) -> dict[str, tuple[str, int]]:
    """Role → (queue, target for each pod), whoever scales by it."""
    found = {}
    for scaler in scalers(overlay):
        for trigger in scaler["spec"].get("triggers", []):
            if trigger["type"] == "metrics-api":
                [queue] = re.findall(r"/v1/queues/([^/]+)/backlog$", trigger["metadata"]["url"])
                found[target_of(scaler)] = (queue, int(trigger["metadata"]["targetValue"]))
        for metric in scaler["spec"].get("metrics", []):
            if metric["type"] == "External":
                labels = metric["external"]["metric"]["selector"]["matchLabels"]
                found[target_of(scaler)] = (labels["queue"], int(metric["external"]["target"]["averageValue"]))
    return found


@overlays
def test_one_scaler_for_each_deployment_that_is_scaled(overlay: str) -> None:
    counts = Counter(target_of(scaler) for scaler in scalers(overlay))
    assert set(counts.values()) <= {1}, counts
    assert counts.keys() == (set() if overlay in _PLAIN else _SCALED)
    there = {item["metadata"]["name"] for item in rendered(overlay) if item["kind"] == "Deployment"}
    assert counts.keys() <= there


@overlays
def test_no_replicas_stand_beside_a_scaler(overlay: str) -> None:
    scaled = {target_of(scaler) for scaler in scalers(overlay)}
    written = {item["metadata"]["name"] for item in rendered(overlay) if "replicas" in item.get("spec", {})}
    assert not written & scaled
    assert written <= {"relay"}


@overlays
def test_bounds(overlay: str) -> None:
    """Nothing scales without an end, and nothing but media goes to zero."""
    for scaler in scalers(overlay):
        spec = scaler["spec"]
        low, high = (
            spec.get(a, spec.get(b))
            for a, b in (("minReplicas", "minReplicaCount"), ("maxReplicas", "maxReplicaCount"))
        )
        assert low < high <= 50
        role = target_of(scaler)
        to_zero = scaler["kind"] == "ScaledObject" and role.startswith("media-")
        assert low == 0 if to_zero else low >= 1, role
        if role.endswith("-http"):
            assert low >= 2, "a node that goes away takes one pod with it"


@overlays
def test_fast_up_and_slow_down(overlay: str) -> None:
    for scaler in scalers(overlay):
        behavior, role = behavior_of(scaler), target_of(scaler)
        up, down = behavior["scaleUp"], behavior["scaleDown"]
        assert (up["stabilizationWindowSeconds"], up["selectPolicy"]) == (0, "Max")
        assert {"type": "Percent", "value": 100, "periodSeconds": 15} in up["policies"]
        assert down["stabilizationWindowSeconds"] >= 300
        if role in {"media-worker", "media-bulk-worker"}:
            assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]


@overlays
def test_cpu_is_of_the_one_container_and_within_what_it_can_use(overlay: str) -> None:
    roles = {item["metadata"]["name"]: item for item in rendered(overlay) if is_role(item)}
    for scaler in scalers(overlay):
        role = target_of(scaler)
        container = containers(roles[role])[0]
        seen = 0
        for kind, value, name in _cpu_targets(scaler):
            assert name == container["name"]
            if role in {"media-worker", "media-bulk-worker"}:  # a CPU for each slot is requested
                assert (kind, value) == ("Utilization", "75")
            else:  # one event loop: full at one core, whatever is requested
                assert kind == "AverageValue"
                assert 500 <= int(value.removesuffix("m")) < 1000
            seen += 1
        assert seen == 1, role


def _cpu_targets(scaler: Object) -> list[tuple[str, str, str]]:
    found = [
        (trigger["metricType"], trigger["metadata"]["value"], trigger["metadata"]["containerName"])
        for trigger in scaler["spec"].get("triggers", [])
        if trigger["type"] == "cpu"
    ]
    for metric in scaler["spec"].get("metrics", []):
        if metric["type"] == "ContainerResource":
            resource: dict[str, Any] = metric["containerResource"]
            target = resource["target"]
            value = target.get("averageValue", str(target.get("averageUtilization")))
            found.append((target["type"], value, resource["container"]))
    return found


@pytest.mark.parametrize("overlay", [*_KEDA, "production-metrics"])
def test_workers_follow_their_own_backlog(overlay: str) -> None:
    targets = backlog_targets(overlay)
    assert targets.keys() == {role for role in _SCALED if role.endswith("worker")}
    for role, (queue, target) in targets.items():
        assert queue == role.removesuffix("-worker")
        assert queue in QUEUES
        assert target <= most_at_once(overlay, role), "a pod that is full must be over its target"


def test_keda_and_the_adapter_have_the_same_targets() -> None:
    assert backlog_targets("production-keda") == backlog_targets("production-metrics")


@pytest.mark.parametrize("overlay", _KEDA)
def test_keda_asks_the_route_of_its_own_namespace(overlay: str) -> None:
    services = {
        (item["metadata"]["name"], item["metadata"]["namespace"])
        for item in rendered(overlay)
        if item["kind"] == "Service" and {"port": 80}.items() <= item["spec"]["ports"][0].items()
    }
    [login] = [item for item in rendered(overlay) if item["kind"] == "TriggerAuthentication"]
    [secret] = login["spec"]["secretTargetRef"]
    assert (secret["parameter"], secret["name"], secret["key"]) == ("token", "holdfast-keda", "api-key")
    for scaler in scalers(overlay):
        for trigger in scaler["spec"].get("triggers", []):
            if trigger["type"] == "metrics-api":
                [(name, space)] = re.findall(r"^http://([a-z-]+)\.([a-z-]+)\.svc/", trigger["metadata"]["url"])
                assert (name, space) in services
                assert (name, trigger["metadata"]["valueLocation"]) == ("api", "backlog")
                assert trigger["authenticationRef"]["name"] == login["metadata"]["name"]


def test_the_adapter_serves_the_metric_that_the_hpas_ask_for() -> None:
    text = (ROOT / "k8s/components/external-metrics/prometheus-adapter-values.yaml").read_text("utf-8")
    [rule] = yaml.safe_load(text)["rules"]["external"]
    asked = {
        metric["external"]["metric"]["name"]
        for scaler in scalers("production-metrics")
        for metric in scaler["spec"]["metrics"]
        if metric["type"] == "External"
    }
    [gauge] = QUEUE_DEPTH.describe()
    assert asked == {rule["name"]["as"]} == {gauge.name}
    assert f'__name__="{gauge.name}"' in rule["seriesQuery"]
    assert rule["metricsQuery"].startswith("max("), "every replica of api-http tells the same number"


@overlays
def test_spread_constraints_keep_roles_apart(overlay: str) -> None:
    for item in rendered(overlay):
        constraints = item.get("spec", {}).get("template", {}).get("spec", {}).get("topologySpreadConstraints", [])
        labels = item.get("spec", {}).get("template", {}).get("metadata", {}).get("labels", {})
        for constraint in constraints if is_role(item) else []:
            assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()
            assert {"app.kubernetes.io/name", "pod-template-hash"} == set(constraint["matchLabelKeys"])
    if overlay.startswith(("production", "staging")):
        assert all(
            len(item["spec"]["template"]["spec"]["topologySpreadConstraints"]) == 2
            for item in rendered(overlay)
            if is_role(item)
        )
