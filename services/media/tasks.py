"""The handlers of the media service, and TASKS, which binds them to their commands."""

from collections.abc import Callable
from typing import Any

from services.media import aftermath, bringing, upkeep
from services.media.deps import TheirBlobs, TheirPool, TheirResources, TheirSettings, ThisAttempt
from services.media.processing import process
from shared.contracts.command import Command
from shared.contracts.commands.media import DeleteRenditions, ProcessAsset, ProcessInBulk, TellOfDead
from shared.kernel.clock import SECOND_US


async def process_asset(
    command: ProcessAsset,
    attempt: ThisAttempt,
    resources: TheirResources,
    blobs: TheirBlobs,
    pool: TheirPool,
    settings: TheirSettings,
) -> None:
    await process(attempt, command.asset_id, resources.database, blobs, pool, settings)


async def process_in_bulk(
    command: ProcessInBulk,
    attempt: ThisAttempt,
    resources: TheirResources,
    blobs: TheirBlobs,
    pool: TheirPool,
    settings: TheirSettings,
) -> None:
    await process(attempt, command.asset_id, resources.database, blobs, pool, settings)


async def delete_renditions(command: DeleteRenditions, blobs: TheirBlobs) -> dict[str, int]:
    await blobs.remove(command.keys)
    return {"files": len(command.keys)}


async def tell_of_dead(command: TellOfDead, resources: TheirResources) -> dict[str, int]:
    since_us = resources.database.clock.now_us() - command.hours * 3600 * SECOND_US
    return {"assets": await aftermath.tell_of_dead(resources, since_us)}


TASKS: dict[type[Command], Callable[..., Any]] = {
    ProcessAsset: process_asset,
    ProcessInBulk: process_in_bulk,
    DeleteRenditions: delete_renditions,
    TellOfDead: tell_of_dead,
    **bringing.HANDLERS,
    **upkeep.HANDLERS,
}
