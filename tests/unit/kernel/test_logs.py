"""Lines are JSON, hide what is secret however deep, and writing one never ends who writes it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys

import pytest
import structlog

from shared.kernel import logs


@pytest.fixture(autouse=True)
def configured():
    handlers, level = logging.root.handlers, logging.root.level
    logs.configure("INFO")
    yield
    structlog.reset_defaults()
    logging.root.handlers, logging.root.level = handlers, level


def written(capsys) -> dict[str, object]:
    return json.loads(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9"),
        ("postgresql://app:hunter2@db/holdfast", "hunter2"),
        ({"deep": [{"password": "hunter2"}]}, "hunter2"),
        (("hf_0123456789abcdef",), "0123456789"),
        (ValueError("redis://:hunter2@cache:6379/0 refused"), "hunter2"),
    ],
)
def test_secrets_are_hidden_however_deep(capsys, value: object, hidden: str) -> None:
    logs.get_logger("t").warning("tried", value=value)
    line = capsys.readouterr().err
    assert hidden not in line
    assert "***" in line


def test_other_peoples_loggers_write_the_same_lines(capsys) -> None:
    logging.getLogger("asyncpg").warning("cannot reach %s", "postgresql://app:hunter2@db/holdfast")
    line = written(capsys)
    assert line["event"] == "cannot reach postgresql://app:***@db/holdfast"
    assert (line["logger"], line["level"]) == ("asyncpg", "warning")


@pytest.mark.parametrize("value", ["half a character \ud800", 1 << 80, {1: "\ud800"}, object(), b"\xff"])
def test_what_is_no_json_is_written_all_the_same(capsys, value: object) -> None:
    logs.get_logger("t").warning("odd", value=value)
    assert written(capsys)["event"] == "odd"


def test_a_closed_standard_error_ends_nobody(monkeypatch, tmp_path) -> None:
    with (tmp_path / "gone").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
    logs.get_logger("t").warning("nobody reads this")
    logging.getLogger("t").warning("nor this")


def test_a_full_disk_ends_nobody(monkeypatch) -> None:
    with io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True) as stream:  # as Python's own standard error
        monkeypatch.setattr(sys, "stderr", stream)
        logs.get_logger("t").warning("no room for this")
        logging.getLogger("t").warning("nor for this")
        with contextlib.suppress(OSError):
            stream.close()
