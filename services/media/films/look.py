"""What a decoded frame is: its size, its pixels and its colours, as it says them, or as players guess them.

Invariants: two frames of one look go through one filter graph; a frame of another look needs another graph; a look has
only colours that the scaler knows: reserved numbers, which some encoders write, say nothing. Refuses frames whose
colours are coded so that a guess would show others.
"""

from typing import NamedTuple

from av.video.frame import VideoFrame

from services.media.errors import MediaError
from services.media.films.tone import Curve

PQ, HLG = 16, 18  # of AVColorTransferCharacteristic
BT2020 = 9  # of AVColorPrimaries
RGB, BT709, UNKNOWN = 0, 1, 2  # of AVColorSpace, as are the next
MATRICES = frozenset((BT709, 4, 5, 6, 7, BT2020))
DERIVED, CONSTANT_2020 = (12, 13), 10
FOREIGN = {8: "YCgCo", 11: "YDzDx", 14: "ICtCp", 16: "YCgCo-Re", 17: "YCgCo-Ro"}
PRIMARIES = frozenset((1, *range(4, 13), 22))
TRANSFERS = frozenset((1, *range(4, 9), *range(11, 19)))
HD_FROM = 577
"""Frames of so many lines and no word about their matrix are BT.709, those with fewer are BT.601: so players guess."""


class Look(NamedTuple):
    """What a filter graph is built for; another look needs another graph."""

    width: int
    height: int
    pixels: str
    matrix: int
    range: int
    primaries: int
    transfer: int
    interlaced: bool

    @classmethod
    def of(cls, frame: VideoFrame) -> "Look":
        """Raises MediaError (unsupported_codec)."""
        rgb = frame.format.is_rgb
        primaries, transfer = int(frame.color_primaries), int(frame.color_trc)
        return cls(
            frame.width,
            frame.height,
            frame.format.name,
            RGB if rgb else _matrix(int(frame.colorspace), primaries),
            2 if rgb else int(frame.color_range),
            primaries if primaries in PRIMARIES else UNKNOWN,
            transfer if transfer in TRANSFERS else UNKNOWN,
            frame.interlaced_frame,
        )

    def put_on(self, frame: VideoFrame) -> None:
        """What the frame says of its colours becomes what its look says."""
        frame.colorspace, frame.color_primaries, frame.color_trc = self.matrix, self.primaries, self.transfer

    @property
    def hdr(self) -> bool:
        return self.transfer in (PQ, HLG)

    @property
    def wide(self) -> bool:
        """Whether it would look wrong on a screen for BT.709."""
        return self.hdr or BT2020 in (self.primaries, self.matrix)

    @property
    def curve(self) -> Curve:
        return "pq" if self.transfer == PQ else "hlg" if self.transfer == HLG else "sdr"

    @property
    def guessed(self) -> str:
        """The matrix of frames that do not say theirs, as players guess it; in arguments of the scaler."""
        if self.matrix != UNKNOWN:
            return ""
        if self.wide:
            return ":in_color_matrix=bt2020"
        return ":in_color_matrix=" + ("bt709" if self.height >= HD_FROM else "bt601")


def _matrix(said: int, primaries: int) -> int:
    """One of MATRICES, or UNKNOWN. Constant luminance is shown as the other BT.2020, as players do."""
    if said in FOREIGN:
        raise MediaError(f"the colours are coded as {FOREIGN[said]}, which is not taken", code="unsupported_codec")
    if said in DERIVED:
        said = {5: 5, 6: 6, 7: 7, BT2020: BT2020}.get(primaries, BT709)
    if said == CONSTANT_2020:
        said = BT2020
    return said if said in MATRICES else UNKNOWN
