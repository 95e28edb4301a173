"""docs/reference/retention.md names every table that there is, with its owner and what ends its rows."""

from __future__ import annotations

import importlib
import re

from shared.db.naming import Table
from shared.ledger import models
from shared.ledger.audit import LINKS
from shared.runtime.schema import owners
from tests.architecture.test_settings import variables
from tests.architecture.tree import ROOT, services

for service in services():
    importlib.import_module(f"services.{service}.models")
PAGE = (ROOT / "docs" / "reference" / "retention.md").read_text("utf-8")
LEDGER = {kind.__tablename__ for kind in vars(models).values() if hasattr(kind, "__tablename__")}


def lines() -> dict[str, list[str]]:
    """Table → its owner, what it grows with, what ends its rows, its setting."""
    listed = PAGE.split("| table |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in listed]
    return {name.strip("`"): rest for name, *rest in cells}


def test_every_table_is_listed_and_no_other() -> None:
    assert sorted(lines()) == sorted(Table.metadata.tables)


def test_each_is_listed_with_its_owner_and_what_ends_its_rows() -> None:
    for name, (owner, grows, ends, *_) in lines().items():
        assert owner == ("ledger" if name in LEDGER else name.partition("_")[0]), name
        assert grows, name
        assert ends, name


def test_the_settings_that_it_names_are_read_by_somebody() -> None:
    named = set(re.findall(r"HOLDFAST_[A-Z0-9_]+", PAGE))
    assert named - variables() == set()
    kept = {name for name in variables() if "_KEEP_" in name}
    assert kept - named == set(), "a time that something is kept for, and nobody is told"


def test_the_tasks_that_it_names_run_by_themselves() -> None:
    from shared.contracts.commands import ALL

    listed = PAGE.split("| task |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    tasks = [line.strip("|").split("|")[0].strip().strip("`") for line in listed]
    assert len(tasks) >= 3
    assert [task for task in tasks if not ALL[task].schedule] == []


def test_the_columns_that_the_audit_is_told_to_name_jobs_are_there() -> None:
    links = [link for owner in owners() for link in owner.links] + list(LINKS)
    assert len(links) >= 3
    for table, column in links:
        assert column in Table.metadata.tables[table].columns
