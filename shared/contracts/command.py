"""A command: a message that asks one service to do one thing, with its queue, time limit and retry policy on the class.

An enqueuer and the relay read these class attributes; only the owning service has the handler. Fields that a newer
sender added are ignored by an older worker; missing or ill-typed ones end in the dead letters (`unreadable_args`).
"""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from shared.contracts.lane import FREE, LanePolicy
from shared.contracts.retry import Exponential, RetryPolicy

PRIORITIES = 10  # 0 is served first
NORMAL_PRIORITY = 5


class Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    task: ClassVar[str]
    queue: ClassVar[str]
    timeout_s: ClassVar[float] = 60.0
    retry: ClassVar[RetryPolicy] = Exponential()
    priority: ClassVar[int] = NORMAL_PRIORITY
    lanes: ClassVar[LanePolicy] = FREE  # of each lane that its jobs are given


def command_table(*commands: type[Command]) -> dict[str, type[Command]]:
    """Name → class; a name that stands twice is a defect of the caller."""
    table: dict[str, type[Command]] = {}
    for command in commands:
        if command.task in table:
            raise ValueError(f"two commands are named {command.task}")
        table[command.task] = command
    return table
