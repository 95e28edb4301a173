"""What is written comes out in order, once, in bounded pieces, whatever fails on the way."""

from hypothesis import given
from hypothesis import strategies as st

from shared.ledger.output import CHUNK_LIMIT_CHARS, PACE_S, Chunk, Outflow
from shared.ledger.progress import storable

ONE, TWO = ("job_1", 1, "inc_a"), ("job_2", 1, "inc_a")


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.text(max_size=30)),
            st.tuples(st.sampled_from(["arrives", "lost", "refused answer"]), st.just("")),
        ),
        max_size=40,
    )
)
def test_the_ledger_holds_the_text_once_and_in_order(steps: list[tuple[str, str]]) -> None:
    flow, stored, given_text, now_s = Outflow(), {}, "", 0.0
    for step, text in steps:
        now_s += PACE_S
        if step == "put":
            flow.put(ONE, text)
            given_text += text
            continue
        for key, chunks in flow.due(now_s):
            if step != "lost":
                stored |= {chunk.number: stored.get(chunk.number, chunk) for chunk in chunks}
            if step == "arrives":
                flow.written(key, chunks)
    stored |= {chunk.number: stored.get(chunk.number, chunk) for chunk in flow.forget(ONE)}
    assert sorted(stored) == list(range(1, len(stored) + 1))
    whole = ""
    for _, chunk in sorted(stored.items()):
        assert chunk.offset == len(whole)
        assert 0 < len(chunk.text) <= CHUNK_LIMIT_CHARS
        whole += chunk.text
    assert whole == given_text
    assert (len(flow), flow.next_s()) == (0, None)


def test_a_large_text_becomes_several_chunks() -> None:
    flow = Outflow()
    flow.put(ONE, "x" * (CHUNK_LIMIT_CHARS + 5))
    ((_, chunks),) = flow.due(0.0)
    assert [(chunk.number, chunk.offset, len(chunk.text)) for chunk in chunks] == [
        (1, 0, CHUNK_LIMIT_CHARS), (2, CHUNK_LIMIT_CHARS, 5),
    ]  # fmt: skip


def test_each_attempt_has_its_own_pace_and_the_order_is_that_of_the_ids() -> None:
    flow = Outflow(1.0)
    flow.put(TWO, "b")
    flow.put(ONE, "a")
    group = flow.due(10.0)
    assert group == [(ONE, (Chunk(1, 0, "a"),)), (TWO, (Chunk(1, 0, "b"),))]
    for key, chunks in group:
        flow.written(key, chunks)
    flow.put(ONE, "a")
    assert (flow.due(10.9), flow.next_s()) == ([], 11.0)
    assert flow.due(11.0) == [(ONE, (Chunk(2, 1, "a"),))]
    assert flow.rest(ONE) == (Chunk(2, 1, "a"),), "until it is known to have arrived"
    assert flow.rest(TWO) == ()


@given(st.text(st.characters(), max_size=50))
def test_what_is_stored_is_what_databases_take(text: str) -> None:
    kept = storable(text)
    assert "\x00" not in kept
    kept.encode()
