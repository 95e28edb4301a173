"""The one file of a multipart form, out of the stream as it comes: nothing of it is put on a disk on its way.

Owns the reading of `multipart/form-data`. The invariant: the file's bytes are handed on as they arrive, and the stream
ends without an error only if the form was whole and held exactly one file. Refuses (BadInput) forms without a file,
with a second one, with more than FIELDS_MAX other fields, with heads or fields past their bounds, and what is no form.
"""

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from shared.kernel.errors import BadInput

FIELDS_MAX = 8
FIELDS_BYTES = 64 * 1024  # of all fields that are no file, together
HEAD_BYTES = 8 * 1024  # of the headers of one part


class FileOfForm:
    """Fed with the body's chunks; `taken` holds what of them was the file's."""

    def __init__(self, boundary: bytes) -> None:
        self._parser: Any = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_part_data": self._part_data,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_end": self._form_ends,
            },
        )
        self.taken: list[bytes] = []
        self.files = 0
        self.ended = False
        self._fields = self._field_bytes = self._head_bytes = 0
        self._name = self._value = self._disposition = b""
        self._is_file = False

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as wrong:
            raise unreadable(str(wrong).rstrip(".") or "it is broken") from None

    def close(self) -> None:
        """Raises BadInput unless a whole form with one file has been fed."""
        if not self.ended:
            raise unreadable("it ends before its last boundary")
        if self.files != 1:
            raise BadInput(f"the form holds {self.files} files, it must hold one", code="not_one_file")

    def _part_begins(self) -> None:
        self._disposition, self._is_file, self._head_bytes = b"", False, 0

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._count_head(end - start)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._count_head(end - start)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES:
            raise unreadable(f"the headers of a part are more than {HEAD_BYTES} bytes")

    def _header_ends(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _headers_end(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise unreadable("a part of it has no name")
        self._is_file = b"filename" in options
        if self._is_file:
            self.files += 1
            if self.files > 1:
                raise BadInput("the form holds more than one file, it must hold one", code="not_one_file")
            return
        self._fields += 1
        if self._fields > FIELDS_MAX:
            raise unreadable(f"Too many fields: more than {FIELDS_MAX} besides the file")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.taken.append(data[start:end])
            return
        self._field_bytes += end - start
        if self._field_bytes > FIELDS_BYTES:
            raise unreadable(f"its fields are more than {FIELDS_BYTES} bytes")

    def _form_ends(self) -> None:
        self.ended = True


async def file_of(content_type: str, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The bytes of the form's one file. Raises BadInput, also after the last of them."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise unreadable("its Content-Type says no boundary")
    try:
        form = FileOfForm(boundary)
    except FormParserError as wrong:
        raise unreadable(str(wrong).rstrip(".")) from None
    async for chunk in chunks:
        form.feed(chunk)
        taken, form.taken = form.taken, []
        for part in taken:
            yield part
    form.close()


def unreadable(words: str) -> BadInput:
    return BadInput(f"the form cannot be read: {words}", code="unreadable_form")
