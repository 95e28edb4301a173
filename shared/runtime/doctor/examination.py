"""The examination: every check side by side, each within its time; one that breaks is a finding of its own.

A service of this image adds its own by a `doctor` module with `async def examine(subject) -> list[Finding]`.
"""

import asyncio
import importlib
import importlib.util
import pkgutil
from collections.abc import Awaitable, Callable, Mapping

from shared.kernel.errors import HoldfastError
from shared.kernel.logs import masked
from shared.runtime.doctor import clocks, limits, postgres_server, processes, redis_server, schemas, sqlite_file
from shared.runtime.doctor.finding import Finding
from shared.runtime.doctor.subject import Subject

LIMIT_S = 20.0
Check = Callable[[Subject], Awaitable[list[Finding]]]
CHECKS: Mapping[str, Check] = {
    "postgres": postgres_server.examine,
    "sqlite": sqlite_file.examine,
    "schema": schemas.examine,
    "redis": redis_server.examine,
    "clock of the database": clocks.examine_database,
    "clock of Redis": clocks.examine_redis,
    "limits": limits.examine,
    "processes": processes.examine,
}
_FIXES = {"postgres": "HOLDFAST_DATABASE_URL", "redis": "HOLDFAST_REDIS_URL"}


def of_services() -> dict[str, Check]:
    """What the services of this image have to add."""
    package = importlib.util.find_spec("services")
    folders = package.submodule_search_locations or [] if package else []
    names = sorted(f"services.{module.name}.doctor" for module in pkgutil.iter_modules(folders))
    found = [name for name in names if importlib.util.find_spec(name)]
    return {name.split(".")[1]: importlib.import_module(name).examine for name in found}


async def examine(subject: Subject) -> list[Finding]:
    checks = {**CHECKS, **of_services()}
    every = await asyncio.gather(*(_held(name, check, subject) for name, check in checks.items()))
    return [finding for findings in every for finding in findings]


async def _held(name: str, check: Check, subject: Subject) -> list[Finding]:
    fix = f"see that it runs and that {_FIXES[name]} names it" if name in _FIXES else "look at the findings before it"
    try:
        async with asyncio.timeout(LIMIT_S):
            return await check(subject)
    except TimeoutError:
        return [Finding(name, "fail", f"no answer within {LIMIT_S:g} s", "an answer", fix)]
    except HoldfastError as wrong:
        return [Finding(name, "fail", wrong.message, "an answer", fix)]
    except Exception as error:
        words = masked(" ".join(str(getattr(error, "orig", None) or error).split()) or type(error).__name__)
        return [Finding(name, "fail", words, "an answer", fix)]
