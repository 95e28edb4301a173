"""What the project consists of, read from the tree: the product's modules, its services, its queues."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("shared", "services", "holdfast")


def product_files() -> list[Path]:
    """Every module of the product; migrations are history and keep no house rules."""
    found = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "versions" not in path.parts]
    return sorted(found)


def services() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "services").glob("*/__init__.py"))


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))
