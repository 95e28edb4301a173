"""Which schemas the code at hand needs, found by looking at what this image holds; waiting for them and watching them.

Apps ask the watch before every request, workers before every read, relays before every pass: a process whose code does
not fit the schema refuses work, and goes on when it fits again.
"""

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
FRESH_S = 2.0
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


class SchemaWatch:
    """The schema's problems, at most FRESH_S old; while all is well the look is taken in the background."""

    def __init__(self, database: Database, owners: Sequence[Owner]) -> None:
        self._database = database
        self._owners = owners
        self._problems: list[str] | None = None
        self._seen_s = 0.0
        self._look: asyncio.Task[list[str]] | None = None

    async def problems(self) -> list[str]:
        """Raises the database's error when it cannot be asked and has not been asked before."""
        fresh = self._database.clock.monotonic_s() - self._seen_s < FRESH_S
        if self._problems is not None and fresh:
            return self._problems
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._read(), name="schema-watch")
            self._look.add_done_callback(_told)
        if self._problems == []:
            return []
        return await asyncio.shield(self._look)

    async def _read(self) -> list[str]:
        problems = await schema_problems(self._database, self._owners)
        if problems and problems != self._problems:
            log.error("schema_refused", problems=problems)
        self._problems, self._seen_s = problems, self._database.clock.monotonic_s()
        return problems

    async def close(self) -> None:
        if self._look is not None and not self._look.done():
            self._look.cancel()
            await asyncio.wait({self._look})


def _told(look: "asyncio.Task[list[str]]") -> None:
    if not look.cancelled() and look.exception() is not None:
        log.debug("schema_look_failed", error=repr(look.exception()))
