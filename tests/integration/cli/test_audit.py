"""`holdfast audit` on ledgers that somebody tampered with, in every direction: it exits 1 and names what it found."""

# ruff: noqa: E501 - a forgery a line: the table is read across
from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Said
from tests.integration.cli.ledgers import ID as MADE
from tests.integration.cli.ledgers import fill, tamper
from tests.integration.ledger.jobs import NOW_US, job

Run = Callable[..., Said]
ID = {**MADE, "gone": "job_gone"}
SET = "UPDATE job SET {} WHERE id = '{}'"
END = f"finished_at = {NOW_US + 50}"
UNEND = "finished_at = NULL"
OWN = f"incarnation = 'inc_1', deadline = {NOW_US * 2}, claimed_at = {NOW_US}, fence = fence + 1"


def forged(kind: str, changes: str) -> str:
    return SET.format(changes, "{" + kind + "}")


def attempt(kind: str, outcome: str, fence: int) -> str:
    return f"INSERT INTO job_attempt (job_id, fence, finished_at, outcome) VALUES ('{{{kind}}}', {fence}, {NOW_US}, '{outcome}')"


# What was done → the checks that must name the job. The careful forger knows the columns that a state goes with.
FORGERIES: dict[str, tuple[list[str], str, set[str]]] = {
    "ready to completed": ([forged("ready", "state = 'completed'")], "ready", {"terminal_without_end", "completed_without_result"}),
    "ready to completed, carefully": ([forged("ready", f"state = 'completed', {END}, fence = 1")], "ready", {"completed_without_result"}),
    "ready to running": ([forged("ready", "state = 'running'")], "ready", {"running_without_owner"}),
    "ready to running, without a deadline": (
        [forged("ready", f"state = 'running', incarnation = 'inc_1', claimed_at = {NOW_US}, fence = 1")],
        "ready", {"running_without_owner"},
    ),
    "ready to dispatched": ([forged("ready", "state = 'dispatched'")], "ready", {"dispatched_without_time"}),
    "ready to dead": ([forged("ready", "state = 'dead'")], "ready", {"terminal_without_end", "dead_without_reason", "dead_without_attempt"}),
    "ready to dead, with an end": ([forged("ready", f"state = 'dead', {END}")], "ready", {"dead_without_reason", "dead_without_attempt"}),
    "ready to cancelled": ([forged("ready", f"state = 'cancelled', {END}")], "ready", {"cancelled_without_reason"}),
    "ready with an owner": ([forged("ready", "incarnation = 'inc_1'")], "ready", {"owner_without_running"}),
    "dispatched to completed": ([forged("dispatched", f"state = 'completed', {END}")], "dispatched", {"completed_without_result"}),
    "running to ready": ([forged("running", "state = 'ready'")], "running", {"owner_without_running"}),
    "running to completed": (
        [forged("running", f"state = 'completed', {END}, incarnation = NULL, deadline = NULL")],
        "running", {"completed_without_result"},
    ),
    "running without incarnation": ([forged("running", "incarnation = NULL")], "running", {"running_without_owner"}),
    "running without deadline": ([forged("running", "deadline = NULL")], "running", {"running_without_owner"}),
    "completed to ready": ([forged("completed", "state = 'ready'")], "completed", {"end_without_terminal", "result_without_completed"}),
    "completed to ready, carefully": (
        [forged("completed", f"state = 'ready', {UNEND}, attempt = 0")], "completed", {"result_without_completed"},
    ),
    "completed to dispatched": (
        [forged("completed", f"state = 'dispatched', {UNEND}, dispatched_at = {NOW_US}")],
        "completed", {"result_without_completed"},
    ),
    "completed to running": ([forged("completed", f"state = 'running', {UNEND}, {OWN}")], "completed", {"result_without_completed"}),
    "completed to dead": (
        [forged("completed", "state = 'dead', error_type = 'Boom'")], "completed", {"result_without_completed"},
    ),
    "completed to cancelled": (
        [forged("completed", "state = 'cancelled', error_type = 'Cancelled'")], "completed", {"result_without_completed"},
    ),
    "completed, its end taken": ([forged("completed", UNEND)], "completed", {"terminal_without_end"}),
    "completed, its attempt deleted": (
        ["DELETE FROM job_attempt WHERE job_id = '{completed}'"], "completed", {"completed_without_result"},
    ),
    "completed, its attempt made a failure": (
        ["UPDATE job_attempt SET outcome = 'failed' WHERE job_id = '{completed}'"], "completed", {"completed_without_result"},
    ),
    "completed under an older fence": (
        [forged("failed_then_completed", "fence = 1")],
        "failed_then_completed", {"attempt_beyond_fence", "completed_without_result"},
    ),
    "completed under a newer fence": ([forged("completed", "fence = 7")], "completed", {"completed_without_result"}),
    "a result twice": (
        ["UPDATE job_attempt SET outcome = 'completed' WHERE job_id = '{failed_then_completed}' AND fence = 1"],
        "failed_then_completed", {"result_twice"},
    ),
    "a result twice, appended": ([attempt("completed", "completed", 2)], "completed", {"result_twice", "attempt_beyond_fence"}),
    "a result for a job that waits": ([attempt("ready", "completed", 1)], "ready", {"result_without_completed", "attempt_beyond_fence"}),
    "dead to ready": ([forged("dead", "state = 'ready'")], "dead", {"end_without_terminal"}),
    "dead to running": ([forged("dead", f"state = 'running', {OWN}")], "dead", {"end_without_terminal"}),
    "dead to completed": ([forged("dead", "state = 'completed', error_type = NULL")], "dead", {"completed_without_result"}),
    "dead to cancelled": ([forged("dead", "state = 'cancelled'")], "dead", {"cancelled_without_reason"}),
    "dead, its reason taken": ([forged("dead", "error_type = NULL")], "dead", {"dead_without_reason"}),
    "output of a job that is not there": (["INSERT INTO job_output VALUES ('job_gone', 1, 1, 0, 'x')"], "gone", {"output_without_job"}),
    "output of an attempt that never was": (
        ["INSERT INTO job_output VALUES ('{completed}', 9, 1, 0, 'x')"], "completed", {"output_beyond_fence"},
    ),
    "output beyond what was counted": (
        ["INSERT INTO job_output VALUES ('{running}', 1, 3, 11, 'x')"], "running", {"output_not_as_counted"},
    ),
    "output, its last chunk deleted": (
        ["DELETE FROM job_output WHERE job_id = '{running}' AND number = 2"], "running", {"output_not_as_counted"},
    ),
    "output, its first chunk deleted": (
        ["DELETE FROM job_output WHERE job_id = '{running}' AND number = 1"],
        "running", {"output_not_as_counted", "output_with_a_gap"},
    ),
    "output, its text shortened": (
        ["UPDATE job_output SET text = 'x' WHERE job_id = '{running}' AND number = 1"], "running", {"output_with_a_gap"},
    ),
    "output, uncounted": ([forged("running", "output_chunks = 0")], "running", {"output_not_as_counted"}),
    "progress of a job that never ran": (
        [forged("ready", f"progress = 0.5, progress_at = {NOW_US}")], "ready", {"progress_that_nobody_reported"},
    ),
    "progress beyond all of it": ([forged("running", "progress = 1.5")], "running", {"progress_that_nobody_reported"}),
    "progress, its time taken": ([forged("running", "progress_at = NULL")], "running", {"progress_that_nobody_reported"}),
    "a tick of no schedule": (
        [f"INSERT INTO cron_tick (schedule_id, tick_at) VALUES ('job_gone', {NOW_US})"], "gone", {"tick_without_schedule"},
    ),
    "one job of two ticks": (
        [f"INSERT INTO cron_tick (schedule_id, tick_at, job_id) VALUES ('daily', {NOW_US + n}, '{{completed}}')" for n in (1, 2)],
        "completed", {"job_of_two_ticks"},
    ),
    "cancelled to ready": ([forged("cancelled", "state = 'ready'")], "cancelled", {"end_without_terminal"}),
    "cancelled to completed": ([forged("cancelled", "state = 'completed'")], "cancelled", {"completed_without_result"}),
}  # fmt: skip

