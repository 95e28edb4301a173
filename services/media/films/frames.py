"""From a decoder's frames to frames for a rendition: upright, in square pixels, of one size and format, in SDR.

Invariants: whatever changes in the middle of a stream (size, pixel format, colour), what comes out keeps its size and
format, and is BT.709: what is wider than a screen of today (HDR by PQ or HLG, BT.2020) is tone-mapped, so that it is
not shown pale. One thread. A frame keeps its time; de-interlacing holds one back.
"""

import tempfile
from errno import EAGAIN
from fractions import Fraction

import av
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame

from services.media.films.look import Look
from services.media.films.shape import Filter, is_sideways
from services.media.films.tone import Curve, cube

TICKS = 90_000
"""In a second, of every time that a frame carries here."""


class Shaper:
    """Turns and scales frames to `size` (as shown) in `pixels` (a pixel format)."""

    def __init__(self, size: tuple[int, int], pixels: str, turns: tuple[Filter, ...] = ()) -> None:
        self._coded = (size[1], size[0]) if is_sideways(turns) else size
        self._pixels = pixels
        self._turns = turns
        self._look: Look | None = None
        self._graph = Graph()

    def shape(self, frame: VideoFrame, ticks: int) -> list[VideoFrame]:
        """What is ready after this frame, which is to be shown at `ticks`."""
        look = Look.of(frame)
        ready: list[VideoFrame] = []
        if look != self._look:
            ready = self.flush()
            self._graph, self._look = self._built(look), look
        look.put_on(frame)
        frame.pts = ticks
        frame.time_base = Fraction(1, TICKS)
        self._graph.vpush(frame)
        return ready + self._pulled()

    def flush(self) -> list[VideoFrame]:
        """What is still held back; the next frame starts anew."""
        if self._look is None:
            return []
        self._look = None
        self._graph.push(None)
        return self._pulled()

    def _pulled(self) -> list[VideoFrame]:
        frames: list[VideoFrame] = []
        while True:
            try:
                frame = self._graph.vpull()
            except av.FFmpegError as error:
                if error.errno == EAGAIN or isinstance(error, av.error.EOFError):
                    return frames
                raise
            frame.pict_type = 0  # an encoder would take it as an order
            frames.append(frame)

    def _built(self, look: Look) -> Graph:
        graph = Graph()
        graph.threads = 1
        nodes = [
            graph.add(
                "buffer",
                video_size=f"{look.width}x{look.height}",
                pix_fmt=look.pixels,
                time_base=f"1/{TICKS}",
                pixel_aspect="1/1",
                colorspace=str(look.matrix),
                range=str(look.range),
            )
        ]
        if look.interlaced:
            nodes.append(graph.add("bwdif", "mode=send_frame:deint=all"))
        size = f"{self._coded[0]}:{self._coded[1]}:flags=bicubic"
        into = "out_range=pc" if self._pixels == "rgb24" else "out_range=tv:out_color_matrix=bt709"
        if look.wide:
            nodes.append(graph.add("scale", f"{size}:out_range=pc{look.guessed}"))
            nodes.append(graph.add("format", "pix_fmts=gbrp12"))
            nodes.append(_toned(graph, look.curve))
            nodes.append(graph.add("setparams", "color_primaries=bt709:color_trc=bt709:colorspace=gbr:range=pc"))
            nodes.append(graph.add("scale", into))
        else:
            nodes.append(graph.add("scale", f"{size}:{into}{look.guessed}"))
        nodes.extend(graph.add(name, args or None) for name, args in self._turns)
        nodes.append(graph.add("format", f"pix_fmts={self._pixels}"))
        nodes.append(graph.add("setsar", "1"))
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes)
        graph.configure()
        return graph


def _toned(graph: Graph, curve: Curve) -> FilterContext:
    with tempfile.NamedTemporaryFile("w", suffix=".cube") as file:  # libav reads it here, and only here
        file.write(cube(curve))
        file.flush()
        return graph.add("lut3d", file=file.name, interp="tetrahedral")
