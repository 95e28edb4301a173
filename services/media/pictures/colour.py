"""The dominant colour of a picture: the one that most of what can be seen is near to. Pure.

Colours are counted in 4,096 cells; the answer is the mean of the fullest cell with its neighbours, so that a surface
whose shades fall into two cells is not beaten by a smaller even one. Transparent pixels do not count.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import compress

_CELLS = 16  # of each of the three colours
_CELL_OF = bytes(value * _CELLS // 256 for value in range(256))
_SEEN = bytes(int(alpha > 127) for alpha in range(256))

Cell = tuple[int, int, int]


def dominant_colour(rgba: bytes) -> str | None:
    """`#rrggbb` of pixels of 4 bytes; None when nothing can be seen. A few thousand pixels are plenty."""
    seen = rgba[3::4].translate(_SEEN)
    bands = [bytes(compress(rgba[at::4], seen)) for at in range(3)]
    cells = list(zip(*(band.translate(_CELL_OF) for band in bands), strict=True))
    counts = Counter(cells)
    if not counts:
        return None
    best = max(counts, key=lambda cell: (_weight(counts, cell), counts[cell], cell))
    near = {best, *_neighbours(best)}
    chosen = [cell in near for cell in cells]
    number = sum(chosen)
    return "#" + "".join(f"{(sum(compress(band, chosen)) + number // 2) // number:02x}" for band in bands)


def _weight(counts: Counter[Cell], cell: Cell) -> int:
    return 2 * counts[cell] + sum(counts[near] for near in _neighbours(cell))


def _neighbours(cell: Cell) -> Iterator[Cell]:
    """Those that share a side; one beyond the edge is simply never counted."""
    red, green, blue = cell
    for step in (-1, 1):
        yield red + step, green, blue
        yield red, green + step, blue
        yield red, green, blue + step
