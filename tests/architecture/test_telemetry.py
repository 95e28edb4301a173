"""docs/telemetry.md is the catalogue: what stands there is in the code, and what the code counts stands there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from services.media import waiting
from shared.runtime import metrics
from tests.architecture.tree import ROOT, parsed, product_files

PAGE = (ROOT / "docs" / "telemetry.md").read_text("utf-8")
CODE = "\n".join(path.read_text("utf-8") for path in product_files())


def table(first: str) -> list[list[str]]:
    """Rows of the table whose header begins with `first`."""
    after = PAGE.split(f"| {first} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in after.splitlines()[2:]]


def ticked(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def counted() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name as scraped → (type, labels), of everything that is ours in the registry."""
    found = {}
    for collector in set(REGISTRY._names_to_collectors.values()):
        for kind in (Counter, Gauge, Histogram):
            if isinstance(collector, kind) and collector._name.startswith("holdfast"):
                suffix = "_total" if kind is Counter else ""
                found[collector._name + suffix] = (kind.__name__.lower(), tuple(collector._labelnames))
    return found


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    assert metrics.ENGINE, "the engine's metrics are registered by importing this"
    assert waiting.WAITING, "and media's own by importing that"
    documented = {ticked(name)[0]: (kind, tuple(ticked(labels))) for name, kind, labels, *_ in table("metric")}
    assert documented == counted()


def test_documented_outcomes_are_those_of_the_state_machine() -> None:
    from typing import get_args

    from shared.ledger.states import Outcome

    values = {ticked(name)[0]: ticked(values.split("([")[0]) for name, values in table("label")}
    assert sorted(values["outcome"]) == sorted(get_args(Outcome))


# What ends a command, or a job and stands in its dead letter, and is no answer to a request.
NO_PROBLEMS = {
    "misconfigured", "job_failed", "egress_refused", "bad_secret", "bad_signature", "bad_message_id", "media_refused",
    "task_failed", "slot_died", "deadline_exceeded", "media_pool_full", "media_pool_closed", "media_slots_unavailable",
    "out_of_memory", "output_too_large", "content_quarantined", "no_such_file", "truncated", "corrupt", "fetch_refused",
    "fetch_broken",
    "unsupported_codec", "no_streams", "reaches_out",
}  # fmt: skip


def codes_in(tree: ast.Module) -> Iterator[str]:
    """`code = "…"` of a class, `code="…"` of a call, the second argument of `problem(…)`, the values of `_CODES`."""
    for node in ast.walk(tree):
        found: list[ast.expr] = []
        if isinstance(node, ast.ClassDef):
            found = [part.value for part in node.body if isinstance(part, ast.Assign) and names(part) == ["code"]]
        elif isinstance(node, ast.Assign) and names(node) == ["_CODES"] and isinstance(node.value, ast.Dict):
            found = node.value.values
        elif isinstance(node, ast.Call):
            found = [word.value for word in node.keywords if word.arg == "code"]
            if isinstance(node.func, ast.Name) and node.func.id == "problem":
                found += node.args[1:2]
        for one in found:
            choices = one.args if isinstance(one, ast.Call) else [one]  # `_CODES.get(status, "refused")`
            values = [choice.value for choice in choices if isinstance(choice, ast.Constant)]
            yield from (value for value in values if isinstance(value, str))


def names(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def test_every_problem_is_documented_and_every_documented_one_is_raised() -> None:
    codes = [code for cell, *_ in table("code") for code in ticked(cell)]
    assert len(codes) == len(set(codes))
    raised = {code for path in product_files() for code in codes_in(parsed(path))}
    assert raised >= NO_PROBLEMS
    assert set(codes) == raised - NO_PROBLEMS


def test_documented_log_events_are_logged_somewhere() -> None:
    events = [event for cell, *_ in table("event") for event in ticked(cell)]
    assert len(events) > 4
    assert [event for event in events if f'"{event}"' not in CODE] == []
