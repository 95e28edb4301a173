"""How much of everything: full for published figures, quick to see whether they move."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    rounds: int
    deliveries: int = 5_000
    noops: int = 10_000
    accepts: int = 8_000
    open_loop_s: float = 6.0
    waiting: int = 1_000_000
    dead_rows: int = 300_000
    flat_jobs: int = 10_000
    contest: int = 10_000  # jobs of each contestant; half as many for the slow ones
    burden: int = 5_000  # jobs of each contestant under a burden
    backlog: int = 200_000  # that wait beside those
    lanes: int = 10_000
    idle_s: float = 5.0
    past_jobs: int = 1_000_000  # of a day, that have ended
    past_attempts: int = 3_000_000  # of a fortnight
    pictures: int = 120  # of 12 megapixels, of each contestant
    slot_kills: int = 200


def scale(*, rounds: int, quick: bool) -> Scale:
    if not quick:
        return Scale(rounds)
    return Scale(
        rounds, deliveries=2_000, noops=5_000, accepts=4_000, open_loop_s=3.0, waiting=100_000, dead_rows=30_000,
        flat_jobs=5_000, contest=4_000, burden=3_000, backlog=20_000, lanes=1_000, idle_s=4.0, past_jobs=100_000,
        past_attempts=300_000, pictures=8, slot_kills=15,
    )  # fmt: skip
