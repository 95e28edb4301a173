"""The part of Kustomize that Holdfast's manifests use, so that they render where neither kustomize nor kubectl is.

Owns: resources, components, configMapGenerator (literals; create and merge; hash suffix), patches, labels, namespace,
images. Refuses every other key by name: an unknown feature must fail, never be skipped. test_render.py compares it
with the real tool when that is there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from .merge import merged

Object = dict[str, Any]
Objects = list[Object]

_KEYS = {
    "apiVersion", "kind", "resources", "components", "configMapGenerator", "patches", "labels", "namespace", "images",
}  # fmt: skip
_CLUSTER_SCOPED = {"Namespace"}
_HASHED = "holdfast.test/needs-hash"


class UnsupportedError(Exception):
    """A kustomization uses something that this renderer does not know."""


def render(folder: Path) -> Objects:
    """All objects of one overlay, with generated names in place."""
    objects = _accumulate(folder, [])
    names: dict[str, str] = {}
    for item in objects:
        annotations = item["metadata"].get("annotations", {})
        if annotations.pop(_HASHED, None):
            del item["metadata"]["annotations"]
            names[item["metadata"]["name"]] = f"{item['metadata']['name']}-{_hash(item)}"
    for item in objects:
        if item["kind"] == "ConfigMap":
            item["metadata"]["name"] = names.get(item["metadata"]["name"], item["metadata"]["name"])
        for reference in _config_references(item):
            reference["name"] = names.get(reference["name"], reference["name"])
    return objects


def _accumulate(folder: Path, objects: Objects) -> Objects:
    spec = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    if unknown := spec.keys() - _KEYS:
        raise UnsupportedError(f"{folder}: {', '.join(sorted(unknown))}")
    for name in spec.get("resources", []):
        found = _accumulate(folder / name, []) if (folder / name).is_dir() else _read(folder / name)
        for item in found:
            if any(_identity(item) == _identity(other) for other in objects):
                raise ValueError(f"{folder}: {_identity(item)} is there twice")
            objects.append(item)
    for name in spec.get("components", []):
        objects = _accumulate(folder / name, objects)
    for generator in spec.get("configMapGenerator", []):
        _generate(generator, objects)
    for patch in spec.get("patches", []):
        objects = _patched(folder, patch, objects)
    _transform(spec, objects)
    return objects


def _read(path: Path) -> Objects:
    return [item for item in yaml.safe_load_all(path.read_text("utf-8")) if item]


def _identity(item: Object) -> tuple[str, str, str]:
    return item["apiVersion"], item["kind"], item["metadata"]["name"]


def _generate(generator: Object, objects: Objects) -> None:
    if unknown := generator.keys() - {"name", "behavior", "literals"}:
        raise UnsupportedError(f"configMapGenerator: {', '.join(sorted(unknown))}")
    data = dict(literal.split("=", 1) for literal in generator["literals"])
    name, behavior = generator["name"], generator.get("behavior", "create")
    there = next((item for item in objects if item["kind"] == "ConfigMap" and item["metadata"]["name"] == name), None)
    if behavior == "merge" and there is not None:
        there["data"] |= data
    elif behavior == "create" and there is None:
        metadata = {"name": name, "annotations": {_HASHED: "yes"}}
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    else:
        raise UnsupportedError(f"configMapGenerator {name}: {behavior}, and it is {'' if there else 'not '}there")


def _patched(folder: Path, patch: Object, objects: Objects) -> Objects:
    if unknown := patch.keys() - {"path", "target"} | patch["target"].keys() - {"kind", "name"}:
        raise UnsupportedError(f"{folder}: patches: {', '.join(sorted(unknown))}")
    [change] = _read(folder / patch["path"])
    change = {key: value for key, value in change.items() if key not in {"apiVersion", "kind", "metadata"}}
    kind, name = patch["target"].get("kind", ".*"), patch["target"].get("name", ".*")
    hits = [re.fullmatch(kind, item["kind"]) and re.fullmatch(name, item["metadata"]["name"]) for item in objects]
    if "name" in patch["target"] and not any(hits):  # Kustomize is silent here; a misspelt name is not meant.
        raise ValueError(f"{folder}: the patch {patch['path']} matches nothing")
    return [merged(item, change) if hit else item for item, hit in zip(objects, hits, strict=True)]


def _transform(spec: Object, objects: Objects) -> None:
    for item in objects:
        metadata = item["metadata"]
        for label in spec.get("labels", []):
            if label.keys() != {"pairs", "includeTemplates"}:
                raise UnsupportedError("labels: only pairs with includeTemplates")
            metadata["labels"] = {**metadata.get("labels", {}), **label["pairs"]}
            if template := item.get("spec", {}).get("template"):
                template["metadata"]["labels"] = {**template["metadata"].get("labels", {}), **label["pairs"]}
        if "namespace" in spec:
            metadata["name" if item["kind"] in _CLUSTER_SCOPED else "namespace"] = spec["namespace"]
        for image in spec.get("images", []):
            for container in containers(item):
                if container["image"].split(":")[0] == image["name"]:
                    container["image"] = f"{image['newName']}:{image['newTag']}"


def containers(item: Object) -> list[Object]:
    """Main and init containers of a workload; none for anything else."""
    pod = item.get("spec", {}).get("template", {}).get("spec", {})
    return [*pod.get("containers", []), *pod.get("initContainers", [])]


def _config_references(item: Object) -> Iterator[Object]:
    for container in containers(item):
        yield from (source["configMapRef"] for source in container.get("envFrom", []) if "configMapRef" in source)
        for variable in container.get("env", []):
            if "configMapKeyRef" in variable.get("valueFrom", {}):
                yield variable["valueFrom"]["configMapKeyRef"]


def _hash(config: Object) -> str:
    """Kustomize's suffix: ten hex digits of the content's SHA-256, with the letters replaced that could spell words."""
    content = {"data": config["data"], "kind": "ConfigMap", "name": ""}  # The name does not enter, its key does.
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&":  # As Go's encoder writes them.
        text = text.replace(char, f"\\u{ord(char):04x}")
    return hashlib.sha256(text.encode()).hexdigest()[:10].translate(str.maketrans("013ae", "ghkmt"))
