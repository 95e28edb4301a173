"""The outermost elements of a Matroska or WebM file: enough to tell one that is whole from one that was cut off.

A whole file may end long before the length that it promises: the last picture of a screen recording stays for minutes,
and a track that is not used may be longer than those that are. Nothing but heads of elements is read.
"""

import os
from typing import BinaryIO

ELEMENTS_MAX = 100_000
HEAD_BYTES = 12  # four of a name, eight of a size

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_INSIDE = {
    0x114D9B74,  # SeekHead
    0x1549A966,  # Info
    0x1654AE6B,  # Tracks
    0x1F43B675,  # Cluster
    0x1C53BB6B,  # Cues
    0x1941A469,  # Attachments
    0x1043A770,  # Chapters
    0x1254C367,  # Tags
    0xEC,  # Void
    0xBF,  # CRC-32
}


def is_whole(source: str) -> bool:
    """Whether the elements of the segment fill it to its end, and the file has all of it; False when that is not known,
    as of a stream whose sizes were never written.
    """
    with open(source, "rb") as file:  # noqa: PTH123 - a string from JSON
        size_bytes = os.fstat(file.fileno()).st_size
        header = _element(file, 0)
        segment = _element(file, header[2]) if header and header[0] == _EBML else None
        if segment is None or segment[0] != _SEGMENT or segment[2] > size_bytes:
            return False
        _, at, end = segment
        for _ in range(ELEMENTS_MAX):
            if at == end:
                return True
            inner = _element(file, at)
            if inner is None or inner[0] not in _INSIDE or inner[2] > end:
                return False
            at = inner[2]
    return False


def _element(file: BinaryIO, at: int) -> tuple[int, int, int] | None:
    """(name, where its content starts, where it ends); None for what is none, or has no size."""
    file.seek(at)
    head = file.read(HEAD_BYTES)
    name_bytes = 9 - head[0].bit_length() if head else 0
    if not 1 <= name_bytes <= 4 or len(head) <= name_bytes:
        return None
    first = head[name_bytes]
    size_bytes = 9 - first.bit_length()
    coded = head[name_bytes : name_bytes + size_bytes]
    if size_bytes > 8 or len(coded) < size_bytes:
        return None
    size = int.from_bytes(coded, "big") - (1 << 7 * size_bytes)
    if size == (1 << 7 * size_bytes) - 1:  # all ones: not known
        return None
    start = at + name_bytes + size_bytes
    return int.from_bytes(head[:name_bytes], "big"), start, start + size
