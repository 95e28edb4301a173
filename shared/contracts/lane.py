"""Lanes as data: how much of one kind of work may be under way at once, how fast it may start, and in which order."""

from math import ceil

from pydantic import BaseModel, ConfigDict, Field

from shared.kernel.clock import SECOND_US

NAME_MOST_CHARS = 200
RATE_LEAST = 0.00001
"""About one a day: with the largest burst, the instant of the next token is one that can be written down."""


class LanePolicy(BaseModel):
    """Limits of every lane of a command; a lane's own row in the ledger takes their place."""

    model_config = ConfigDict(frozen=True)

    concurrency: int | None = Field(None, ge=1, le=100_000)  # jobs dispatched or running
    rate_per_s: float | None = Field(None, ge=RATE_LEAST, le=100_000)  # starts, as a token bucket of `burst` tokens
    burst: int = Field(1, ge=1, le=100_000)
    ordered: bool = False  # one at a time, oldest first; a retrying head blocks, a dead or cancelled one does not
    grouped: bool = Field(False, exclude=True)  # of a command: its lanes named `a:b` stand in the lane `a` together

    @property
    def limit(self) -> int | None:
        return 1 if self.ordered else self.concurrency

    @property
    def interval_us(self) -> int:
        """Between two tokens; rounded up, so that no window holds more than the rate allows. 0 without a rate."""
        return ceil(SECOND_US / self.rate_per_s) if self.rate_per_s else 0

    def opens_at(self, tat: int) -> int:
        """When the next token is there, in µs; what is past is there now. 0 without a rate."""
        return tat - (self.burst - 1) * self.interval_us if self.rate_per_s else 0

    def bounded(self, tat: int, now_us: int) -> int:
        """`tat` as it can be under this policy: a slower rate or another clock may have left it further ahead."""
        return min(tat, now_us + self.burst * self.interval_us) if self.rate_per_s else tat

    def tokens(self, tat: int, now_us: int) -> int | None:
        """How many jobs may start at once; None without a rate."""
        if self.rate_per_s is None:
            return None
        return max(0, min(self.burst, 1 + (now_us - self.opens_at(tat)) // self.interval_us))


FREE = LanePolicy()


def group_of(name: str) -> str | None:
    """The lane that one of a grouped command stands in, by its name; None when it stands alone."""
    group, mark, _ = name.partition(":")
    return group if mark and group else None


def is_lane_name(text: str) -> bool:
    """1 to 200 printable characters, of which none is `/`: it parts the keys of the line, and the segments of a path.

    `.` and `..` are none, because clients resolve them in paths.
    """
    return 1 <= len(text) <= NAME_MOST_CHARS and text.isprintable() and "/" not in text and text not in (".", "..")
