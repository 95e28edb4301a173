"""Seeded damage of good files: what disks, networks and enemies do to them."""

import random

EXTREMES = (b"\0\0\0\0", b"\0\0\0\1", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\xff", b"\0\0\xff\xff")


def damaged(data, seed, *, spare=0, other=b""):
    """One to six acts of damage behind the first `spare` bytes; the same seed does the same damage."""
    rng = random.Random(seed)
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        at = rng.randrange(min(spare, len(out) - 1), len(out)) if len(out) > spare + 1 else 0
        _act(rng, out, at, other)
    return bytes(out)


def _act(rng, out, at, other):
    size = rng.choice((1, 1, 2, 4, 16, 256, 4096))
    match rng.randrange(10):
        case 0:
            del out[at:]
        case 1:
            del out[at : at + size]
        case 2:
            out[at:at] = out[at : at + size]
        case 3:
            out[at:at] = rng.randbytes(size)
        case 4:
            out[at : at + size] = rng.randbytes(min(size, len(out) - at))
        case 5:
            out[at : at + size] = bytes(min(size, len(out) - at))
        case 6 | 7:
            out[at : at + 4] = rng.choice(EXTREMES)
        case 8 if other:
            begin = rng.randrange(len(other))
            out[at : at + size] = other[begin : begin + size]
        case _:
            for where in range(at, min(at + size, len(out))):
                out[where] ^= 1 << rng.randrange(8)
