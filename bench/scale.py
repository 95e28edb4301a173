"""How much of everything: full for published figures, quick to see whether they move."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    rounds: int
    deliveries: int
    noops: int
    accepts: int
    open_loop_s: float
    waiting: int
    dead_rows: int
    flat_jobs: int


def scale(*, rounds: int, quick: bool) -> Scale:
    if quick:
        return Scale(rounds, 2_000, 5_000, 4_000, 3.0, 100_000, 30_000, 5_000)
    return Scale(rounds, 5_000, 10_000, 8_000, 8.0, 1_000_000, 300_000, 10_000)
