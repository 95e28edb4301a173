"""Strategic merge, for the lists that Holdfast's patches touch, and JSON patches (RFC 6902).

Owns which lists merge by key (as the Kubernetes API types declare it) and which are replaced whole. Refuses `$patch`
directives, and the operations `move`, `copy` and `test`: none of the manifests uses one, and a renderer that ignored
it would be a liar.
"""

from __future__ import annotations

import copy
from typing import Any

# `ports` merges by containerPort in a container and by port in a Service; only containers are patched.
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}


def merged(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """A new object: mappings merge, null deletes, keyed lists merge by their key, all other lists are replaced."""
    result = copy.deepcopy(base)
    for key, value in patch.items():
        if key.startswith("$"):
            raise ValueError(f"patch directive {key} is not supported")
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        elif isinstance(value, list) and isinstance(result.get(key), list) and key in _MERGE_KEYS:
            result[key] = _merged_list(result[key], value, _MERGE_KEYS[key])
        else:
            result[key] = copy.deepcopy(value)
    return result


def _merged_list(base: list[dict[str, Any]], patch: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    result = list(base)
    for item in patch:
        at = next((index for index, old in enumerate(result) if old[key] == item[key]), None)
        if at is None:
            result.append(copy.deepcopy(item))
        else:
            result[at] = merged(result[at], item)
    return result


def operated(base: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """A new object after each `add`, `replace` and `remove`; KeyError or IndexError for a wrong path."""
    result = copy.deepcopy(base)
    for operation in operations:
        if operation["op"] not in {"add", "replace", "remove"}:
            raise ValueError(f"operation {operation['op']} is not supported")
        _operate(result, operation)
    return result


def _operate(at: Any, operation: dict[str, Any]) -> None:
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    for step in way:
        at = at[int(step)] if isinstance(at, list) else at[step]
    op, value = operation["op"], copy.deepcopy(operation.get("value"))
    if isinstance(at, list):
        if op == "add":
            at.insert(len(at) if last == "-" else int(last), value)
        else:
            at[int(last) : int(last) + 1] = [] if op == "remove" else [value]
        return
    if op != "add" and last not in at:
        raise KeyError(operation["path"])
    if op == "remove":
        del at[last]
    else:
        at[last] = value
