"""Commands that the api service handles."""

from typing import ClassVar

from shared.contracts.command import Command, command_table
from shared.contracts.cron import CronLine
from shared.contracts.lane import LanePolicy
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
    """Delete what retention allows, in bounded batches; an hour that nobody was there for is made up for once.

    A run that is out of time, or whose process is to end, leaves the rest to another: `at` is its table, `after` the
    last key that was looked at.
    """

    task: ClassVar[str] = "upkeep.purge_history"
    queue: ClassVar[str] = "api"
    timeout_s: ClassVar[float] = 120.0
    retry: ClassVar[RetryPolicy] = ONCE
    schedule: ClassVar[tuple[CronLine, ...]] = (CronLine(cron="@hourly"),)
    editable: ClassVar[bool] = False

    at: str | None = None
    after: tuple[str | int, ...] | None = None


class CountHours(Command):
    """Count what has ended, by hour, tenant and task; it finds by itself which hours nobody has counted yet."""

    task: ClassVar[str] = "stats.count_hours"
    queue: ClassVar[str] = "api"
    timeout_s: ClassVar[float] = 120.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=10.0, cap_s=300.0, max_attempts=5)
    schedule: ClassVar[tuple[CronLine, ...]] = (CronLine(cron="5 * * * *"),)


class SyncFeed(Command):
    """Read the configured feed on from where it was read last; without one, nothing."""

    task: ClassVar[str] = "sync.read_feed"
    queue: ClassVar[str] = "api"
    timeout_s: ClassVar[float] = 600.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=5.0, cap_s=300.0, max_attempts=6)
    priority: ClassVar[int] = 6
    schedule: ClassVar[tuple[CronLine, ...]] = (CronLine(cron="*/15 * * * *"),)


class RetryRest(Command):
    """Once every canary has completed, retry the other dead letters that were meant; stop when one has not.

    Which are meant: `ids`, or what matches `of_task`, `of_queue` and `fingerprint`, in the tenant of the job; of them
    those that had died until `until_us` (µs). It waits until `wait_until_us`, looking again ever more rarely.
    """

    task: ClassVar[str] = "dead.retry_rest"
    queue: ClassVar[str] = "api"
    timeout_s: ClassVar[float] = 600.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=0.5, cap_s=60.0, max_attempts=100)
    editable: ClassVar[bool] = False

    canaries: tuple[str, ...]
    ids: tuple[str, ...] | None = None
    of_task: str | None = None
    of_queue: str | None = None
    fingerprint: str | None = None
    until_us: int
    wait_until_us: int


class CompletePrompt(Command):
    """Ask the configured language model; the answer is the job's output while it comes, and its result at the end."""

    task: ClassVar[str] = "llm.complete_prompt"
    queue: ClassVar[str] = "api"
    timeout_s: ClassVar[float] = 600.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=2.0, cap_s=120.0, max_attempts=6)
    priority: ClassVar[int] = 4
    # Of one tenant: calls last for minutes, and must leave the queue's other jobs their slots.
    lanes: ClassVar[LanePolicy] = LanePolicy(concurrency=10)

    prompt: str
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None


COMMANDS = command_table(SendWelcomeEmail, PurgeHistory, CountHours, SyncFeed, RetryRest, CompletePrompt)
