"""What is written from results: blocks between markers, tables, the points of the plots."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import report
from bench.curves import backlog_points, latency_curves, peer_bars, rotation_points
from bench.figures import Figure, Outcome, Table
from bench.pace import spread_ms
from bench.report import BEGIN, END, between, full, merged, short, table
from bench.scenarios.peers import US

MACHINE = {"cores": 2, "cpu": "A | B", "kernel": "6", "python": "3.11", "fdatasync_ms_p50": 0.1, "revision": "abc"}


def document(*outcomes: Outcome, **more: Any) -> dict[str, Any]:
    return {
        "at": "2026-01-01T00:00:00Z", "machine": MACHINE, "options": {"rounds": 2, "quick": False},
        "outcomes": [outcome.document() for outcome in outcomes], "run": "2026-01-01", **more,
    }  # fmt: skip


def idle(*values: float, database: str = "postgres") -> Outcome:
    return Outcome("idle", database, "", [Figure("idle: CPU of relay", list(values), "%", "<=", 1.5)])


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
    found = merged([
        document(
            Outcome("idle", "postgres", "", [told, other], notes=["left out: x"], tables=[ledger]),
            Outcome("idle", "sqlite", "", [told]),
            failed={"burden on postgres": "TimeoutError: "},
        )
    ])  # fmt: skip
    line = (
        "| idle: CPU of relay, worker and app | postgres | 2 % of a core | 1 to 3 | <= 1.5 | **missed** | 2026-01-01 |"
    )
    assert line in short(found)
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


def test_what_was_measured_in_several_runs_stands_side_by_side_and_names_its_run() -> None:
    drain = Outcome("drain", "postgres", "", [Figure("durable no-op drain ÷ stock taskiq-redis", [3.0], bound=2)])
    older = document(idle(1.0), idle(7.0, database="sqlite"), run="2026-01-01")
    newer = document(drain, idle(1.25), run="2026-01-02T1015", options={"rounds": 1, "quick": False})
    shown = merged([newer, older])
    assert "1.25 % | 1.25 to 1.25 | <= 1.5 | met | 2026-01-02T1015 |" in short(shown)
    assert "| sqlite | 7 % | 7 to 7 | <= 1.5 | **missed** | 2026-01-01 |" in full(shown)
    assert "2 of 3 targets are met." in full(shown)
    assert full(shown).count("| idle: CPU of relay | postgres |") == 1
    assert "- run 2026-01-02T1015: one round only, ended 2026-01-01T00:00:00Z at revision abc" in full(shown)
    assert "- run 2026-01-01: medians of 2" in full(shown)
    assert "- run 2026-01-01:" not in short(shown)  # none of its figures is there
    assert [one["scenario"] for one in shown["outcomes"]] == ["drain", "idle", "idle"]  # the page's order


def test_a_failure_is_shown_until_the_scenario_has_an_outcome_again() -> None:
    failing = document(run="2026-01-02", failed={"idle on postgres": "TimeoutError"})
    assert "- idle on postgres failed: TimeoutError (run 2026-01-02)" in full(merged([document(idle(1.0)), failing]))
    assert "failed" not in full(merged([failing, document(idle(1.0), run="2026-01-03")]))


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
    assert (backlog_points(document()), rotation_points(document()), peer_bars(document())) == ({}, {}, [])


def test_what_a_turn_costs_is_drawn_in_the_order_of_how_many_take_turns() -> None:
    phases = {"new": {"cpu_us": 7}, "met": {"cpu_us": 4}}
    told = [{"tenants": {"1000": phases, "1": phases}, "lanes": {"1": phases}}]
    points = rotation_points(document(Outcome("rotation", "postgres", "", [], told)))
    assert points["tenants, not met before"] == [(1, 7, 7, 7), (1_000, 7, 7, 7)]
    assert points["lanes, met before"] == [(1, 4, 4, 4)]


@pytest.mark.parametrize(("stolen", "shown"), [(0.02, "2 %"), (None, "2 %"), (0.3, "1 %")])
def test_a_time_in_which_others_had_the_machine_takes_no_quieter_ones_place(stolen: float | None, shown: str) -> None:
    loud = idle(2.0)
    loud.stolen = stolen
    found = merged([document(idle(1.0)), document(loud, run="2026-01-02")])
    assert f"| idle: CPU of relay | postgres | {shown}" in full(found)
    assert "| idle: CPU of relay | postgres | 2 %" in full(merged([document(loud)])), "better than none"
    assert ("meanwhile the host gave 2% of" in full(found)) is (stolen == 0.02)
