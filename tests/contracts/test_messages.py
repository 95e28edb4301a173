"""Published messages: what is in flight during a deploy, and in the ledger for days, must still be understood after it.

A change to a message must be deliberate: it shows here first. See `tests/contracts/golden.py` for how to make one.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from shared.contracts.commands import ALL
from shared.contracts.events import EVENTS
from shared.ledger.store_accept import new_job
from tests.contracts.golden import FOLDER, MESSAGES, golden, published

EVERY = pytest.mark.parametrize("name", MESSAGES)


def test_every_message_has_its_golden_file_and_every_file_its_message() -> None:
    """A file without a message: jobs of that name may still wait in a ledger, and would die as unknown tasks."""
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(MESSAGES)


@EVERY
def test_what_is_published_has_not_changed(name: str) -> None:
    assert published(name) == golden(name)["published"]


@EVERY
def test_the_newest_message_is_written_exactly_so(name: str) -> None:
    kind, newest = MESSAGES[name], golden(name)["messages"][-1]
    assert kind.model_validate(newest).model_dump(mode="json") == newest
    assert set(newest) == set(kind.model_fields), "the newest example does not show every field"


@EVERY
def test_every_message_that_was_ever_written_still_loads(name: str) -> None:
    for message in golden(name)["messages"]:
        loaded = MESSAGES[name].model_validate(message).model_dump(mode="json")
        assert _of(loaded, message) == message


def _of(loaded: Any, message: Any) -> Any:
    """What `loaded` says of what `message` says: fields that came later are left out, at any depth."""
    if isinstance(message, dict):
        return {key: _of(loaded[key], value) for key, value in message.items()}
    if isinstance(message, list) and len(loaded) == len(message):
        return [_of(one, value) for one, value in zip(loaded, message, strict=True)]
    return loaded


@EVERY
def test_fields_of_a_newer_sender_are_ignored(name: str) -> None:
    """A rolling deploy: the new api enqueues what the old worker reads."""
    kind, newest = MESSAGES[name], golden(name)["messages"][-1]
    loaded = kind.model_validate({**newest, "added_later": {"deep": [1, 2]}})
    assert loaded.model_dump(mode="json") == newest


@EVERY
def test_optional_fields_may_be_missing_and_required_ones_may_not(name: str) -> None:
    kind, newest = MESSAGES[name], golden(name)["messages"][-1]
    required = {field for field, info in kind.model_fields.items() if info.is_required()}
    kind.model_validate({field: newest[field] for field in required})
    for field in required:
        with pytest.raises(ValidationError, match=re.escape(field)):
            kind.model_validate({key: value for key, value in newest.items() if key != field})


@EVERY
def test_a_message_cannot_be_changed_on_its_way(name: str) -> None:
    kind, newest = MESSAGES[name], golden(name)["messages"][-1]
    field = next(iter(kind.model_fields), None)
    if field is None:
        pytest.skip("has no fields")
    with pytest.raises(ValidationError, match="frozen"):
        setattr(kind.model_validate(newest), field, newest[field])


@pytest.mark.parametrize("name", ALL)
def test_the_ledgers_row_of_a_command_is_what_was_published(name: str) -> None:
    file = golden(name)
    given, newest = file["published"], file["messages"][-1]
    row = new_job(ALL[name].model_validate(newest), tenant="acme", now_us=5)
    assert (row.task, row.queue, row.timeout_s, row.priority) == (
        name, given["queue"], given["timeout_s"], given["priority"],
    )  # fmt: skip
    assert ALL[name].model_validate_json(row.args).model_dump(mode="json") == newest


def test_names_say_what_they_are() -> None:
    """Commands are imperative `area.verb_noun`; events end in their version, which a new meaning must raise."""
    assert [name for name in ALL if not re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)*", name)] == []
    assert [name for name in EVENTS if not re.fullmatch(r"[a-z]+(\.[a-z_]+)+\.v[1-9][0-9]*", name)] == []


def test_an_event_that_was_published_is_never_given_another_version_in_place() -> None:
    """`x.v2` may come beside `x.v1`; a receiver of v1 goes on receiving it."""
    versions: dict[str, list[int]] = {}
    for name in EVENTS:
        stem, _, version = name.rpartition(".v")
        versions.setdefault(stem, []).append(int(version))
    assert {stem: found for stem, found in versions.items() if sorted(found) != list(range(1, len(found) + 1))} == {}
