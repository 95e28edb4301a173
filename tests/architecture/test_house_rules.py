"""House rules that a reader of this project may rely on, as tests: sizes, names, docstrings, pins."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, parsed, product_files, shown

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
NO_NOUNS = frozenset({"utils", "util", "common", "helpers", "helper", "manager", "managers", "misc", "service"})
LOCK = (ROOT / "requirements.lock").read_text("utf-8")


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(parsed(path)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def test_every_module_says_what_it_is() -> None:
    assert [shown(path) for path in product_files() if not ast.get_docstring(parsed(path))] == []


def test_modules_fit_on_a_few_screens() -> None:
    sizes = {shown(path): len(path.read_text("utf-8").splitlines()) for path in product_files()}
    assert {name: lines for name, lines in sizes.items() if lines > MODULE_LINES_MAX} == {}


def test_functions_fit_on_one_screen() -> None:
    sizes = {
        f"{shown(path)}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in product_files()
        for node in functions(path)
    }
    assert {name: lines for name, lines in sizes.items() if lines > FUNCTION_LINES_MAX} == {}


def test_modules_are_named_after_something() -> None:
    assert [shown(path) for path in product_files() if NO_NOUNS & set(path.stem.split("_"))] == []
    assert [shown(path.parent) for path in product_files() if path.parent.name in NO_NOUNS] == []


def test_nothing_is_left_to_do_in_the_code() -> None:
    left = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError")
    assert [shown(path) for path in product_files() if left.search(path.read_text("utf-8"))] == []


def test_every_pin_carries_hashes() -> None:
    """`name==version` with at least one SHA-256 each; nothing else is a requirement."""
    pins = re.split(r"\n(?=[A-Za-z0-9])", "\n" + "\n".join(line for line in LOCK.splitlines() if "# via" not in line))
    pins = [pin.strip() for pin in pins if re.match(r"[A-Za-z0-9]", pin.strip())]
    assert len(pins) > 50
    assert [pin.split()[0] for pin in pins if not re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==\S+", pin)] == []
    assert [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin] == []


def test_the_lock_names_no_index() -> None:
    """Where packages come from is the machine's business: a mirror, a proxy, a wheelhouse."""
    assert re.findall(r"(?m)^\s*(?:-i|--index-url|--extra-index-url|--find-links|--trusted-host).*$", LOCK) == []
    assert re.findall(r"https?://\S+|@ file:\S+", LOCK) == []


def test_uv_lock_is_ignored_and_not_tracked() -> None:
    assert "uv.lock" in (ROOT / ".gitignore").read_text("utf-8").split()
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    tracked = subprocess.run([git, "ls-files", "*uv.lock"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert tracked.stdout == ""
