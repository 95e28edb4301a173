import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.errors import MediaError
from services.media.sniffing.sniff import HEAD_BYTES, kind_of, recognise, refusal_of


def boxes(major, *others):
    brands = b"".join(brand.encode().ljust(4) for brand in others)
    return (16 + len(brands)).to_bytes(4, "big") + b"ftyp" + major.encode().ljust(4) + b"\0\0\2\0" + brands + b"\0" * 64


def ebml(doctype):
    inner = b"\x42\x86\x81\x01\x42\x82" + bytes([0x80 | len(doctype)]) + doctype
    return b"\x1a\x45\xdf\xa3" + bytes([0x80 | len(inner)]) + inner + b"\0" * 64


def ogg(packet):
    return b"OggS\0\x02" + b"\0" * 20 + b"\x01" + bytes([len(packet)]) + packet


MP3_FRAME = b"\xff\xfb\x90\x00" + b"\0" * 413  # MPEG 1 layer III, 128 kbit/s, 44.1 kHz
ADTS_FRAME = b"\xff\xf1\x50\x80\x0c\x9f\xfc" + b"\0" * 93  # 100 bytes
TAG = b"ID3\x04\0\0\0\0\0\x04abcd"

GOOD = [
    (b"\xff\xd8\xff\xe0" + b"\0" * 32, "image", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image", "png"),
    (b"RIFF\0\0\0\0WEBPVP8 ", "image", "webp"),
    (b"GIF89a", "image", "gif"),
    (boxes("avif", "mif1", "miaf"), "image", "avif"),
    (boxes("avis", "avif"), "image", "avif"),
    (boxes("mif1", "miaf", "avif"), "image", "avif"),
    (boxes("isom", "iso2", "avc1", "mp41"), "video", "mp4"),
    (boxes("mp42", "isom"), "video", "mp4"),
    (boxes("MSNV", "isom"), "video", "mp4"),
    (boxes("zzzz", "mp42"), "video", "mp4"),
    (boxes("qt"), "video", "mov"),
    (b"\0\0\0\x08wide\0\1\0\0mdat", "video", "mov"),
    (b"\0\0\0\x01mdat\0\0\0\0\0\1\0\0", "video", "mov"),
    (boxes("M4V", "isom"), "video", "m4v"),
    (boxes("3gp4", "isom"), "video", "3gp"),
    (boxes("3g2a"), "video", "3gp"),
    (ebml(b"matroska"), "video", "mkv"),
    (ebml(b"webm"), "video", "webm"),
    (b"ID3\x04\0\0\0\0\x10\0" + b"\0" * 64, "audio", "mp3"),
    (MP3_FRAME * 2, "audio", "mp3"),
    (b"ID3\x04\0\0\0\0\0\x04abcd" + MP3_FRAME * 2, "audio", "mp3"),
    (b"ID3\x04\0\0\0\0\0\x04abcd" + ADTS_FRAME * 3, "audio", "aac"),
    (TAG + TAG + MP3_FRAME * 2, "audio", "mp3"),
    (TAG + bytes(900) + MP3_FRAME * 2, "audio", "mp3"),
    (TAG + bytes(9) + TAG + b"\0" + ADTS_FRAME * 3, "audio", "aac"),
    (TAG + b"ID3\x04\0\0\0\0\x40\0" + b"\0" * 64, "audio", "mp3"),
    (TAG + bytes(HEAD_BYTES - len(TAG)), "audio", "mp3"),
    (ADTS_FRAME * 3, "audio", "aac"),
    (boxes("M4A", "mp42", "isom"), "audio", "m4a"),
    (b"RIFF\0\0\0\0WAVEfmt ", "audio", "wav"),
    (b"RF64\xff\xff\xff\xffWAVEds64", "audio", "wav"),
    (b"fLaC\0\0\0\x22", "audio", "flac"),
    (ogg(b"OpusHead\x01\x02"), "audio", "opus"),
    (ogg(b"\x01vorbis" + b"\0" * 23), "audio", "ogg"),
    (ogg(b"\x7fFLAC\x01\0"), "audio", "ogg"),
]

BAD = [
    (b"", "empty"),
    (b"#EXTM3U\n#EXT-X-VERSION:3\nsecret.ts\n", "an HLS playlist"),
    (b"\xef\xbb\xbf#EXTM3U\n", "an HLS playlist"),
    (b"\n\n  #extm3u\n", "an HLS playlist"),
    (b"ffconcat version 1.0\nfile secret.mp4\n", "a concat list"),
    (b'<?xml version="1.0"?><MPD>', "XML"),
    (b"<MPD xmlns=", "DASH"),
    (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "text"),
    (b"[playlist]\nFile1=http://", "a playlist"),
    (b"RIFF\0\0\0\0AVI LIST", "AVI"),
    (ogg(b"\x80theora"), "Ogg with something else"),
    (boxes("heic", "mif1"), "HEIC"),
    (boxes("mif1", "heic", "miaf"), "HEIC"),
    (boxes("crx", "isom"), "raw format"),
    (boxes("zzzz", "yyyy"), "none that is known"),
    (ebml(b"secret"), "none that is known"),
    (bytes(9) + MP3_FRAME * 2, "none that is known"),  # padding of nothing
    (TAG * 100 + MP3_FRAME * 2, "none that is known"),
    (TAG + b"#EXTM3U\n", "none that is known"),
    (b"\xff\xfb\x90\x00" + b"\0" * 800, "none that is known"),  # one frame of MP3, and no second
    ("\ufeffsome text\n".encode("utf-16-le") * 20, "none that is known"),  # UTF-16
    (b"%PDF-1.7", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x7fELF\x02\x01\x01\0", "none that is known"),
]


@pytest.mark.parametrize(("head", "kind", "name"), GOOD)
def test_a_format_is_told_by_its_first_bytes(head, kind, name):
    found = kind_of(head)
    assert found is not None
    assert (found.kind, found.format) == (kind, name)
    assert found.content_type.startswith(f"{kind}/")
    assert recognise(head) is found


@pytest.mark.parametrize(("head", "words"), BAD)
def test_what_is_not_taken_is_named(head, words):
    assert kind_of(head) is None
    with pytest.raises(MediaError, match=words) as caught:
        recognise(head)
    assert caught.value.code == "unsupported_format"
    assert "taken are JPEG" in caught.value.message


def _damaged(head):
    cuts = st.integers(0, len(head))
    return st.tuples(cuts, st.binary(max_size=8)).map(
        lambda cut: head[: cut[0]] + cut[1] + head[cut[0] + len(cut[1]) :]
    )


@given(st.binary(max_size=HEAD_BYTES) | st.sampled_from([head for head, *_ in GOOD + BAD]).flatmap(_damaged))
def test_no_bytes_are_too_strange(head):
    found = kind_of(head)
    if found is None:
        assert refusal_of(head).details["found"]


@given(st.sampled_from(["#EXTM3U\n", "ffconcat version 1.0\n", "<?xml ?>", "<MPD>", "v=0\r\n", " ", "a"]), st.text())
def test_text_is_never_taken(start, rest):
    assert kind_of((start + rest).encode("utf-8", "surrogatepass")) is None
