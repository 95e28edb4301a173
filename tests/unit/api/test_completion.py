"""What a model's server streams, put together: in any pieces the same text, bounded, and nothing believed."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.api.completion import CUT, Completion, Interrupted, Malformed, request_key, request_of, words_of
from shared.contracts.commands.api import CompletePrompt
from shared.ledger.progress import storable
from shared.transport.attempt import RESULT_LIMIT_BYTES

LIMIT = 100_000


def delta(content: Any, **more: Any) -> str:
    return json.dumps({"choices": [{"delta": {"content": content}, **more}]})


def test_text_model_usage_and_reason_are_put_together() -> None:
    found = Completion(LIMIT)
    said = [
        found.take(json.dumps({"model": "m-1", "choices": [{"delta": {"role": "assistant"}}]})),
        found.take(delta("Hello ")),
        found.take(delta("world", finish_reason="stop")),
        found.take(json.dumps({"choices": [], "usage": {"prompt_tokens": 3, "total_tokens": True, "cost": 1.5}})),
        found.take("[DONE]"),
    ]
    assert (said, found.done, found.cut) == (["", "Hello ", "world", "", ""], True, False)
    assert found.result() == {
        "text": "Hello world", "text_bytes": 11, "truncated": False, "model": "m-1", "finish_reason": "stop",
        "usage": {"prompt_tokens": 3},
    }  # fmt: skip


@given(st.lists(st.text(st.characters(), max_size=10), max_size=20), st.integers(1, 60))
@example(["😀"], 100)
def test_what_is_said_is_the_text_and_within_the_limit(words: list[str], limit: int) -> None:
    found = Completion(limit)
    said = [found.take(delta(word)) for word in words if not found.cut]
    if not found.cut:
        said.append(found.take("[DONE]"))
    assert "".join(said) == found.text
    assert storable(found.text) == found.text
    assert len(found.text.encode()) <= limit
    if found.cut:
        assert found.finish_reason == CUT


def test_halves_of_a_character_that_came_apart_are_joined() -> None:
    found = Completion(LIMIT)
    assert [found.take(delta(half)) for half in ("a\ud83d", "\ude00b")] == ["a", "😀b"]
    assert found.take(delta("x\ud83d")) == "x"
    assert found.take("[DONE]") == "\ufffd", "one that stayed alone is not hidden"


BROKEN = (
    "{", "[1]", "null", "7", '"text"', '{"choices": {"a": 1}}', '{"choices": [7]}', '{"choices": [{"delta": [1]}]}',
    '{"choices": [{"delta": {"content": 7}}]}', "[" * 100_000, '{"a": ' * 50_000,
)  # fmt: skip
NAMES = ("choices", "delta", "content", "model", "usage", "index", "error", "message", "finish_reason")
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("data", BROKEN, ids=range(len(BROKEN)))
def test_another_shape_is_malformed(data: str) -> None:
    with pytest.raises(Malformed):
        Completion(LIMIT).take(data)


@given(DOCUMENTS)
def test_nothing_that_is_json_breaks_the_reader(document: Any) -> None:
    found = Completion(LIMIT)
    try:
        found.take(json.dumps(document))
    except (Malformed, Interrupted):
        return
    orjson.dumps(found.result())


def test_an_error_in_the_stream_is_told_in_its_words() -> None:
    with pytest.raises(Interrupted, match="overloaded, come back"):
        Completion(LIMIT).take(json.dumps({"error": {"message": "overloaded,\n come back", "code": 1}}))
    assert words_of({"message": "x" * 1_000}) == "x" * 300
    assert (words_of(None), words_of({"message": 5}), words_of("plain")) == ("", "", "plain")


@given(st.text(st.sampled_from('a"\x01\n½😀'), min_size=40, max_size=60).map(lambda text: text * 1_000))
def test_a_result_fits_whatever_is_in_it(text: str) -> None:
    found = Completion(len(text.encode()))
    found.take(delta(text))
    result = found.result()
    assert len(orjson.dumps(result)) <= RESULT_LIMIT_BYTES
    assert text.startswith(result["text"])
    assert result["text_bytes"] == len(text.encode())
    assert result["truncated"] == (result["text"] != text)


def test_the_same_prompt_is_the_same_request_under_the_same_key() -> None:
    command = CompletePrompt(prompt="Why?", system="Be brief.", max_tokens=5)
    body = request_of(command, "m")
    assert orjson.loads(body) == {
        "model": "m", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 5,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
    }  # fmt: skip
    again = request_of(CompletePrompt.model_validate_json(command.model_dump_json()), "m")
    assert request_key("job_1", body) == request_key("job_1", again)
    edited = request_of(command.model_copy(update={"prompt": "Why not?"}), "m")
    assert len({request_key("job_1", body), request_key("job_2", body), request_key("job_1", edited)}) == 3
    assert "model" not in orjson.loads(request_of(command, ""))
