"""Renders an overlay: by the real Kustomize when this machine has a fit one, by tests/k8s/subset.py when not.

`HOLDFAST_KUSTOMIZE` names a `kustomize` or `kubectl` binary to use. A kubectl before 1.28 is passed over: its
Kustomize is too old.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import yaml

from . import subset

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = tuple(sorted(path.parent.name for path in (ROOT / "k8s" / "overlays").glob("*/kustomization.yaml")))
# k8s/tests builds the combinations of components that no overlay has; `namespace` is a part that they share.
COMBINATIONS = tuple(
    sorted(
        path.parent.name
        for path in (ROOT / "k8s" / "tests").glob("*/kustomization.yaml")
        if path.parent.name != "namespace"
    )
)
RENDERINGS = (*OVERLAYS, *COMBINATIONS)
_OLDEST_KUBECTL = (1, 28)


@functools.cache
def real_tool() -> tuple[str, ...] | None:
    """The command that renders a folder, or None."""
    named = os.environ.get("HOLDFAST_KUSTOMIZE")
    for tool in [named] if named else [shutil.which("kustomize"), shutil.which("kubectl")]:
        if tool is None:
            continue
        if "kubectl" not in Path(tool).name:
            return (tool, "build")
        if _kubectl_version(tool) >= _OLDEST_KUBECTL:
            return (tool, "kustomize")
    return None


def _kubectl_version(tool: str) -> tuple[int, ...]:
    answer = subprocess.run([tool, "version", "--client", "-o", "json"], capture_output=True, timeout=20, check=False)
    try:
        text = json.loads(answer.stdout)["clientVersion"]["gitVersion"]
    except (ValueError, KeyError):
        return (0,)
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def render_by_tool(tool: tuple[str, ...], folder: Path) -> subset.Objects:
    """Raises CalledProcessError with the tool's own words in `stderr`."""
    done = subprocess.run([*tool, str(folder)], capture_output=True, check=True, timeout=60)
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def folder_of(name: str) -> Path:
    return ROOT / "k8s" / ("overlays" if name in OVERLAYS else "tests") / name


@functools.cache
def rendered(name: str) -> subset.Objects:
    """All objects of one overlay or combination. Shared between tests: copy before changing anything."""
    tool = real_tool()
    return render_by_tool(tool, folder_of(name)) if tool else subset.render(folder_of(name))
