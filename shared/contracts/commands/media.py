"""Commands that the media service handles."""

from typing import ClassVar

from shared.contracts.command import Command, command_table
from shared.contracts.retry import Exponential, RetryPolicy


class ProcessAsset(Command):
    """Make an asset's renditions in the CPU pool and report the result as an event."""

    task: ClassVar[str] = "media.process_asset"
    queue: ClassVar[str] = "media"
    timeout_s: ClassVar[float] = 60.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=1.0, cap_s=120.0, max_attempts=4)

    asset_id: str


COMMANDS = command_table(ProcessAsset)
