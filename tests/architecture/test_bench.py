"""What the benchmarks stand beside stays outside of the product: its own pins, its own environment."""

from __future__ import annotations

import re

from tests.architecture.tree import ROOT, product_files, shown

PEERS = (ROOT / "bench" / "peers.txt").read_text("utf-8")
WANTED = [re.split(r"[\[<>=]", line)[0] for line in (ROOT / "bench" / "peers.in").read_text("utf-8").split()]
OURS = {"uvloop"}  # of both


def test_every_pin_of_a_peer_carries_hashes_and_names_no_index() -> None:
    pins = re.split(r"\n(?=[A-Za-z0-9])", "\n".join(line for line in PEERS.splitlines() if "# via" not in line))
    assert len(pins) > 30
    assert [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin or "==" not in pin.split()[0]] == []
    assert re.findall(r"(?m)^\s*-|https?://", PEERS.replace("    --hash", "hash")) == []


def test_no_peer_comes_with_the_product() -> None:
    lock, project = (ROOT / "requirements.lock").read_text("utf-8"), (ROOT / "pyproject.toml").read_text("utf-8")
    assert "celery" in WANTED
    assert [name for name in WANTED if name not in OURS and re.search(rf"(?m)^{name}==", lock)] == []
    assert [
        name for name in WANTED if name not in OURS and f'"{name}' in project.partition("[project.scripts]")[0]
    ] == []


def test_the_product_knows_nothing_of_its_benchmarks() -> None:
    imports = re.compile(r"(?m)^\s*(?:from|import) bench\b")
    assert [shown(path) for path in product_files() if imports.search(path.read_text("utf-8"))] == []
