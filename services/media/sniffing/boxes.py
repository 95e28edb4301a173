"""The first box of an ISO base media file (MP4, MOV, AVIF, HEIC, …), and the first element of an EBML file. Pure."""

_MAJOR = {
    "qt": "mov",
    "M4A": "m4a",
    "M4B": "m4a",
    "M4P": "m4a",
    "F4A": "m4a",
    "M4V": "m4v",
    "M4VH": "m4v",
    "M4VP": "m4v",
    "avif": "avif",
    "avis": "avif",
    "crx": "crx",
    "jxl": "jxl",
}
_HEIC = ("heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs")
_MP4 = ("isom", "iso", "mp41", "mp42", "mp71", "avc1", "hvc1", "dash", "msdh", "cmf", "f4v", "MSNV", "XAVC", "piff")
_BARE = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""A QuickTime file from before there was `ftyp` begins with one of these."""

BRANDS_MAX = 64

_EBML = b"\x1a\x45\xdf\xa3"
_DOCTYPE = b"\x42\x82"
_DOCTYPES = {b"webm": "webm", b"matroska": "mkv"}


def box_brand(head: bytes) -> str | None:
    """One of mp4, mov, m4v, 3gp, m4a, avif; heic, crx or jxl, which are not taken; None for no such file."""
    size, name = int.from_bytes(head[:4], "big"), head[4:8]
    if name in _BARE and (size >= 8 or size == 1):  # 1: the true size stands in eight bytes after the name
        return "mov"
    if name != b"ftyp" or size < 16 or len(head) < 16:
        return None
    brands = [_text(head[at : at + 4]) for at in range(8, min(size, len(head), 16 + 4 * BRANDS_MAX), 4) if at != 12]
    major, others = brands[0], brands[1:]
    return _by_brand(major) or (_still(others) if major in ("mif1", "msf1", "miaf") else _any(others))


def ebml_doctype(head: bytes) -> str | None:
    """One of mkv and webm; the type of the document stands among the first elements of the header."""
    if not head.startswith(_EBML):
        return None
    at = head.find(_DOCTYPE, 4, 128)
    if at < 0 or at + 3 > len(head):
        return None
    size = head[at + 2] & 0x7F
    return _DOCTYPES.get(head[at + 3 : at + 3 + size].rstrip(b"\0"))


def _by_brand(brand: str) -> str | None:
    if brand in _HEIC:
        return "heic"
    if brand.startswith(("3gp", "3g2", "3ge", "3gg", "3gr", "3gs")):
        return "3gp"
    if brand.startswith(_MP4):
        return "mp4"
    return _MAJOR.get(brand)


def _still(others: list[str]) -> str | None:
    # mif1 says only "a picture in boxes"; which coding it has is told by the compatible brands.
    return "avif" if "avif" in others or "avis" in others else "heic"


def _any(others: list[str]) -> str | None:
    found = [_by_brand(brand) for brand in others]
    return next((name for name in found if name), None)


def _text(brand: bytes) -> str:
    return brand.decode("latin-1").rstrip(" \0")
