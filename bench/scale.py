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
    contest: int  # jobs of each contestant
    burden: int  # jobs of each contestant under a burden
    backlog: int  # that wait beside those
    lanes: int
    idle_s: float
    past_jobs: int = 1_000_000  # of a day, that have ended
    past_attempts: int = 3_000_000  # of a fortnight


def scale(*, rounds: int, quick: bool) -> Scale:
    if quick:
        return Scale(
            rounds, 2_000, 5_000, 4_000, 3.0, 100_000, 30_000, 5_000, 2_000, 1_000, 20_000, 1_000, 4.0, 100_000, 300_000
        )
    return Scale(rounds, 5_000, 10_000, 8_000, 8.0, 1_000_000, 300_000, 10_000, 5_000, 5_000, 200_000, 10_000, 6.0)
