"""What is written from results: blocks between markers, tables, the points of the plots."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import report
from bench.curves import backlog_points, latency_curves, peer_bars
from bench.figures import Figure, Outcome, Table
from bench.pace import spread_ms
from bench.report import BEGIN, END, between, full, short, table
from bench.scenarios.peers import US

MACHINE = {"cores": 2, "cpu": "A | B", "kernel": "6", "python": "3.11", "fdatasync_ms_p50": 0.1}


def document(*outcomes: Outcome, **more: Any) -> dict[str, Any]:
    return {
        "at": "2026-01-01T00:00:00Z", "machine": MACHINE, "options": {"rounds": 2, "quick": False},
        "outcomes": [outcome.document() for outcome in outcomes], "name": "x.json", **more,
    }  # fmt: skip


@given(st.text(alphabet="ab\n|", max_size=20), st.text(alphabet="ab\n|", max_size=20), st.text("xy", min_size=1))
def test_a_block_takes_the_place_of_the_last_and_nothing_else_moves(before: str, after: str, block: str) -> None:
    once = between(f"{before}{BEGIN}\nold\n{END}{after}", block)
    assert once == f"{before}{BEGIN}\n{block}\n{END}{after}"
    assert between(once, block) == once


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{END}"])
def test_markers_that_are_not_there_once_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="each once"):
        between(text, "x")


def test_the_readme_shows_the_telling_figures_of_postgres_and_the_page_all() -> None:
    told = Figure("idle: CPU of relay, worker and app", [1.0, 3.0], "% of a core", "<=", 1.5)
    other = Figure("idle: Valkey commands", [5.0], "/s")
    ledger = Table("Roles", ["role", "CPU"], [["relay", 0.25], ["none", None]])
    found = document(
        Outcome("idle", "postgres", "", [told, other], notes=["left out: x"], tables=[ledger]),
        Outcome("idle", "sqlite", "", [told]),
        failed={"burden on postgres": "TimeoutError: "},
    )
    assert "| idle: CPU of relay, worker and app | postgres | 2 % of a core | 1 to 3 | <= 1.5 | **missed** |" in short(
        found
    )
    assert "commands" not in short(found)
    assert "sqlite" not in short(found)
    assert "0 of 2 targets are met." in short(found)
    for words in (
        "### Nothing to do",
        "commands | postgres",
        "| relay | 0.25 |",
        "| none |  |",
        "- postgres: left out: x",
        "- burden",
    ):
        assert words in full(found)
    assert table(found).count("\n| idle") == 3


def test_every_scenario_has_a_title_on_the_page() -> None:
    from bench.__main__ import SCENARIOS

    assert set(report.TITLES) == set(SCENARIOS)


def test_the_page_and_the_readme_have_their_markers() -> None:
    for name in (report.PAGE, "README.md"):
        between((report.ROOT / name).read_text("utf-8"), "x")


def test_curves_are_medians_over_the_rounds() -> None:
    rounds = [{"start": spread_ms([1.0] * 9)}, {"start": spread_ms([3.0] * 9)}, {"start": spread_ms([8.0] * 9)}]
    curves = latency_curves(document(Outcome("latency", "postgres", "", [], rounds)))
    assert [{ms for _, ms in points} for points in curves.values()] == [{3.0}]
    assert latency_curves(document(Outcome("latency", "sqlite", "", [], rounds))) == {}


def test_points_and_bars_carry_their_spread() -> None:
    cost = [{str(d): {"hot_us": us, "hot_cpu_us": 1, "relay_us": 2} for d in (1_000, 0)} for us in (4, 9, 5)]
    points = backlog_points(document(Outcome("depths", "postgres", "", [], cost)))
    assert points["claim + complete, wall"] == [(0, 5, 4, 9), (1_000, 5, 4, 9)]
    drains = [{US: {"drain": {"rate": r}}, "Celery": {"drain": {"rate": 10 * r}}} for r in (1, 2, 3)]
    ledger = Table("", ["", "durability"], [[US, "PostgreSQL 18"], ["Celery", "Valkey"]])
    found = document(Outcome("peers", "postgres", "", [], drains, tables=[ledger]))
    assert peer_bars(found) == [("Celery", 20, 10, 30, False), (US, 2, 1, 3, True)]
    assert (backlog_points(document()), peer_bars(document())) == ({}, [])
