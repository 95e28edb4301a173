"""docs/reference/settings.md names every setting that a process reads, and none that nobody reads."""

from __future__ import annotations

import importlib
import re

import pytest
from pydantic_settings import BaseSettings

from tests.architecture.tree import ROOT, module_name, parsed, product_files

PAGE = ROOT / "docs" / "reference" / "settings.md"


def settings_classes() -> set[type[BaseSettings]]:
    found = set()
    for path in product_files():
        if "BaseSettings" in path.read_text("utf-8") and parsed(path):
            module = importlib.import_module(module_name(path))
            found |= {
                kind
                for kind in vars(module).values()
                if isinstance(kind, type) and issubclass(kind, BaseSettings) and kind.__module__ == module.__name__
            }
    return found


def variables() -> set[str]:
    return {
        f"{kind.model_config['env_prefix']}{name}".upper() for kind in settings_classes() for name in kind.model_fields
    }


def test_no_variable_is_read_under_two_meanings() -> None:
    names = [
        f"{kind.model_config['env_prefix']}{name}".upper() for kind in settings_classes() for name in kind.model_fields
    ]
    assert sorted(names) == sorted(set(names))
    assert all(name.startswith("HOLDFAST_") for name in names)
    assert len(names) > 20


def test_every_setting_is_documented() -> None:
    if not PAGE.exists():
        pytest.skip("docs/reference/settings.md is not written yet")
    text = PAGE.read_text("utf-8")
    assert sorted(name for name in variables() if name not in text) == []
    named = set(re.findall(r"HOLDFAST_[A-Z0-9_]+", text))
    code = "\n".join(path.read_text("utf-8") for path in product_files())
    assert sorted(name for name in named - variables() if name not in code) == []
