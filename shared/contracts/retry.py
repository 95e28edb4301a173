"""Retry policies as data: they stand on the command class, so an enqueuer and the relay need no implementation."""

import random
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Delay = Annotated[float, Field(ge=0, le=7 * 86_400)]
Uniform = Callable[[float, float], float]


class Schedule(BaseModel):
    """Explicit delays: the n-th retry waits `delays_s[n-1]`, stretched by up to `jitter` of itself either way."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["schedule"] = "schedule"
    delays_s: tuple[Delay, ...] = Field(max_length=50)
    jitter: float = Field(0.0, ge=0, le=0.5)

    @property
    def max_attempts(self) -> int:
        return len(self.delays_s) + 1

    def delay_s(self, attempt: int, uniform: Uniform = random.uniform) -> float:
        """Seconds to wait after the failed attempt number `attempt` (from 1); past the end, the last delay."""
        base = self.delays_s[min(attempt, len(self.delays_s)) - 1] if self.delays_s else 0.0
        return base * uniform(1 - self.jitter, 1 + self.jitter) if self.jitter else base


class Exponential(BaseModel):
    """Full jitter: uniform from 0 to `min(cap_s, base_s * 2**(n-1))`, so that failures do not come back together."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["exponential"] = "exponential"
    base_s: float = Field(1.0, gt=0, le=3600)
    cap_s: float = Field(600.0, gt=0, le=86_400)
    max_attempts: int = Field(8, ge=1, le=100)

    def delay_s(self, attempt: int, uniform: Uniform = random.uniform) -> float:
        return uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 40)))


RetryPolicy = Schedule | Exponential
ONCE = Schedule(delays_s=())
