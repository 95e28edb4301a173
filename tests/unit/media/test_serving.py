"""Ranges and signatures, pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.links import BadSignature, LinkExpired, Links
from services.media.serving import WrongRange, wanted_range
from shared.kernel.errors import Misconfigured

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"


@given(
    st.text(max_size=40) | st.from_regex(r"bytes ?= ?[0-9]{0,20} ?- ?[0-9]{0,20}", fullmatch=True),
    st.integers(1, 10**12),
)
def test_a_range_is_inside_or_none_or_refused(header: str, size: int) -> None:
    try:
        found = wanted_range(header, size)
    except WrongRange:
        return
    assert found is None or 0 <= found[0] < found[1] <= size


@given(st.integers(1, 10**9), st.data())
def test_a_range_is_what_was_asked_for(size: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(start, size - 1))
    assert wanted_range(f"bytes={start}-{end}", size) == (start, end + 1)
    assert wanted_range(f"bytes={start}-", size) == (start, size)
    assert wanted_range(f"bytes=-{size - start}", size) == (start, size)
    with pytest.raises(WrongRange):
        wanted_range(f"bytes={size}-", size)


@given(st.text(max_size=50), st.integers(0, 10**9), st.text(max_size=50), st.integers(0, 10**9))
def test_a_signature_is_of_one_path_and_one_time(path: str, expires: int, other: str, later: int) -> None:
    links = Links(KEY)
    signature = links.sign(path, expires).rpartition("=")[2]
    assert links.check(path, str(expires), signature, expires * 1_000_000 - 1) == expires
    with pytest.raises(LinkExpired):
        links.check(path, str(expires), signature, expires * 1_000_000)
    if (path, expires) != (other, later):
        with pytest.raises(BadSignature):
            links.check(other, str(later), signature, 0)


@pytest.mark.parametrize("key", ["short", "ü", "x" * 44, f"{KEY},y"])
def test_keys_that_are_none_stop_the_start(key: str) -> None:
    with pytest.raises(Misconfigured, match="LINK_KEY"):
        Links(key)
