"""A pod template as the words of `docker run`: what a kubelet would ask of the runtime. Pure.

Takes what Holdfast's pods use: one container, environment from literals, ConfigMaps and Secrets, emptyDir, configMap
and persistent volumes, the restricted security context, a memory limit. A reference to what is not there is a
LookupError, as it would keep a pod from starting, unless it is optional.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Data = Mapping[str, Mapping[str, str]]  # ConfigMaps or Secrets by name
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def container(template: Mapping[str, Any]) -> dict[str, Any]:
    [only] = template["spec"]["containers"]
    found: dict[str, Any] = only
    return found


def environment(spec: Mapping[str, Any], configs: Data, secrets: Data, pod: Mapping[str, str]) -> dict[str, str]:
    """What stands in `env` goes before what comes from whole ConfigMaps and Secrets. `pod` is the Downward API's."""
    found: dict[str, str] = {}
    for source in spec.get("envFrom", []):
        kind, reference = next(iter(source.items()))
        data = (configs if kind == "configMapRef" else secrets).get(reference["name"])
        if data is None and not reference.get("optional"):
            raise LookupError(f"{kind} {reference['name']}")
        found |= data or {}
    for one in spec.get("env", []):
        value = one.get("value") if "value" in one else _value_from(one["valueFrom"], configs, secrets, pod)
        if value is not None:
            found[one["name"]] = value
    return found


def _value_from(source: Mapping[str, Any], configs: Data, secrets: Data, pod: Mapping[str, str]) -> str | None:
    kind, reference = next(iter(source.items()))
    if kind == "fieldRef":
        return pod[reference["fieldPath"]]
    data = (configs if kind == "configMapKeyRef" else secrets).get(reference["name"], {})
    if reference["key"] not in data:
        if reference.get("optional"):
            return None
        raise LookupError(f"{kind} {reference['name']}/{reference['key']}")
    return data[reference["key"]]


def volumes(template: Mapping[str, Any], place: Path, shared: Path, configs: Data) -> list[str]:
    """`-v` words; folders of the pod are made below `place`, those of claims below `shared`, as fsGroup leaves them."""
    group = template["spec"].get("securityContext", {}).get("fsGroup", 0)
    kinds = {volume["name"]: volume for volume in template["spec"].get("volumes", [])}
    words: list[str] = []
    for mount in container(template).get("volumeMounts", []):
        volume = kinds[mount["name"]]
        if "configMap" in volume:
            folder = _made(place / mount["name"], 0, 0o755)
            for name, text in configs[volume["configMap"]["name"]].items():
                (folder / name).write_text(text)
                (folder / name).chmod(0o644)
        elif "persistentVolumeClaim" in volume:
            folder = _made(shared / volume["persistentVolumeClaim"]["claimName"], group, 0o2775)
        else:
            assert "emptyDir" in volume, volume
            folder = _made(place / mount["name"], group, 0o2777)
        words += ["-v", f"{folder}:{mount['mountPath']}{':ro' if mount.get('readOnly') else ''}"]
    return words


def confinement(template: Mapping[str, Any]) -> list[str]:
    """What the security contexts and the memory limit ask for. Refuses a pod that asks for less than restricted."""
    own, pod = container(template)["securityContext"], template["spec"]["securityContext"]
    assert own["readOnlyRootFilesystem"]
    assert own["capabilities"]["drop"] == ["ALL"]
    assert own["allowPrivilegeEscalation"] is False
    return [
        "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--user", f"{pod['runAsUser']}:{pod['runAsGroup']}",
        "--memory", str(_bytes(container(template)["resources"]["limits"]["memory"])),
    ]  # fmt: skip


def _bytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([KMG]i)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * _UNITS[unit]


def _made(folder: Path, group: int, mode: int) -> Path:
    import os

    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, 0, group)
    folder.chmod(mode)
    return folder
