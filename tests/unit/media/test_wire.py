import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.slots import wire

messages = st.lists(st.dictionaries(st.text(max_size=8), st.integers() | st.text() | st.none(), max_size=4), max_size=6)


@given(messages, st.lists(st.integers(1, 40), min_size=1))
def test_messages_come_out_as_they_went_in_however_the_stream_is_cut(sent, cuts):
    stream = b"".join(wire.encode(message) for message in sent)
    lines, received, at = wire.Lines(), [], 0
    while at < len(stream):
        step = cuts[at % len(cuts)]
        received += lines.feed(stream[at : at + step])
        at += step
    assert received == sent


def test_a_line_whose_writer_died_is_not_handed_out():
    lines = wire.Lines()
    assert lines.feed(wire.encode({"id": 1})[:-1]) == []


def test_a_message_above_the_bound_is_refused():
    with pytest.raises(wire.MessageTooLarge, match=str(wire.MESSAGE_LIMIT_BYTES)):
        wire.encode({"x": "y" * wire.MESSAGE_LIMIT_BYTES})


def test_an_endless_line_is_refused():
    with pytest.raises(wire.MessageTooLarge):
        wire.Lines().feed(b"x" * (wire.MESSAGE_LIMIT_BYTES + 1))


def test_a_message_of_the_largest_size_fits_into_one_datagram():
    push, pull = wire.call_channel()
    with push, pull:
        room = wire.MESSAGE_LIMIT_BYTES - len(wire.encode({"x": ""}))
        for _ in range(2):
            push.send(wire.encode({"x": "y" * room}))
        for _ in range(2):
            assert len(json.loads(pull.recv(wire.MESSAGE_LIMIT_BYTES))["x"]) == room