# What keeps the marks of its new state, and is still not the truth.
CAREFUL: dict[str, tuple[list[str], str]] = {
    "running for an incarnation that there never was": ([forged("running", "incarnation = 'inc_nobody'")], "running"),
    "ready to dead, carefully: no attempt died": ([forged("ready", f"state = 'dead', {END}, error_type = 'Boom'")], "ready"),
    "dead to ready, carefully: no attempt is left": ([forged("dead", f"state = 'ready', {UNEND}, attempt = 3")], "dead"),
}  # fmt: skip


def test_an_untouched_ledger_holds(ledger_url: str, holdfast: Run) -> None:
    said = holdfast("audit", "--json")
    assert said.code == 0, said.out
    states = {"completed": 2, "dead": 1, "cancelled": 3, "ready": 3, "running": 1, "dispatched": 1}
    report = {"ok": True, "accepted": 12, "rows": 11, "purged": 1, "lost": 0, "jobs": states, "broken": {}}
    assert said.json == report
    plain = holdfast("audit")
    assert plain.code == 0
    assert plain.out.strip() == "the ledger holds: accepted 12 = rows 11 + purged 1"


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_job_is_named(ledger_url: str, holdfast: Run, forgery: str) -> None:
    statements, kind, checks = FORGERIES[forgery]
    asyncio.run(tamper(ledger_url, *statements))
    said = holdfast("audit", "--json")
    assert said.code == 1
    assert said.json["ok"] is False
    assert said.json["broken"] == {check: [ID[kind]] for check in checks}
    assert said.json["lost"] == 0


