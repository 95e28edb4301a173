"""Commands that the media service handles."""

from typing import ClassVar

from shared.contracts.command import Command, command_table
from shared.contracts.cron import CronLine
from shared.contracts.lane import LanePolicy
from shared.contracts.retry import ONCE, Exponential, RetryPolicy

BRINGING = LanePolicy(concurrency=2, grouped=True)
"""Of `bring:<tenant>`: so many at once of one tenant. They wait for networks and disks, and pictures that somebody
waits for must find room in the same worker: of all tenants together each process runs BRINGS_MOST."""
BRINGS_MOST = 4


class ProcessAsset(Command):
    """Make the renditions of a picture that somebody waits for, and report the result as an event."""

    task: ClassVar[str] = "media.process_asset"
    queue: ClassVar[str] = "media"
    timeout_s: ClassVar[float] = 60.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=1.0, cap_s=120.0, max_attempts=4)
    editable: ClassVar[bool] = False

    asset_id: str


class ProcessInBulk(Command):
    """The same for what nobody waits for, and for films and sounds, which take minutes: in slots of their own."""

    task: ClassVar[str] = "media.process_in_bulk"
    queue: ClassVar[str] = "media-bulk"
    timeout_s: ClassVar[float] = 3_600.0  # of the longest kind; each kind has its own
    retry: ClassVar[RetryPolicy] = Exponential(base_s=1.0, cap_s=120.0, max_attempts=4)
    priority: ClassVar[int] = 6
    editable: ClassVar[bool] = False

    asset_id: str


class DeleteFiles(Command):
    """Delete the files of an asset that is deleted: accepted with that, so that a crash in between leaves none."""

    task: ClassVar[str] = "media.delete_files"
    queue: ClassVar[str] = "media"
    timeout_s: ClassVar[float] = 60.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=5.0, cap_s=3600.0, max_attempts=12)
    priority: ClassVar[int] = 7
    editable: ClassVar[bool] = False

    asset_id: str
    folders: tuple[str, ...] = ()  # besides the asset's own: its source's, when no other asset has that, its upload's


class DeleteRenditions(Command):
    """Delete renditions in whose place newer ones have come, once nobody reads them any more."""

    task: ClassVar[str] = "media.delete_renditions"
    queue: ClassVar[str] = "media"
    timeout_s: ClassVar[float] = 60.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=5.0, cap_s=3600.0, max_attempts=12)
    priority: ClassVar[int] = 7
    editable: ClassVar[bool] = False

    asset_id: str
    keys: tuple[str, ...]


class SweepFiles(Command):
    """Delete files that no row makes count: of uploads that were cut off, of attempts that were. `after`: a folder."""

    task: ClassVar[str] = "media.sweep_files"
    queue: ClassVar[str] = "media"
    timeout_s: ClassVar[float] = 300.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=60.0, cap_s=600.0, max_attempts=3)
    priority: ClassVar[int] = 7
    schedule: ClassVar[tuple[CronLine, ...]] = (CronLine(cron="40 3 * * *"),)
    editable: ClassVar[bool] = False

    after: str | None = None
    root: str = "assets"


class AssembleUpload(Command):
    """Put the parts of a complete upload together as an asset's source, and have it processed."""

    task: ClassVar[str] = "media.assemble_upload"
    queue: ClassVar[str] = "media"
    timeout_s: ClassVar[float] = 900.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=2.0, cap_s=300.0, max_attempts=6)
    lanes: ClassVar[LanePolicy] = BRINGING
    editable: ClassVar[bool] = False

    asset_id: str
    upload_id: str


class FetchAsset(Command):
    """Fetch an asset's source from where its URL says, and have it processed."""

    task: ClassVar[str] = "media.fetch_asset"
    queue: ClassVar[str] = "media"
    timeout_s: ClassVar[float] = 900.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=5.0, cap_s=600.0, max_attempts=5)
    lanes: ClassVar[LanePolicy] = BRINGING
    editable: ClassVar[bool] = False

    asset_id: str
    url: str


class ExpireUploads(Command):
    """Delete uploads that were not completed in time. `at` and `after` say where an earlier run has ended."""

    task: ClassVar[str] = "media.expire_uploads"
    queue: ClassVar[str] = "media"
    timeout_s: ClassVar[float] = 300.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=60.0, cap_s=600.0, max_attempts=3)
    priority: ClassVar[int] = 7
    schedule: ClassVar[tuple[CronLine, ...]] = (CronLine(cron="10 * * * *"),)
    editable: ClassVar[bool] = False

    at: str | None = None
    after: tuple[str | int, ...] | None = None


class TellOfDead(Command):
    """Give assets whose job the ledger itself has ended, in the last `hours`, their error and the event of it."""

    task: ClassVar[str] = "media.tell_of_dead"
    queue: ClassVar[str] = "media"
    timeout_s: ClassVar[float] = 60.0
    retry: ClassVar[RetryPolicy] = ONCE
    priority: ClassVar[int] = 7
    schedule: ClassVar[tuple[CronLine, ...]] = (
        CronLine(cron="* * * * *"),
        CronLine(cron="25 4 * * *", name="nightly", args={"hours": 168}),
    )
    editable: ClassVar[bool] = False

    hours: int = 1


COMMANDS = command_table(
    AssembleUpload,
    FetchAsset,
    ExpireUploads,
    ProcessAsset,
    ProcessInBulk,
    DeleteFiles,
    DeleteRenditions,
    SweepFiles,
    TellOfDead,
)
