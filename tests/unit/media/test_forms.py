"""A form out of a stream: however it is cut, the file's bytes come out as they went in, or nothing does."""

import itertools
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media import forms
from services.media.forms import file_of
from shared.kernel.errors import BadInput

TYPE = "multipart/form-data; boundary=edge"


def part(content: bytes, name: str = "f", filename: str | None = "a.jpg") -> bytes:
    said = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    return b"--edge\r\n" + said.encode() + b"\r\nContent-Type: x/y\r\n\r\n" + content + b"\r\n"


async def read(body: bytes, cuts: list[int] = (), kind: str = TYPE) -> bytes:  # type: ignore[assignment]
    async def stream() -> AsyncIterator[bytes]:
        edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
        for start, end in itertools.pairwise(edges):
            yield body[start:end]

    return b"".join([chunk async for chunk in file_of(kind, stream())])


@given(
    st.binary(max_size=300) | st.sampled_from([b"\r\n--edg", b"\r\n--edge-", b"--edge\r\n", b"\r\n\r\n--", b"\r" * 9]),
    st.lists(st.integers(0, 1_000), max_size=20),
    st.integers(0, 3),
    st.integers(0, 3),
)
async def test_the_file_comes_out_as_it_went_in(content: bytes, cuts: list[int], before: int, after: int) -> None:
    if b"\r\n--edge" in b"\r\n" + content:
        content = content.replace(b"edge", b"odge")
    fields = [part(b"value", f"n{number}", None) for number in range(before + after)]
    body = b"".join([*fields[:before], part(content), *fields[before:], b"--edge--\r\n"])
    assert await read(body, cuts) == content


@given(st.integers(0, 400), st.lists(st.integers(0, 400), max_size=5))
async def test_a_form_that_is_cut_off_anywhere_is_refused(end: int, cuts: list[int]) -> None:
    body = part(bytes(200)) + b"--edge--\r\n"
    end = min(end, len(body) - len(b"--\r\n") - 1)
    with pytest.raises(BadInput, match="form"):
        await read(body[:end], cuts)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (part(b"a") + part(b"b"), "more than one file"),
        (part(b"a", filename=None), "0 files"),
        (b"", "before its last boundary"),
        (b"--edge\r\n\r\nx\r\n", "no name"),
        (b"".join(part(b"", f"n{n}", None) for n in range(forms.FIELDS_MAX + 1)), "Too many fields"),
        (part(bytes(forms.FIELDS_BYTES + 1), filename=None), "fields are more"),
        (b"--edge\r\nContent-Disposition: form-data; name=" + b"x" * 9_000 + b"\r\n\r\n", "read"),
        (b"--edge\r\n" + b"A: b\r\n" * 1_000, "read"),
    ],
)
async def test_what_is_no_form_with_one_file_is_told_why(body: bytes, words: str) -> None:
    end = b"" if not body or (body.endswith((b"x\r\n\r\n", b"b\r\n")) and b"A: b" in body) else b"--edge--\r\n"
    with pytest.raises(BadInput, match=words):
        await read(body + end)


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=", f"x; boundary={'b' * 300}"])
async def test_a_boundary_is_needed(kind: str) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        await read(b"--edge--\r\n", kind=kind)
