"""The command line in this process: `holdfast("audit", "--json")` gives exit code, standard output and error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from holdfast import cli, show
from tests.integration.cli.ledgers import fill


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one line of JSON."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def sentence(self) -> str:
        """Standard error, which must be one sentence, and nothing on standard output."""
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("holdfast: ")
        return line


@pytest.fixture
def holdfast(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Said]:
    """Runs in an empty data directory, unless the environment names another."""
    for name in ("HOLDFAST_DATABASE_URL", "HOLDFAST_URL", "HOLDFAST_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOLDFAST_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(show.console, "width", 250)

    def run(*words: str) -> Said:
        monkeypatch.setattr("sys.argv", ["holdfast", *words])
        capfd.readouterr()
        code: Any = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return run


@pytest.fixture
def ledger_url(database_url: str, monkeypatch: pytest.MonkeyPatch, holdfast: Callable[..., Said]) -> str:
    """A filled ledger, on SQLite and then on PostgreSQL; the command line looks at it."""
    asyncio.run(fill(database_url))
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", database_url)
    return database_url
