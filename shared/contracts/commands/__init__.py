"""One module of command classes for each service that handles them; `ALL` is the union, by task name."""

from shared.contracts.command import Command
from shared.contracts.commands import api, media, webhooks

ALL: dict[str, type[Command]] = {**api.COMMANDS, **webhooks.COMMANDS, **media.COMMANDS}
QUEUES: tuple[str, ...] = tuple(sorted({command.queue for command in ALL.values()}))
