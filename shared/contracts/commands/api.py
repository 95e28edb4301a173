"""Commands that the api service handles."""

from typing import ClassVar

from shared.contracts.command import Command, command_table
from shared.contracts.cron import CronLine
from shared.contracts.retry import ONCE, Exponential, RetryPolicy


class SendWelcomeEmail(Command):
    """One message to a new user; its Message-ID derives from the job id, so a repeat is recognisable."""

    task: ClassVar[str] = "email.send_welcome"
    queue: ClassVar[str] = "api"
    timeout_s: ClassVar[float] = 30.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=2.0, cap_s=600.0, max_attempts=12)

    user_id: str
    email: str
    name: str


class PurgeHistory(Command):
    """Delete what retention allows, in bounded batches; an hour that nobody was there for is made up for once."""

    task: ClassVar[str] = "upkeep.purge_history"
    queue: ClassVar[str] = "api"
    timeout_s: ClassVar[float] = 120.0
    retry: ClassVar[RetryPolicy] = ONCE
    schedule: ClassVar[tuple[CronLine, ...]] = (CronLine(cron="@hourly"),)


COMMANDS = command_table(SendWelcomeEmail, PurgeHistory)
