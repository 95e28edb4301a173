"""What the pages on clusters tell one to type names what is there: objects, files, modules, and what KEDA leaves."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path

import pytest

from .render import OVERLAYS, ROOT, rendered
from .subset import Object

_PAGES = [
    page
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if "kubectl" in page.read_text("utf-8") or "k8s/" in page.read_text("utf-8")
]
_KINDS = {
    "deploy": "Deployment", "deployment": "Deployment", "job": "Job", "svc": "Service", "ingress": "Ingress",
    "hpa": "HorizontalPodAutoscaler", "scaledobject": "ScaledObject", "httproute": "HTTPRoute",
}  # fmt: skip
_BY_HAND = {"main-job"}  # k8s/components/verification/job.yaml, which no overlay holds
pages = pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)


@functools.cache
def _objects() -> set[tuple[str, str]]:
    overlays = (*OVERLAYS, "production-keda", "production-metrics")
    return {(item["kind"], item["metadata"]["name"]) for overlay in overlays for item in rendered(overlay)}


def _typed(text: str) -> list[str]:
    """Lines of code blocks, and code within sentences, without their comments."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    lines = [line.partition("  #")[0] for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def _named(line: str) -> list[tuple[str, str]]:
    """(kind, name) of the objects that a kubectl command names: `deploy/x`, or `deployment x y`."""
    words = line.split()
    found = [word.split("/", 1) for word in words if "/" in word and word.split("/", 1)[0] in _KINDS]
    for at, word in enumerate(words[:-1]):
        if word in _KINDS and words[at - 1] in {"delete", "scale", "get", "describe"}:
            for name in words[at + 1 :]:
                if not re.fullmatch(r"[a-z][a-z-]*", name):
                    break
                found.append([word, name])
    return [(_KINDS[kind], name) for kind, name in found]


@pages
def test_commands_name_objects_that_are_there(page: Path) -> None:
    for line in _typed(page.read_text("utf-8")):
        if line.lstrip().startswith("kubectl") or "$(kubectl" in line:
            for kind, name in _named(line):
                assert (kind, name) in _objects() or name in _BY_HAND or name.endswith("…"), line


@pages
def test_paths_and_modules_are_there(page: Path) -> None:
    for line in _typed(page.read_text("utf-8")):
        for path in re.findall(r"(?<![\w./])(k8s/[\w./-]*\w)(?![\w…])", line):
            assert (ROOT / path).exists() or f"{path}/…" in line, line
        for module in re.findall(r"python3? -m ((?:shared|bench|holdfast)[\w.]*)", line):
            assert importlib.util.find_spec(module) is not None, line


def _goes_to_zero(item: Object) -> bool:
    return item["kind"] == "ScaledObject" and item["spec"]["minReplicaCount"] == 0


def test_what_keda_leaves_at_zero_is_named_where_one_leaves_keda() -> None:
    """An HPA does nothing for a Deployment of no pods: without the command its work would wait for ever."""
    text = (ROOT / "docs/how-to/deploy-to-kubernetes.md").read_text("utf-8")
    [line] = [line for line in _typed(text) if "scale deployment" in line and line.endswith("--replicas=1")]
    asleep = {item["spec"]["scaleTargetRef"]["name"] for item in rendered("production-keda") if _goes_to_zero(item)}
    assert {name for _, name in _named(line)} == asleep
