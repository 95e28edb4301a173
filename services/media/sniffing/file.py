"""What a file is: `sniff` asked about a file's first bytes, or about those behind long tags."""

from typing import BinaryIO

from services.media.errors import MediaError
from services.media.sniffing.sniff import HEAD_BYTES, Sniffed, recognise, sound_of
from services.media.sniffing.sound import tags_end

LOOKS_MAX = 64
"""So many tags or pages of padding are passed over; libav gives up earlier."""


def recognise_file(source: str) -> Sniffed:
    """Raises MediaError: no_such_file, unsupported_format."""
    try:
        with open(source, "rb") as file:  # noqa: PTH123 - a string from JSON
            head = file.read(HEAD_BYTES)
            found = recognise(head)
            end = tags_end(head)
            if end and end >= len(head):  # a cover picture in the tag: what sounds lies behind it
                return _behind(file, end) or found
            return found
    except OSError as error:
        raise MediaError("there is no file to read", code="no_such_file") from error


def _behind(file: BinaryIO, at: int) -> Sniffed | None:
    for _ in range(LOOKS_MAX):
        file.seek(at)
        head = file.read(HEAD_BYTES)
        end = tags_end(head, tagged=True)
        if end < len(head):
            return sound_of(head[end:])
        if not head:
            return None
        at += end
    return None
