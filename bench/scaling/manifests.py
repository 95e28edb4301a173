"""Reads the scalers from k8s/components: HPAs, ScaledObjects, and the behaviours that patches give them.

Nothing is rendered: a component's kustomization names its resources, and its patches with the names that they are for.
Refuses (ValueError) what it cannot understand, so that no figure is made of defaults that nobody wrote.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.scaling.hpa import DEFAULT_DOWN, DEFAULT_UP, Bounds, Direction, Policy
from bench.scaling.keda import Scaled

FOLDER = Path(__file__).parents[2] / "k8s" / "components"
BASE = Path(__file__).parents[2] / "k8s" / "base"


@dataclass(frozen=True)
class Cpu:
    """`cores`: the average of the pods, absolutely; `share`: of what they request."""

    cores: float | None = None
    share: float | None = None

    def target(self, requested: float) -> float:
        return self.cores if self.cores is not None else (self.share or 1.0) * requested


@dataclass(frozen=True)
class Scaler:
    """What moves one Deployment. `keda` None: an HPA alone."""

    deployment: str
    bounds: Bounds
    cpu: Cpu | None
    keda: Scaled | None = None


def scalers(component: str, folder: Path = FOLDER) -> dict[str, Scaler]:
    """Deployment → its scaler, of one component alone."""
    place = folder / component
    (plan,) = _documents(place / "kustomization.yaml")
    found = [item for name in plan["resources"] for item in _documents(place / name)]
    patches = [(_documents(place / patch["path"])[0], patch["target"]) for patch in plan.get("patches", [])]
    made = [_scaler(item, _behaviour(item, patches)) for item in found if item["kind"] in _READERS]
    return {scaler.deployment: scaler for scaler in made}


def container(role: str, base: Path = BASE) -> dict[str, Any]:
    """The main container of a Deployment of the base, by its file's documents."""
    for path in sorted(base.glob("*/*.yaml")):
        for item in _documents(path):
            if isinstance(item, dict) and item.get("kind") == "Deployment" and item["metadata"]["name"] == role:
                found: dict[str, Any] = item["spec"]["template"]["spec"]["containers"][0]
                if "command" in found:  # not a patch of it
                    return found
    raise ValueError(f"no Deployment {role} below {base}")


def slots_of(role: str, base: Path = BASE) -> int:
    """What a worker's pod runs at once."""
    command = container(role, base)["command"]
    return int(command[command.index("--max-async-tasks") + 1])


def requested_of(role: str, base: Path = BASE) -> float:
    """The cores that a pod of it asks for."""
    return cores(str(container(role, base)["resources"]["requests"]["cpu"]))


def cores(text: str) -> float:
    """`600m` → 0.6."""
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def _documents(path: Path) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all(path.read_text("utf-8")) if item]


def _behaviour(item: dict[str, Any], patches: list[tuple[dict[str, Any], dict[str, str]]]) -> dict[str, Any]:
    """The patch for this kind and name, or what stands on the object itself."""
    found = [patch for patch, target in patches
             if re.fullmatch(target["kind"], item["kind"]) and re.fullmatch(target.get("name", ".*"), item["metadata"]["name"])]  # fmt: skip  # noqa: E501
    if len(found) > 1:
        raise ValueError(f"{item['metadata']['name']}: two patches give it a behaviour")
    spec = (found[0] if found else item)["spec"]
    own = spec if item["kind"] == "HorizontalPodAutoscaler" else spec.get("advanced", {}).get(
        "horizontalPodAutoscalerConfig", {})  # fmt: skip
    behaviour: dict[str, Any] = own.get("behavior", {})
    return behaviour


def _direction(given: dict[str, Any] | None, default: Direction) -> Direction:
    if given is None:
        return default
    policies = tuple(
        Policy(policy["type"], int(policy["value"]), float(policy["periodSeconds"]))
        for policy in given.get("policies", ())
    )
    window = float(given.get("stabilizationWindowSeconds", default.window_s))
    return Direction(policies or default.policies, window, given.get("selectPolicy", "Max"))


def _bounds(least: int, most: int, behaviour: dict[str, Any]) -> Bounds:
    up, down = behaviour.get("scaleUp"), behaviour.get("scaleDown")
    return Bounds(least, most, _direction(up, DEFAULT_UP), _direction(down, DEFAULT_DOWN))


def _scaler(item: dict[str, Any], behaviour: dict[str, Any]) -> Scaler:
    return _READERS[item["kind"]](item["spec"], behaviour)


def _hpa(spec: dict[str, Any], behaviour: dict[str, Any]) -> Scaler:
    bounds = _bounds(int(spec.get("minReplicas", 1)), int(spec["maxReplicas"]), behaviour)
    targets = [metric["containerResource"]["target"] for metric in spec["metrics"] if "containerResource" in metric]
    return Scaler(spec["scaleTargetRef"]["name"], bounds, _cpu(targets[0]) if targets else None)


def _cpu(target: dict[str, Any]) -> Cpu:
    if target["type"] == "Utilization":
        return Cpu(share=float(target["averageUtilization"]) / 100)
    return Cpu(cores=cores(str(target["averageValue"])))


def _scaled(spec: dict[str, Any], behaviour: dict[str, Any]) -> Scaler:
    cpu, target = None, None
    for trigger in spec["triggers"]:
        if trigger["type"] == "metrics-api":
            if trigger.get("metricType", "AverageValue") != "AverageValue":
                raise ValueError(f"{spec['scaleTargetRef']['name']}: only AverageValue is simulated")
            target = float(trigger["metadata"]["targetValue"])
        elif trigger["type"] == "cpu":
            value = str(trigger["metadata"]["value"])
            cpu = Cpu(share=float(value) / 100) if trigger["metricType"] == "Utilization" else Cpu(cores=cores(value))
    if target is None:
        raise ValueError(f"{spec['scaleTargetRef']['name']}: no metrics-api trigger")
    least = int(spec.get("minReplicaCount", 0))
    scaled = Scaled(least, target, float(spec.get("pollingInterval", 30)), float(spec.get("cooldownPeriod", 300)))
    bounds = _bounds(scaled.least_awake, int(spec.get("maxReplicaCount", 100)), behaviour)
    return Scaler(spec["scaleTargetRef"]["name"], bounds, cpu, scaled)


_READERS = {"HorizontalPodAutoscaler": _hpa, "ScaledObject": _scaled}
