"""The part of Kustomize that Holdfast's manifests use, so that they render where neither kustomize nor kubectl is.

Owns: resources, components, configMapGenerator (literals and files; create and merge; hash suffix), patches (strategic
and JSON 6902, from a file or inline), labels, namespace, replicas, images, replacements (one source, part of a field).
Refuses every other key by name: an unknown feature must fail, never be skipped. test_render.py compares it with the
real tool when that is there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from .merge import merged, operated

Object = dict[str, Any]
Objects = list[Object]

_KEYS = {
    "apiVersion", "kind", "resources", "components", "configMapGenerator", "patches", "labels", "namespace", "images",
    "replicas", "replacements",
}  # fmt: skip
_CLUSTER_SCOPED = {"Namespace"}
_HASHED = "holdfast.test/needs-hash"
_NO_HASH = {"disableNameSuffixHash": True}


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
    spaces = {item["metadata"].get("namespace") for item in objects if item["kind"] in {"ConfigMap", "Deployment"}}
    if names and len(spaces) > 1:  # Kustomize leaves a reference into another namespace as it is, silently.
        raise UnsupportedError(f"{folder}: generated ConfigMaps and Deployments are in several namespaces: {spaces}")
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
    for generator in spec.get("configMapGenerator", []):
        _generate(folder, generator, objects)
    for name in spec.get("components", []):
        objects = _accumulate(folder / name, objects)
    for patch in spec.get("patches", []):
        objects = _patched(folder, patch, objects)
    _transform(spec, objects)
    return objects


def _read(path: Path) -> Objects:
    return [item for item in yaml.safe_load_all(path.read_text("utf-8")) if item]


def _identity(item: Object) -> tuple[str, str, str]:
    return item["apiVersion"], item["kind"], item["metadata"]["name"]


def _generate(folder: Path, generator: Object, objects: Objects) -> None:
    if unknown := generator.keys() - {"name", "behavior", "literals", "files", "options"}:
        raise UnsupportedError(f"configMapGenerator: {', '.join(sorted(unknown))}")
    if generator.get("options", {}) not in ({}, _NO_HASH):
        raise UnsupportedError("configMapGenerator: options: only disableNameSuffixHash: true")
    data = dict(literal.split("=", 1) for literal in generator.get("literals", []))
    for entry in generator.get("files", []):
        key, _, path = entry.rpartition("=")
        data[key or Path(path).name] = (folder / path).read_text("utf-8")
    name, behavior = generator["name"], generator.get("behavior", "create")
    there = next((item for item in objects if item["kind"] == "ConfigMap" and item["metadata"]["name"] == name), None)
    if behavior == "merge" and there is not None:
        there["data"] |= data
    elif behavior == "create" and there is None:
        metadata = {"name": name} | ({} if generator.get("options") else {"annotations": {_HASHED: "yes"}})
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    else:
        raise UnsupportedError(f"configMapGenerator {name}: {behavior}, and it is {'' if there else 'not '}there")


def _patched(folder: Path, patch: Object, objects: Objects) -> Objects:
    if unknown := patch.keys() - {"path", "patch", "target"} | patch["target"].keys() - {"kind", "name"}:
        raise UnsupportedError(f"{folder}: patches: {', '.join(sorted(unknown))}")
    text = patch["patch"] if "patch" in patch else (folder / patch["path"]).read_text("utf-8")
    [change] = [item for item in yaml.safe_load_all(text) if item]
    kind, name = patch["target"].get("kind", ".*"), patch["target"].get("name", ".*")
    hits = [re.fullmatch(kind, item["kind"]) and re.fullmatch(name, item["metadata"]["name"]) for item in objects]
    if "name" in patch["target"] and not any(hits):  # Kustomize is silent here; a misspelt name is not meant.
        raise ValueError(f"{folder}: the patch of {kind} {name} matches nothing")
    return [_changed(item, change) if hit else item for item, hit in zip(objects, hits, strict=True)]


def _changed(item: Object, change: Object | list[Object]) -> Object:
    if isinstance(change, list):
        return operated(item, change)
    return merged(item, {key: value for key, value in change.items() if key not in {"apiVersion", "kind", "metadata"}})


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
    _counted(spec.get("replicas", []), objects)
    for replacement in spec.get("replacements", []):
        _replaced(replacement, objects)


def _counted(counts: list[Object], objects: Objects) -> None:
    for count in counts:
        hits = [
            item for item in objects
            if item["kind"] in {"Deployment", "StatefulSet"} and item["metadata"]["name"] == count["name"]
        ]  # fmt: skip
        if not hits:
            raise ValueError(f"replicas: there is no {count['name']}")
        for item in hits:
            item["spec"]["replicas"] = count["count"]


def _replaced(replacement: Object, objects: Objects) -> None:
    """A whole field of one object into a part, between delimiters, of fields of others."""
    if replacement.keys() != {"source", "targets"} or replacement["source"].keys() != {"kind", "fieldPath"}:
        raise UnsupportedError("replacements: only a source with kind and fieldPath, and targets")
    [source] = [item for item in objects if item["kind"] == replacement["source"]["kind"]]
    value: Any = source
    for step in replacement["source"]["fieldPath"].split("."):
        value = value[step]
    for target in replacement["targets"]:
        if target.keys() != {"select", "fieldPaths", "options"} or target["select"].keys() != {"kind"}:
            raise UnsupportedError("replacements: targets: only select.kind, fieldPaths and options")
        if target["options"].keys() != {"delimiter", "index"}:
            raise UnsupportedError("replacements: options: only delimiter and index")
        for item in objects:
            if item["kind"] == target["select"]["kind"]:
                for path in target["fieldPaths"]:
                    _put_part(item, path.split("."), str(value), **target["options"])


def _put_part(item: Any, path: list[str], value: str, *, delimiter: str, index: int) -> None:
    *way, last = path
    for step in way:
        item = item[int(step)] if isinstance(item, list) else item[step]
    parts = item[last].split(delimiter)
    parts[index] = value
    item[last] = delimiter.join(parts)


def containers(item: Object) -> list[Object]:
    """Main and init containers of a workload; none for anything else."""
    pod = item.get("spec", {}).get("template", {}).get("spec", {})
    return [*pod.get("containers", []), *pod.get("initContainers", [])]


def _config_references(item: Object) -> Iterator[Object]:
    pod = item.get("spec", {}).get("template", {}).get("spec", {})
    yield from (volume["configMap"] for volume in pod.get("volumes", []) if "configMap" in volume)
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
