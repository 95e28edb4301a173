"""The schemas of all owners that this image holds, against what its code works with and what it could bring."""

from shared.db.engine import Database, sqlite_path
from shared.db.migrate import Owner, Version, judge, read_versions
from shared.runtime.doctor.finding import Finding, judged
from shared.runtime.doctor.subject import Subject
from shared.runtime.schema import owners

FIX = "run the migrations: `holdfast migrate`, or `python -m shared.runtime.migrate` in an image"


async def examine(subject: Subject) -> list[Finding]:
    url = subject.settings.database_url
    every = owners()
    if url.startswith("sqlite") and not sqlite_path(url).exists():  # a look must not make the file
        return [of_owner(owner, Version(None, None)) for owner in every]
    database = Database(url, pool=2)
    try:
        found = await read_versions(database, every)
    finally:
        await database.close()
    return [of_owner(owner, found[owner.name]) for owner in every]


def of_owner(owner: Owner, found: Version) -> Finding:
    """Pure."""
    check, wanted = f"schema {owner.name}", f"{owner.newest:04d}"
    if problem := judge(owner, found):
        return Finding(check, "fail", problem.partition(": ")[0], wanted, _fix(owner, found))
    behind = int(found.number or 0) < owner.newest
    newer = int(found.number or 0) > owner.newest
    words = f"{found.number}, of newer code that leaves this one working" if newer else str(found.number)
    return judged(check, "warn" if behind else "ok", words, wanted, FIX)


def _fix(owner: Owner, found: Version) -> str:
    newer = found.number is not None and int(found.number) > owner.newest
    return "deploy the code that made it: this code is left behind" if newer else FIX