@pytest.mark.parametrize("forgery", CAREFUL)
def test_a_carefully_forged_job_is_named(ledger_url: str, holdfast: Run, forgery: str) -> None:
    statements, kind = CAREFUL[forgery]
    asyncio.run(tamper(ledger_url, *statements))
    said = holdfast("audit", "--json")
    assert said.code == 1
    assert [ID[kind]] in said.json["broken"].values()


@pytest.mark.parametrize("kind", ["completed", "dead", "ready", "running"])
def test_a_deleted_row_is_missed(ledger_url: str, holdfast: Run, kind: str) -> None:
    asyncio.run(tamper(ledger_url, "DELETE FROM job WHERE id = '{" + kind + "}'"))
    said = holdfast("audit", "--json")
    assert said.code == 1
    assert (said.json["accepted"], said.json["rows"], said.json["purged"], said.json["lost"]) == (12, 10, 1, 1)
    assert "does NOT hold: accepted 12 = rows 10 + purged 1, lost 1" in holdfast("audit").out
    ran = kind in ("completed", "dead")  # of the others nothing is left: then the purged job's attempts are the newest
    broken = said.json["broken"]
    (named,) = broken.pop("attempt_without_job")
    assert named in ({ID[kind], ID["purged"]} if ran else {ID["purged"]})  # they ended in the same instant here
    assert broken == ({"output_without_job": [ID["running"]]} if kind == "running" else {})


def test_what_was_deleted_before_it_ran_is_named_by_what_led_to_it(ledger_url: str, holdfast: Run) -> None:
    forged = (
        f"INSERT INTO cron_tick (schedule_id, tick_at, job_id) VALUES ('daily', {NOW_US}, '{{ready}}')",
        f"INSERT INTO job_action (id, tenant, caller, action, job_id, target, outcome, at) VALUES ('act_1', 't1', 'k', 'change', '{{ready}}', '', '', {NOW_US})",
    )
    asyncio.run(tamper(ledger_url, *forged))
    assert holdfast("audit").code == 0
    asyncio.run(tamper(ledger_url, "DELETE FROM job WHERE id = '{ready}'"))
    broken = holdfast("audit", "--json").json["broken"]
    assert (broken["cron_tick_without_job"], broken["job_action_without_job"]) == ([ID["ready"]], [ID["ready"]])


def test_a_row_that_nobody_accepted_is_noticed(ledger_url: str, holdfast: Run) -> None:
    columns = (
        "queue, task, args, tenant, priority, run_at, state, fence, attempt, max_attempts, crashes, releases, timeout_s"
    )
    copy = f"INSERT INTO job (id, {columns}, created_at) SELECT '{job(99).id}', {columns}, created_at FROM job"
    asyncio.run(tamper(ledger_url, copy + " WHERE id = '{ready}'"))
    said = holdfast("audit", "--json")
    assert (said.code, said.json["lost"], said.json["rows"]) == (1, -1, 12)


@pytest.mark.parametrize(
    ("statement", "lost"),
    [
        ("UPDATE job_tally SET purged = 0 WHERE id = 'tly_purged'", 1),
        ("UPDATE job_tally SET purged = 5 WHERE id = 'tly_purged'", -4),
        ("INSERT INTO job_tally (id, accepted, purged) VALUES ('tly_x', 3, 0)", 3),
    ],
)
def test_a_changed_tally_is_noticed(ledger_url: str, holdfast: Run, statement: str, lost: int) -> None:
    asyncio.run(tamper(ledger_url, statement))
    said = holdfast("audit", "--json")
    assert (said.code, said.json["lost"]) == (1, lost)


