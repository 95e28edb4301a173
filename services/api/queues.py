"""Which queues there are: those of the services, and any other whose tasks a worker has ever served."""

from shared.contracts.commands import QUEUES
from shared.db.reading import looking
from shared.db.sql import Connection
from shared.kernel.errors import NotFound
from shared.ledger.store_served import served_queues
from shared.runtime.resources import Resources


async def known_queues(connection: Connection) -> list[str]:
    """By name."""
    return sorted({*QUEUES, *await served_queues(connection)})


async def check_queue(resources: Resources, name: str) -> str:
    """The name, when there is such a queue. Raises NotFound, with those that there are."""
    if name in QUEUES:
        return name
    async with looking(resources.database) as connection:
        known = await known_queues(connection)
    if name not in known:
        raise NotFound(f"there is no queue {name[:100]}", known=known)
    return name
