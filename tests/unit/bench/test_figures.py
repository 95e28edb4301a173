"""What is computed from rounds: medians, verdicts, percentiles, the order of turns, ratios to peers."""

import statistics
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bench import field
from bench.figures import Figure, column, median_of
from bench.order import turns
from bench.pace import CURVE, pace, percentile, spread_ms
from bench.scenarios.peers import US, ratios

NUMBERS = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=200)


@given(NUMBERS)
def test_a_figure_is_judged_by_its_median(values: list[float]) -> None:
    at = statistics.median(values)
    assert Figure("rate", values, bound=at).met is True
    assert Figure("rate", values, bound=at * 1.01).met is False
    assert Figure("cost", values, sense="<=", bound=at).met is True
    assert Figure("cost", values, sense="<=", bound=at / 1.01).met is False
    assert Figure("shown", values).met is None


@given(NUMBERS)
def test_percentiles_are_values_that_were_measured_and_rise(values: list[float]) -> None:
    found = [percentile(values, share) for share in (0.0, 0.5, 0.9, 0.99, 1.0)]
    assert set(found) <= set(values)
    assert found == sorted(found)
    assert found[-1] == max(values)


def test_percentiles_are_nearest_rank() -> None:
    hundred = [float(n) for n in range(1, 101)]
    told = spread_ms(hundred)
    assert (told["p50"], told["p90"], told["p99"], told["max"], told["count"]) == (51, 91, 100, 100, 100)
    assert dict(zip(CURVE, told["curve"], strict=True))[0.25] == 26


@given(st.lists(st.integers(), unique=True, min_size=1, max_size=12), st.integers(0, 50))
def test_every_round_has_each_side_once(sides: list[int], number: int) -> None:
    assert sorted(turns(sides, number)) == sorted(sides)


def test_no_side_always_begins_or_follows_the_same() -> None:
    orders = [turns("abcde", number) for number in range(5)]
    assert len({order[0] for order in orders}) >= 3
    assert len({order[order.index("c") - 1] for order in orders}) >= 2


def test_a_median_is_of_the_rounds_that_have_it() -> None:
    rounds: list[dict[str, Any]] = [{"a": {"rate": 3}}, {}, {"a": {"rate": None}}, {"a": {"rate": 1}}]
    assert median_of(rounds, "a", "rate") == 2
    assert median_of(rounds, "b", "rate") is None
    assert column([{"a": {"rate": 3}}], "a", "rate") == [3.0]


def told(rate: float, cpu_us: float) -> dict[str, Any]:
    return {"drain": {"rate": rate, "cpu_total_us": cpu_us}}


def test_a_peer_counts_with_its_faster_setting() -> None:
    slow, fast = (spec.name for spec in field.CELERY)
    row = {US: told(4_000, 200), slow: told(500, 1_500), fast: told(1_000, 800)}
    figures = {figure.name: figure for figure in ratios([row, row], set(row))}
    assert figures["no-op drain ÷ Celery"].values == [4.0, 4.0]
    assert figures["no-op drain ÷ Celery"].met is False
    assert figures["CPU of a no-op, servers included ÷ Celery"].median == 0.25
    assert "no-op drain ÷ dramatiq" not in figures  # it took no part


def test_what_goes_through_is_the_lower_of_sent_and_done() -> None:
    second = 1_000_000_000
    sent = [second * n // 100 for n in range(101)]
    assert pace(sent, [at + second for at in sent]) == {"sent": 101.0, "done": 1.0}
    assert pace(sent, sent) == {"sent": 101.0, "done": 101.0}
