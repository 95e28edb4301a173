"""Every overlay renders, its references meet, and our small renderer says what the real one says."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from . import subset
from .merge import merged, operated
from .render import RENDERINGS, folder_of, real_tool, render_by_tool, rendered


def _comparable(value: Any) -> Any:
    """Order is meaning in `command` and nowhere else that patches reach; YAML's empty mapping and null are one."""
    if isinstance(value, dict):
        return {key: inner if key == "command" else _comparable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return sorted((_comparable(inner) for inner in value), key=lambda inner: json.dumps(inner, sort_keys=True))
    return value


@pytest.mark.parametrize("overlay", RENDERINGS)
def test_subset_agrees_with_kustomize(overlay: str) -> None:
    tool = real_tool()
    if tool is None:
        pytest.skip("neither kustomize nor kubectl >= 1.28 on this machine")
    folder = folder_of(overlay)
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


def test_operations_of_json_patches() -> None:
    base = {"spec": {"metrics": [1, 2]}, "a/b": 1}
    change = [
        {"op": "add", "path": "/spec/metrics/-", "value": 3},
        {"op": "add", "path": "/spec/metrics/0", "value": 0},
        {"op": "replace", "path": "/spec/metrics/1", "value": 9},
        {"op": "remove", "path": "/a~1b"},
    ]
    assert operated(base, change) == {"spec": {"metrics": [0, 9, 2, 3]}}
    assert base == {"spec": {"metrics": [1, 2]}, "a/b": 1}
    with pytest.raises(KeyError):
        operated(base, [{"op": "replace", "path": "/spec/none", "value": 1}])
    with pytest.raises(ValueError, match="move"):
        operated(base, [{"op": "move", "path": "/spec"}])


@pytest.mark.parametrize(
    "part",
    [
        "replacements: [{path: x.yaml}]",
        "configMapGenerator: [{name: x, envs: [y]}]",
        "patches: [{path: x, target: {labelSelector: a}}]",
    ],
)
def test_unknown_parts_of_features_are_refused(tmp_path: Path, part: str) -> None:
    (tmp_path / "kustomization.yaml").write_text(f"kind: Kustomization\nresources: [one.yaml]\n{part}\n")
    (tmp_path / "one.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n")
    with pytest.raises(subset.UnsupportedError):
        subset.render(tmp_path)


@pytest.mark.parametrize("overlay", RENDERINGS)
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
            if "configMap" in volume:
                assert volume["configMap"]["name"] in data
        for container in subset.containers(item):
            for source in container.get("envFrom", []):
                assert source.get("secretRef", {}).get("optional") or source["configMapRef"]["name"] in data
            for variable in container.get("env", []):
                if reference := variable.get("valueFrom", {}).get("configMapKeyRef"):
                    assert reference["key"] in data[reference["name"]], variable["name"]


@pytest.mark.parametrize("overlay", RENDERINGS)
def test_one_namespace_and_no_secret_material(overlay: str) -> None:
    objects = rendered(overlay)
    [space] = [item["metadata"] for item in objects if item["kind"] == "Namespace"]
    assert {item["metadata"].get("namespace", space["name"]) for item in objects} == {space["name"]}
    assert not [item for item in objects if item["kind"] == "Secret"]
