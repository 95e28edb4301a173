"""One module of command classes for each service that handles them; `ALL` is the union, by task name.

A queue is named after its service; one that a service has beside it is `<service>-<part>`.
"""

from shared.contracts.command import Command
from shared.contracts.commands import api, media, webhooks

ALL: dict[str, type[Command]] = {**api.COMMANDS, **webhooks.COMMANDS, **media.COMMANDS}
QUEUES: tuple[str, ...] = tuple(sorted({command.queue for command in ALL.values()}))


def service_of(queue: str) -> str:
    """Whose commands these are: of `media` and of `media-bulk`, media."""
    return queue.partition("-")[0]
