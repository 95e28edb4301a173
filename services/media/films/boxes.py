"""The outermost boxes of an MP4 or MOV file: enough to tell one that was cut off from one that is damaged."""

import os
import struct

BOXES_MAX = 10_000


def ends_early(source: str) -> bool:
    """Whether an outermost box promises more bytes than the file has. False for what is no file of boxes."""
    with open(source, "rb") as file:  # noqa: PTH123 - a string from JSON
        end, at = os.fstat(file.fileno()).st_size, 0
        for _ in range(BOXES_MAX):
            file.seek(at)
            head = file.read(16)
            if len(head) < 8:
                return bool(head)
            size = struct.unpack(">I", head[:4])[0]
            if size == 1 and len(head) == 16:
                size = struct.unpack(">Q", head[8:])[0]
            if size == 0:  # to the end of the file
                return False
            if size < 8 or not head[4:8].isalnum():
                return False
            at += size
            if at > end:
                return True
        return False
