"""The size of a WebP picture by its first 30 bytes. Pure.

libvips asks for the memory of a whole WebP picture when it opens the file, so that a bomb of 246 bytes would be refused
for its memory, or not at all. What is no WebP, or too short, has no size here: the decoder will have its own words.
"""

HEAD_BYTES = 30
_SIDE = (1 << 14) - 1


def webp_size(head: bytes) -> tuple[int, int] | None:
    """(width, height) as the file claims them."""
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < HEAD_BYTES:
        return None
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & _SIDE), 1 + (bits >> 14 & _SIDE)
    if head[12:16] == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(head[26:28], "little") & _SIDE, int.from_bytes(head[28:30], "little") & _SIDE
    return None
