"""One module a question; each has `run(stage, scale, kind, step)` and ends by itself."""

from collections.abc import Awaitable, Callable

from bench.figures import Outcome
from bench.scale import Scale
from bench.stage import Kind, Stage

Step = Callable[[str], None]  # called when something begins: for the progress bar
Run = Callable[[Stage, Scale, Kind, Step], Awaitable[Outcome]]
