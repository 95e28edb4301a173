import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.errors import BadInput, NotFound, Overloaded
from shared.runtime.problems import FOUND_LIMIT_CHARS, MEDIA_TYPE, from_error, pointer, shown

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(JSON, st.text(min_size=1))
def test_whatever_was_found_can_be_shown(value: Any, name: str) -> None:
    assert len(orjson.dumps(shown(value, name))) <= 12 * FOUND_LIMIT_CHARS


@pytest.mark.parametrize("name", ["secret", "api_key", "password", "Authorization", "signing_secret"])
def test_what_is_called_a_secret_is_not_shown(name: str) -> None:
    assert shown("hunter2", name) == "***"


@pytest.mark.parametrize("text", ["whsec_" + "A" * 32, "hf_" + "b" * 43, "postgresql://me:hunter2@host/db"])
def test_what_looks_like_a_secret_is_not_shown(text: str) -> None:
    assert text not in shown(text, "name")
    assert "***" in shown(text, "name")


def test_pointers_are_those_of_rfc_6901() -> None:
    assert pointer([]) == ""
    assert pointer(["a/b", "m~n", 0]) == "/a~1b/m~0n/0"


def test_errors_of_the_tree_keep_their_status_code_and_details() -> None:
    answer = from_error(Overloaded("full", retry_after_s=3))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    document = orjson.loads(from_error(BadInput("too big", pointer="/size", found=9)).body)
    assert document["errors"] == [{"in": "body", "pointer": "/size", "message": "too big", "found": 9}]
    assert from_error(NotFound("gone")).media_type == MEDIA_TYPE
    assert orjson.loads(from_error(NotFound("gone", code="no_such_thing")).body)["code"] == "no_such_thing"


@pytest.mark.parametrize("error", [RuntimeError("hunter2"), KeyError("hunter2")])
def test_the_unforeseen_shows_nothing(error: Exception) -> None:
    answer = from_error(error)
    assert answer.status_code == 500
    assert b"hunter2" not in answer.body


def test_a_database_that_does_not_answer_is_503() -> None:
    assert from_error(ConnectionRefusedError()).status_code == 503
    assert from_error(TimeoutError()).status_code == 503


def test_what_cannot_be_written_is_told_all_the_same() -> None:
    for found in ("\ud800", 2**70):
        document = json.loads(from_error(BadInput("not taken", pointer="/\ud800", found=found)).body)
        assert document["errors"][0]["pointer"] == "/\ud800"
