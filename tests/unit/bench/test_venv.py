"""The peers' environment: made once for its pins, and a reason in one line where it cannot be made."""

import subprocess
from pathlib import Path

import pytest

from bench import venv


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, path in (("PINS", "peers.txt"), ("FOLDER", "venv"), ("STAMP", "venv/.installed")):
        monkeypatch.setattr(venv, name, tmp_path / path)
    (tmp_path / "peers.txt").write_text("celery==5.0 ; python_version >= '3' \\\n    --hash=sha256:00\n")
    return tmp_path


def test_it_is_made_again_only_when_the_pins_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []

    def run(*command: str) -> None:
        calls.append(command)
        (folder / "venv").mkdir(exist_ok=True)

    monkeypatch.setattr(venv, "_run", run)
    assert venv.ensure() is None
    assert venv.ensure() is None
    assert len(calls) == 2  # the environment, then what is in it
    assert "--require-hashes" in calls[1]
    (folder / "peers.txt").write_text("celery==5.1\n")
    assert venv.ensure() is None
    assert len(calls) == 4


def test_what_cannot_be_installed_is_a_reason_not_a_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*command: str) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="Collecting\nERROR: no such version\n")

    monkeypatch.setattr(venv, "_run", run)
    assert venv.ensure() == "peers.txt cannot be installed: ERROR: no such version"
    assert not (folder / "venv" / ".installed").exists()


def test_versions_are_those_of_the_pins(folder: Path) -> None:
    assert venv.versions() == {"celery": "5.0"}
