"""What running attempts write, pure: text becomes numbered chunks, in order, at a pace, and none is lost or doubled.

A chunk that was once formed keeps its number and its text until it is known to be in the ledger, so a write whose
answer was lost is simply made again. Text is freed of what a database refuses. How much one attempt may write is
bounded by OUTPUT_LIMIT_BYTES; the next attempt starts anew.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from shared.ledger.progress import Key

OUTPUT_LIMIT_BYTES = 256 * 1024  # of one attempt, as UTF-8
CHUNK_LIMIT_CHARS = 8 * 1024
PACE_S = 0.2  # between two writes of one attempt's output


@dataclass(frozen=True, slots=True)
class Chunk:
    """`number` counts from 1, `offset` is how many characters of the attempt's text stand before it."""

    number: int
    offset: int
    text: str


@dataclass(slots=True)
class _Flow:
    """One attempt's: `pending` is no chunk yet, `formed` are chunks that are not known to be written."""

    pending: list[str] = field(default_factory=list)
    formed: list[Chunk] = field(default_factory=list)
    numbers: int = 0
    offset: int = 0
    written_s: float = -math.inf

    def form(self) -> None:
        text = "".join(self.pending)
        self.pending.clear()
        for start in range(0, len(text), CHUNK_LIMIT_CHARS):
            piece = text[start : start + CHUNK_LIMIT_CHARS]
            self.numbers += 1
            self.formed.append(Chunk(self.numbers, self.offset, piece))
            self.offset += len(piece)


class Outflow:
    """What waits to be written, of every attempt of a process."""

    def __init__(self, pace_s: float = PACE_S) -> None:
        self._pace_s = pace_s
        self._flows: dict[Key, _Flow] = {}

    def put(self, key: Key, text: str) -> None:
        if text:
            self._flows.setdefault(key, _Flow()).pending.append(text)

    def due(self, now_s: float) -> list[tuple[Key, tuple[Chunk, ...]]]:
        """What may be written now, in the order of the jobs' ids, so that two writers lock rows in one order."""
        found = []
        for key in sorted(self._waiting()):
            flow = self._flows[key]
            if flow.written_s + self._pace_s <= now_s:
                flow.form()
                flow.written_s = now_s
                found.append((key, tuple(flow.formed)))
        return found

    def written(self, key: Key, chunks: Iterable[Chunk]) -> None:
        """These are in the ledger."""
        flow = self._flows.get(key)
        if flow is not None:
            last = max(chunk.number for chunk in chunks)
            flow.formed = [chunk for chunk in flow.formed if chunk.number > last]

    def rest(self, key: Key) -> tuple[Chunk, ...]:
        """All of this attempt's that is not known to be in the ledger; one of them may be on its way."""
        flow = self._flows.get(key)
        if flow is None:
            return ()
        flow.form()
        return tuple(flow.formed)

    def forget(self, key: Key) -> tuple[Chunk, ...]:
        """The attempt has ended: what of it was still to be written."""
        rest = self.rest(key)
        self._flows.pop(key, None)
        return rest

    def next_s(self) -> float | None:
        """When the next one is due; None when nothing waits."""
        return min((self._flows[key].written_s + self._pace_s for key in self._waiting()), default=None)

    def __len__(self) -> int:
        return len(self._flows)

    def _waiting(self) -> list[Key]:
        return [key for key, flow in self._flows.items() if flow.pending or flow.formed]
