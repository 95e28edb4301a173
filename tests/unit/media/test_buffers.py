"""Memory for bodies: never promised twice, never all to one tenant, and given back however a body ends."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.buffers import COPIES, STREAM_BYTES, Buffers
from shared.kernel.errors import Overloaded

MOST = 8 * STREAM_BYTES
BODIES = st.lists(
    st.tuples(st.sampled_from(["acme", "mallory", "bob"]), st.none() | st.integers(0, 3 * STREAM_BYTES)), max_size=60
)


def need(declared_bytes: int | None) -> int:
    return STREAM_BYTES if declared_bytes is None else min(COPIES * declared_bytes, STREAM_BYTES)


@given(BODIES)
def test_what_is_promised_stays_within_the_bound(bodies: list[tuple[str, int | None]]) -> None:
    buffers, held = Buffers(MOST), dict.fromkeys(("acme", "mallory", "bob"), 0)
    with contextlib.ExitStack() as stack:
        for tenant, declared in bodies:
            fits = sum(held.values()) + need(declared) <= MOST and held[tenant] + need(declared) <= MOST * 3 // 4
            if fits:
                stack.enter_context(buffers.one(tenant, declared))
                held[tenant] += need(declared)
            else:
                with pytest.raises(Overloaded) as refused, buffers.one(tenant, declared):
                    pass
                assert (refused.value.code, refused.value.details["retry_after_s"]) == ("too_many_bodies", 2)
    with contextlib.ExitStack() as stack:  # all of it is there again
        for tenant in ("acme", "mallory") * 4:
            stack.enter_context(buffers.one(tenant, None))


def test_a_body_that_breaks_gives_back_what_it_had() -> None:
    buffers = Buffers(0)  # room for one in any case
    for _ in range(3):
        with pytest.raises(ConnectionError), buffers.one("acme", None):
            raise ConnectionError
    with buffers.one("acme", 2**40), pytest.raises(Overloaded), buffers.one("mallory", 1):
        pass
