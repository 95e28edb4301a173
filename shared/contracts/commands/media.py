"""Commands that the media service handles."""

from typing import ClassVar

from shared.contracts.command import Command, command_table
from shared.contracts.cron import CronLine
from shared.contracts.retry import Exponential, RetryPolicy


class ProcessAsset(Command):
    """Make an asset's renditions in the CPU pool and report the result as an event."""

    task: ClassVar[str] = "media.process_asset"
    queue: ClassVar[str] = "media"
    timeout_s: ClassVar[float] = 60.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=1.0, cap_s=120.0, max_attempts=4)

    asset_id: str


class DeleteFiles(Command):
    """Delete the files of an asset that is deleted: accepted with that, so that a crash in between leaves none."""

    task: ClassVar[str] = "media.delete_files"
    queue: ClassVar[str] = "media"
    timeout_s: ClassVar[float] = 60.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=5.0, cap_s=3600.0, max_attempts=12)
    priority: ClassVar[int] = 7

    asset_id: str


class SweepFiles(Command):
    """Delete files that no row makes count: of uploads that were cut off, of attempts that were. `after`: a key."""

    task: ClassVar[str] = "media.sweep_files"
    queue: ClassVar[str] = "media"
    timeout_s: ClassVar[float] = 300.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=60.0, cap_s=600.0, max_attempts=3)
    priority: ClassVar[int] = 7
    schedule: ClassVar[tuple[CronLine, ...]] = (CronLine(cron="40 3 * * *"),)

    after: str | None = None


COMMANDS = command_table(ProcessAsset, DeleteFiles, SweepFiles)
