"""The frames that MP3 and AAC files begin with, the tag before them, and what an Ogg file holds. Pure.

MP3 and raw AAC have no magic, only a pattern of bits that random bytes meet now and then. Invariant: where the second
frame would lie within the bytes at hand, it must be there.
"""

_KBPS = {
    # by (is MPEG 1, layer as it is coded); index 0 is "free" and 15 is invalid: both are refused
    (True, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_HZ = (44_100, 48_000, 32_000)
_MPEG_1, _MPEG_2, _RESERVED = 3, 2, 1

_OGG = (
    (b"OpusHead", "opus"),
    (b"\x01vorbis", "ogg"),
    (b"\x7fFLAC", "ogg"),
    (b"Speex   ", "ogg"),
)


TAGS_MAX = 16


def tags_end(head: bytes, *, tagged: bool = False) -> int:
    """Where what sounds begins: behind ID3v2 tags, of which programs put one before the other, and the zeros that pad
    them; 0 when there is no tag, and none came before (`tagged`). It may lie far behind the bytes at hand.
    """
    at = 0
    for _ in range(TAGS_MAX):
        if (at or tagged) and head[at : at + 1] == b"\0":
            at = len(head) - len(head[at:].lstrip(b"\0"))
        end = _tag_end(head[at:])
        if not end:
            return at
        at += end
    return at


def _tag_end(head: bytes) -> int:
    if len(head) < 10 or not head.startswith(b"ID3") or any(byte > 0x7F for byte in head[6:10]):
        return 0 if not head.startswith(b"ID3") else len(head)
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    footer = 10 if head[5] & 0x10 else 0
    return 10 + size + footer


def is_mpeg_audio(head: bytes) -> bool:
    size = _mpeg_frame(head)
    return bool(size) and (len(head) < size + 4 or bool(_mpeg_frame(head[size : size + 4])))


def is_adts(head: bytes) -> bool:
    size = _adts_frame(head)
    return bool(size) and (len(head) < size + 6 or bool(_adts_frame(head[size : size + 6])))


def ogg_codec(head: bytes) -> str | None:
    """opus, ogg (Vorbis, FLAC, Speex), or None for video and whatever else: what the first page begins with."""
    if len(head) < 28:
        return None
    packet = head[27 + head[26] :]
    return next((name for magic, name in _OGG if packet.startswith(magic)), None)


def _mpeg_frame(head: bytes) -> int:
    """The size in bytes of the frame whose header this is; 0 when it is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    rate, frequency, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == _RESERVED or layer == 0 or rate in (0, 15) or frequency == 3:
        return 0
    hz = _HZ[frequency] >> {_MPEG_1: 0, _MPEG_2: 1}.get(version, 2)
    bits = _KBPS[version == _MPEG_1, layer][rate - 1] * 1000
    if layer == 3:
        return (12 * bits // hz + padding) * 4
    samples = 72 if layer == 1 and version != _MPEG_1 else 144
    return samples * bits // hz + padding


def _adts_frame(head: bytes) -> int:
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size if size > 7 else 0
