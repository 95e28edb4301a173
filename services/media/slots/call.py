"""One call of `Pool.run`: what is sent to a slot, and the future that its caller awaits."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shared.kernel.errors import HoldfastError


@dataclass(eq=False)
class Call:
    """`verdict` is the error that the call will get because the pool itself ended its slot.

    `bulk`: what somebody waits for goes first.
    """

    id: int
    message: bytes
    timeout_s: float
    future: asyncio.Future[dict[str, Any]] = field(repr=False)
    verdict: HoldfastError | None = None
    given_back: int = 0
    bulk: bool = False
    on_progress: Callable[[float, str], None] | None = field(default=None, repr=False)

    def succeed(self, result: dict[str, Any]) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: HoldfastError) -> None:
        if not self.future.done():
            self.future.set_exception(error)
