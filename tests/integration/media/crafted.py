"""Files that no encoder here writes: put together byte by byte, for what is odd, hostile or merely old."""

import struct
import zlib


def png_chunk(kind, data, crc=None):
    return (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)
    )


def png(width, height, rows, *, depth=8, colour=2, interlace=0, chunks=b"", end=True):
    """`rows` are whole scan lines, each with its filter byte; `chunks` come before the pixels."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    body = b"\x89PNG\r\n\x1a\n" + head + chunks + png_chunk(b"IDAT", zlib.compress(rows, 9))
    return body + (png_chunk(b"IEND", b"") if end else b"")


def with_png_chunks(data, chunks):
    """Right after the header."""
    return data[:33] + chunks + data[33:]


def with_jpeg_segment(data, marker, payload):
    """Right after the start of the image."""
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload + data[2:]


def jpeg_segments(data):
    """(offset, marker, length with its two bytes) of every segment up to the first scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, (length,) = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])
        yield at, marker, length
        if marker == 0xDA:
            return
        at += 2 + length


def with_jpeg_marker(data, old, new):
    for at, marker, _ in jpeg_segments(data):
        if marker == old:
            return data[: at + 1] + bytes([new]) + data[at + 2 :]
    raise ValueError(f"no marker {old:#x}")


def _lzw(pixels):
    """GIF's LZW for 2 bits, never longer than 3-bit codes: the table is cleared before it grows."""
    codes = []
    for at, pixel in enumerate(pixels):
        if at % 2 == 0:
            codes.append(4)
        codes.append(pixel)
    codes.append(5)
    bits = sum(code << (3 * at) for at, code in enumerate(codes))
    data = bits.to_bytes((3 * len(codes) + 7) // 8, "little")
    blocks = b"".join(bytes([len(part)]) + part for part in (data[at : at + 255] for at in range(0, len(data), 255)))
    return b"\x02" + blocks + b"\0"


COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0))
RED, GREEN, BLUE, CLEAR = range(4)


def gif(width, height, frames, *, loop=0):
    """`frames`: (left, top, width, height, colour, disposal); CLEAR is transparent."""
    out = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF1, 0, 0) + bytes(sum(COLOURS, ()))
    out += b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", loop) + b"\0"
    for left, top, wide, high, colour, disposal in frames:
        out += b"\x21\xf9\x04" + bytes([disposal << 2 | 1, 7, 0, CLEAR]) + b"\0"
        out += b"\x2c" + struct.pack("<HHHHB", left, top, wide, high, 0) + _lzw([colour] * (wide * high))
    return out + b";"


def box(kind, data, version=None):
    full = b"" if version is None else bytes([version, 0, 0, 0])
    return struct.pack(">I", 8 + len(full) + len(data)) + kind + full + data


def boxes(data, at=0, end=None):
    """(kind, start of its content, end) of the boxes in a row."""
    end = len(data) if end is None else end
    while at + 8 <= end:
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        yield kind, at + 8, at + size
        at += size


def _inside(data, *path):
    at, end = 0, len(data)
    for kind in path:
        at, end = next((start, stop) for name, start, stop in boxes(data, at, end) if name == kind)
        at += 4 if kind == b"meta" else 0
    return at, end


def avif_grid(tile, side, rows, columns, *, output=None, coding=b"av01", config=None):
    """A grid of the same AVIF `tile` (side x side); `output` is the size that the file claims."""
    start, end = _inside(tile, b"meta", b"iprp", b"ipco")
    config = config or next(tile[a - 8 : b] for kind, a, b in boxes(tile, start, end) if kind == b"av1C")
    start, end = _inside(tile, b"mdat")
    pixels = tile[start:end]
    count = rows * columns
    width, height = output or (side * columns, side * rows)
    grid = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)
    tiles = range(2, 2 + count)
    infos = [(1, b"grid"), *((item, coding) for item in tiles)]
    iinf = struct.pack(">H", len(infos))
    iinf += b"".join(box(b"infe", struct.pack(">HH4s", item, 0, kind) + b"\0", 2) for item, kind in infos)
    iref = box(b"dimg", struct.pack(">HH", 1, count) + b"".join(struct.pack(">H", item) for item in tiles))
    ispe = [box(b"ispe", struct.pack(">II", *size), 0) for size in ((width, height), (side, side))]
    pixi = box(b"pixi", b"\x03\x08\x08\x08", 0)
    ipco = box(b"ipco", ispe[0] + ispe[1] + config + pixi)
    links = struct.pack(">I", 1 + count) + struct.pack(">HBBB", 1, 2, 1, 4)
    links += b"".join(struct.pack(">HBBBB", item, 3, 2, 0x83, 4) for item in tiles)
    iprp = box(b"iprp", ipco + box(b"ipma", links, 0))

    def head(at):
        locations = [(1, at, len(grid)), *((item, at + len(grid), len(pixels)) for item in tiles)]
        iloc = struct.pack(">BBH", 0x44, 0, len(locations))
        iloc += b"".join(struct.pack(">HHHII", item, 0, 1, offset, size) for item, offset, size in locations)
        parts = box(b"hdlr", bytes(4) + b"pict" + bytes(13), 0) + box(b"pitm", struct.pack(">H", 1), 0)
        parts += box(b"iloc", iloc, 0) + box(b"iinf", iinf, 0) + box(b"iref", iref, 0) + iprp
        return box(b"ftyp", b"avif" + bytes(4) + b"avifmif1miaf") + box(b"meta", parts, 0)

    return head(len(head(0)) + 8) + box(b"mdat", grid + pixels)
