"""What a content is, told by its first bytes alone: pure, no library, a few microseconds.

Owns the list of formats that are taken at all. Invariants: names and declared types count for nothing; what is not
recognised is refused, so no text can pass (a playlist or a concat list is text, and would make a demuxer open other
files); nothing here says that the rest of the file is sound. `kind_of` is asked while a body streams in, and again in
the slot, which opens the file with the demuxers of the answer and with no other.

HEIC and the like are recognised and refused by name: people should learn what their phone has sent.
"""

from dataclasses import dataclass
from typing import Literal

from services.media.errors import MediaError
from services.media.sniffing.boxes import box_brand, ebml_doctype
from services.media.sniffing.sound import is_adts, is_mpeg_audio, ogg_codec, tags_end

HEAD_BYTES = 4096
"""How much of a content `kind_of` wants to see; less is enough for all but the rarest."""

Kind = Literal["image", "video", "audio"]

TAKEN = "JPEG, PNG, WebP, GIF, AVIF; MP4, MOV, M4V, 3GP, MKV, WebM; MP3, M4A, AAC, WAV, FLAC, Ogg, Opus"


@dataclass(frozen=True)
class Sniffed:
    """`format` is a short name in small letters, `content_type` the registered one, or the one in use."""

    kind: Kind
    format: str
    content_type: str


FORMATS = {
    found.format: found
    for found in (
        Sniffed("image", "jpeg", "image/jpeg"),
        Sniffed("image", "png", "image/png"),
        Sniffed("image", "webp", "image/webp"),
        Sniffed("image", "gif", "image/gif"),
        Sniffed("image", "avif", "image/avif"),
        Sniffed("video", "mp4", "video/mp4"),
        Sniffed("video", "mov", "video/quicktime"),
        Sniffed("video", "m4v", "video/x-m4v"),
        Sniffed("video", "3gp", "video/3gpp"),
        Sniffed("video", "mkv", "video/x-matroska"),
        Sniffed("video", "webm", "video/webm"),
        Sniffed("audio", "mp3", "audio/mpeg"),
        Sniffed("audio", "m4a", "audio/mp4"),
        Sniffed("audio", "aac", "audio/aac"),
        Sniffed("audio", "wav", "audio/wav"),
        Sniffed("audio", "flac", "audio/flac"),
        Sniffed("audio", "ogg", "audio/ogg"),
        Sniffed("audio", "opus", "audio/ogg"),
    )
}

_MAGIC = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"fLaC", "flac"),
)
_RIFF = {b"WEBP": "webp", b"WAVE": "wav"}
_NAMED = (
    (b"#EXTM3U", "an HLS playlist"),
    (b"ffconcat", "a concat list"),
    (b"[playlist]", "a playlist"),
    (b"<?xml", "XML (a DASH manifest, SVG, …)"),
    (b"<MPD", "a DASH manifest"),
    (b"<svg", "SVG"),
    (b"%PDF", "PDF"),
    (b"II*\0", "TIFF or a camera's raw format"),
    (b"MM\0*", "TIFF"),
    (b"BM", "BMP"),
    (b"8BPS", "PSD"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"FLV", "FLV"),
    (b"0&\xb2u\x8ef\xcf\x11", "ASF (WMV, WMA)"),
    (b"\0\0\x01\xba", "an MPEG program stream"),
    (b"PK\x03\x04", "a ZIP archive"),
)
_BOXED = {"heic": "HEIC", "crx": "a camera's raw format (CR3)", "jxl": "JPEG XL"}


def kind_of(head: bytes) -> Sniffed | None:
    """What the content is, or None for one that is not taken; `refusal_of` has the words for that."""
    name = _format_of(head)
    return FORMATS.get(name) if name else None


def sound_of(head: bytes) -> Sniffed | None:
    """What the bytes behind a tag are the beginning of."""
    name = _format_of_sound(head)
    return FORMATS[name] if name else None


def recognise(head: bytes) -> Sniffed:
    """`kind_of`, or MediaError (unsupported_format) for what is not taken."""
    found = kind_of(head)
    if found is None:
        raise refusal_of(head)
    return found


def refusal_of(head: bytes) -> MediaError:
    """Why a content that `kind_of` does not know is refused: what it looks like, and what is taken."""
    looks = _looks_like(head)
    return MediaError(f"the content is {looks}; taken are {TAKEN}", code="unsupported_format", found=looks)


def _format_of(head: bytes) -> str | None:
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        return _RIFF.get(head[8:12])
    if head.startswith(b"OggS"):
        return ogg_codec(head)
    if head.startswith(b"ID3"):
        end = tags_end(head)
        return "mp3" if end >= len(head) else _format_of_sound(head[end:])
    return box_brand(head) or ebml_doctype(head) or _format_of_sound(head)


def _format_of_sound(head: bytes) -> str | None:
    if head.startswith(b"fLaC"):
        return "flac"
    if is_adts(head):
        return "aac"
    return "mp3" if is_mpeg_audio(head) else None


def _looks_like(head: bytes) -> str:
    if not head:
        return "empty"
    named = _BOXED.get(box_brand(head) or "")
    if named:
        return named
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, name in _NAMED:
        if head.startswith(magic) or start.lower().startswith(magic.lower()):
            return name
    if head.startswith(b"RIFF"):
        return "AVI" if head[8:11] == b"AVI" else "a RIFF file of another kind"
    if head.startswith(b"OggS"):
        return "Ogg with something else than sound"
    return "text" if _is_text(head) else "none that is known"


def _is_text(head: bytes) -> bool:
    return not any(byte < 9 or 13 < byte < 32 for byte in head[:512])
