"""Lanes as data: how much of one kind of work may be under way at once, how fast it may start, and in which order."""

from pydantic import BaseModel, ConfigDict, Field


class LanePolicy(BaseModel):
    """Limits of every lane of a command; a lane's own row in the ledger takes their place."""

    model_config = ConfigDict(frozen=True)

    concurrency: int | None = Field(None, ge=1, le=100_000)  # jobs dispatched or running
    rate_per_s: float | None = Field(None, gt=0, le=100_000)  # starts, as a token bucket of `burst` tokens
    burst: int = Field(1, ge=1, le=100_000)
    ordered: bool = False  # one at a time, oldest first; a retrying head blocks, a dead or cancelled one does not

    @property
    def limit(self) -> int | None:
        return 1 if self.ordered else self.concurrency


FREE = LanePolicy()