def test_several_forgeries_are_all_named(ledger_url: str, holdfast: Run) -> None:
    asyncio.run(tamper(ledger_url, *FORGERIES["ready to dead, with an end"][0], *FORGERIES["completed to dead"][0]))
    broken = holdfast("audit", "--json").json["broken"]
    assert broken == {
        "dead_without_reason": [ID["ready"]],
        "dead_without_attempt": [ID["ready"]],
        "result_without_completed": [ID["completed"]],
    }
    words = holdfast("audit").out
    assert f"dead_without_reason: {ID['ready']}" in words
    assert f"result_without_completed: {ID['completed']}" in words


@pytest.fixture
def sqlite_ledger(sqlite_url: str, ledger_file: Path, holdfast: Run, monkeypatch) -> Iterator[sqlite3.Connection]:
    """A ledger with a job of each kind, open; the commands of `holdfast` look at it."""
    with sqlite3.connect(ledger_file) as template, sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as file:
        template.backup(file)
    template.close()
    asyncio.run(fill(sqlite_url))
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", sqlite_url)
    yield file
    file.close()


def test_a_state_that_there_is_not(sqlite_ledger: sqlite3.Connection, holdfast: Run) -> None:
    """The table refuses it; whoever turns that off is found all the same."""
    sqlite_ledger.execute("PRAGMA ignore_check_constraints = ON")
    sqlite_ledger.execute("UPDATE job SET state = 'asleep' WHERE id = ?", [ID["ready"]])
    sqlite_ledger.commit()
    said = holdfast("audit", "--json")
    assert said.code == 1
    assert said.json["broken"] == {"unknown_state": [ID["ready"]]}


def test_no_ledger_is_one_sentence_and_exit_2(holdfast: Run, monkeypatch, tmp_path: Path) -> None:
    assert "there is no ledger in" in holdfast("audit", "--json").sentence
    missing = tmp_path / "missing.db"
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", f"sqlite:///{missing}")
    said = holdfast("audit", "--json")
    assert (said.code, said.sentence) == (2, f"holdfast: there is no database {missing}")
    assert not missing.exists(), "looking made a database"


def test_a_database_without_a_ledger_is_one_sentence_and_exit_2(holdfast: Run, monkeypatch, tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "empty.db").close()
    (tmp_path / "empty.db").touch()
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", f"sqlite:///{tmp_path / 'empty.db'}")
    said = holdfast("audit", "--json")
    assert said.code == 2
    assert "run the migrations" in said.sentence


def test_what_is_no_database_is_one_sentence_and_exit_2(holdfast: Run, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "photo.db").write_bytes(b"\xff\xd8\xff" * 2_000)
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", f"sqlite:///{tmp_path / 'photo.db'}")
    said = holdfast("audit", "--json")
    assert said.code == 2
    assert "not a database" in said.sentence


@pytest.mark.parametrize(
    "url", ["postgresql://nobody@127.0.0.1:1/nothing", "mysql://x", "postgresql://", "sqlite:///", "nonsense"]
)
def test_an_address_that_leads_nowhere_is_one_sentence_and_exit_2(holdfast: Run, monkeypatch, url: str) -> None:
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", url)
    said = holdfast("audit", "--json")
    assert said.code == 2
    assert said.sentence


def test_the_installed_command_says_so_too(tmp_path: Path) -> None:
    """The exit code and the one sentence, as a shell sees them."""
    env = {**os.environ, "HOLDFAST_DATABASE_URL": f"sqlite:///{tmp_path}/no.db", "HOLDFAST_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "holdfast.cli", "audit", "--json"], env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"holdfast: there is no database {tmp_path}/no.db\n"


def test_an_image_says_the_same(sqlite_ledger: sqlite3.Connection, sqlite_url: str, holdfast: Run) -> None:
    """In a cluster there is no command line beside the database, but any pod of ours."""
    command = [sys.executable, "-m", "shared.runtime.audit"]
    for code in (0, 1):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert json.loads(done.stdout) == holdfast("audit", "--json").json
        sqlite_ledger.execute("DELETE FROM job WHERE id = ?", [ID["completed"]])
        sqlite_ledger.commit()
    path = sqlite_url.removeprefix("sqlite:///")
    sqlite_ledger.close()
    Path(path).unlink()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"there is no database {path}\n")
