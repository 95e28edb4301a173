"""What handlers and tenants wrote is shown as it is: no markup, nothing that a terminal would obey."""

from __future__ import annotations

import pytest

from holdfast import show

WORDS = "[bold]not bold[/] [/] [link=x] \x1b[2J\x07 [red"


def test_a_job_whose_words_look_like_markup_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show.job({
        "id": "job_1", "task": "[/]", "state": "dead", "queue": "api", "lane": "[a]", "args": {"note": WORDS},
        "result": WORDS, "waiting_for": {"kind": "lane", "name": WORDS},
        "attempts": [{"number": 1, "outcome": "failed", "started_at": "now", "error": {"type": "E", "message": WORDS}}],
    })  # fmt: skip
    told = capsys.readouterr().out.replace("\n", " ")
    assert "E: [bold]not bold[/] [/] [link=x] [2J [red" in " ".join(told.split())
    assert "\x1b" not in told
    assert "\x07" not in told


def test_a_table_is_one_line_a_row_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    error = {"type": "E", "message": "one\ntwo\x1b[31m"}
    show.table([{"id": "job_1\x1b", "error": error}], ["id", "error"], empty="")
    assert capsys.readouterr().out.splitlines() == ["ID     ERROR", "job_1  E: one two[31m"]
