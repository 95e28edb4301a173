"""Memory for files on their way in: what all bodies together may hold of themselves in this process.

A bucket takes parts of some MiB, and what comes is held until a part is full and the bucket has it. Without a bound the
process would be killed for its memory, with everything that it was taking in. Invariant: the sum of what is promised
to bodies stays within `most_bytes`, and what one tenant has of it within three quarters, so that nobody takes it all.
Refuses a body that finds no room (Overloaded, 429) before a byte of it is read.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

from services.media.blobs import PART_BYTES, PARTS_AT_ONCE
from shared.kernel.errors import Overloaded

COPIES: Final = 2  # of a small body: as it comes, and in one piece
STREAM_BYTES: Final = (PARTS_AT_ONCE + 3) * PART_BYTES  # parts on their way, the next one, and what allocators keep
RETRY_AFTER_S: Final = 2


class Buffers:
    def __init__(self, most_bytes: int) -> None:
        self._most = max(most_bytes, STREAM_BYTES)
        self._most_of_one = max(self._most * 3 // 4, STREAM_BYTES)
        self._held: Counter[str] = Counter()  # by tenant

    @contextlib.contextmanager
    def one(self, tenant: str, declared_bytes: int | None) -> Iterator[None]:
        """Around what takes in a body of so many bytes (None: nobody has said). Raises Overloaded."""
        need = STREAM_BYTES if declared_bytes is None else min(COPIES * declared_bytes, STREAM_BYTES)
        if self._held.total() + need > self._most or self._held[tenant] + need > self._most_of_one:
            words = "too many files are on their way in here: send this one again"
            raise Overloaded(words, code="too_many_bodies", retry_after_s=RETRY_AFTER_S)
        self._held[tenant] += need
        try:
            yield
        finally:
            self._held[tenant] -= need
            if not self._held[tenant]:
                del self._held[tenant]
