"""Every overlay renders, its references meet, and our small renderer says what the real one says."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from . import subset
from .merge import merged
from .render import OVERLAYS, ROOT, real_tool, render_by_tool, rendered


def _comparable(value: Any) -> Any:
    """Order is meaning in `command` and nowhere else that patches reach; YAML's empty mapping and null are one."""
    if isinstance(value, dict):
        return {key: inner if key == "command" else _comparable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return sorted((_comparable(inner) for inner in value), key=lambda inner: json.dumps(inner, sort_keys=True))
    return value


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_subset_agrees_with_kustomize(overlay: str) -> None:
    tool = real_tool()
    if tool is None:
        pytest.skip("neither kustomize nor kubectl >= 1.28 on this machine")
    folder = ROOT / "k8s" / "overlays" / overlay
    ours, theirs = subset.render(folder), render_by_tool(tool, folder)
    by_name = [
        {(item["kind"], item["metadata"]["name"]): _comparable(item) for item in side} for side in (ours, theirs)
    ]
    assert len(ours) == len(by_name[0])
    assert by_name[0] == by_name[1]


def test_unknown_features_are_refused(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization\nnamePrefix: x-\n")
    with pytest.raises(subset.UnsupportedError, match="namePrefix"):
        subset.render(tmp_path)


def test_merge_by_key_by_replacement_and_by_null() -> None:
    base = {"env": [{"name": "A", "value": "1"}], "command": ["a", "b"], "gone": 1}
    patch = {"env": [{"name": "B", "value": "2"}, {"name": "A", "value": "3"}], "command": ["c"], "gone": None}
    before = copy.deepcopy(base)
    env = [{"name": "A", "value": "3"}, {"name": "B", "value": "2"}]
    assert merged(base, patch) == {"env": env, "command": ["c"]}
    assert base == before
    with pytest.raises(ValueError, match=r"\$patch"):
        merged(base, {"$patch": "delete"})


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_references_meet(overlay: str) -> None:
    objects = rendered(overlay)
    there = {(item["kind"], item["metadata"]["name"]) for item in objects}
    data = {item["metadata"]["name"]: item["data"] for item in objects if item["kind"] == "ConfigMap"}
    claims = {name for kind, name in there if kind == "PersistentVolumeClaim"}
    for item in objects:
        pod = item.get("spec", {}).get("template", {}).get("spec", {})
        if "serviceAccountName" in pod:
            assert ("ServiceAccount", pod["serviceAccountName"]) in there
        for volume in pod.get("volumes", []):
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
        for container in subset.containers(item):
            for source in container.get("envFrom", []):
                assert source["configMapRef"]["name"] in data
            for variable in container.get("env", []):
                if reference := variable.get("valueFrom", {}).get("configMapKeyRef"):
                    assert reference["key"] in data[reference["name"]], variable["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_namespace_and_no_secret_material(overlay: str) -> None:
    objects = rendered(overlay)
    [space] = [item["metadata"] for item in objects if item["kind"] == "Namespace"]
    assert {item["metadata"].get("namespace", space["name"]) for item in objects} == {space["name"]}
    assert space["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert not [item for item in objects if item["kind"] == "Secret"]
