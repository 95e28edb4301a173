"""A command: a message that asks one service to do one thing, with its queue, time limit and retry policy on the class.

An enqueuer and the relay read these class attributes; only the owning service has the handler. Fields that a newer
sender added are ignored by an older worker; missing or ill-typed ones end in the dead letters (`unreadable_args`).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from shared.contracts.cron import CronLine, as_line
from shared.contracts.lane import FREE, LanePolicy
from shared.contracts.retry import Exponential, RetryPolicy
from shared.contracts.unique import Unique

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
    schedule: ClassVar[tuple[CronLine | Mapping[str, Any], ...]] = ()  # when it runs by itself
    unique: ClassVar[Unique | None] = None  # unless the enqueue says otherwise
    editable: ClassVar[bool] = True  # whoever runs a job again may change its arguments; not where they name things of
    # a service's own, as keys of files: its handler trusts that the service named them


def command_table(*commands: type[Command]) -> dict[str, type[Command]]:
    """Name → class; a name that stands twice, or a schedule that cannot be, is a defect of the caller."""
    table: dict[str, type[Command]] = {}
    for command in commands:
        if command.task in table:
            raise ValueError(f"two commands are named {command.task}")
        table[command.task] = command
        schedules_of(command)
    return table


def schedules_of(command: type[Command]) -> dict[str, CronLine]:
    """Id → line: the task's name, with `:` and the line's name if it has one. Raises ValueError."""
    found: dict[str, CronLine] = {}
    for given in command.schedule:
        line = as_line(given)
        schedule_id = f"{command.task}:{line.name}" if line.name else command.task
        if schedule_id in found:
            raise ValueError(f"{command.task} has two schedules of one name: name them (schedule_id in a label)")
        command.model_validate(line.args)
        found[schedule_id] = line
    return found
