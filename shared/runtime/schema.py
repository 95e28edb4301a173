"""Which schemas the code at hand needs, found by looking at what this image holds, and waiting until they are there."""

import asyncio
import importlib
import importlib.util
import pkgutil
from collections.abc import Sequence
from pathlib import Path

from shared.db.engine import Database
from shared.db.migrate import Owner, schema_problems
from shared.kernel.logs import get_logger
from shared.ledger.schema import LEDGER
from shared.runtime.heartbeat import touch
from shared.runtime.lifecycle import pause

WAIT_S = 1.0
log = get_logger(__name__)


def owners() -> list[Owner]:
    """The ledger, and each service of this image that has a `schema` module naming its `OWNER`."""
    package = importlib.util.find_spec("services")
    folders = package.submodule_search_locations or [] if package else []
    return owners_of(*sorted(module.name for module in pkgutil.iter_modules(folders)))


def owners_of(*services: str) -> list[Owner]:
    """The ledger and these services, as far as they own a schema: what a worker of one of them needs."""
    names = [f"services.{service}.schema" for service in services]
    found = [
        name for name in names if importlib.util.find_spec(name.rpartition(".")[0]) and importlib.util.find_spec(name)
    ]
    return [LEDGER, *(importlib.import_module(name).OWNER for name in found)]


async def wait_for_schema(
    database: Database, stop: asyncio.Event, state_dir: Path, needed: Sequence[Owner] = (LEDGER,)
) -> bool:
    """True once the schema is in the code's range; False when told to stop first. Work is refused meanwhile.

    The process is alive while it waits, and its heartbeat file says so: a restart would not bring the schema.
    """
    told: list[str] = []
    while not stop.is_set():
        touch(state_dir)
        try:
            problems = await schema_problems(database, needed)
        except Exception as error:
            problems = [f"the database does not answer: {error!r}"]
        if not problems:
            return True
        if problems != told:
            log.warning("schema_refused", problems=problems)
            told = problems
        await pause(WAIT_S, stop)
    return False
