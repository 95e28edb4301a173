"""PostgreSQL: durability, connections against pools, time limits, autovacuum, as Holdfast's own sessions find them."""

from collections.abc import Mapping
from typing import Any

from shared.db.engine import Database
from shared.db.server import read_load, read_settings
from shared.runtime.doctor.finding import Finding, Level, judged
from shared.runtime.doctor.subject import Subject

NAMES = (
    "server_version_num", "server_version", "fsync", "full_page_writes", "synchronous_commit",
    "synchronous_standby_names", "max_connections", "superuser_reserved_connections", "reserved_connections",
    "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout", "autovacuum",
    "track_counts", "default_transaction_read_only", "default_transaction_isolation", "server_encoding", "archive_mode",
)  # fmt: skip
OLDEST = 140_000
PER_POOL = 3  # the driver's pool, SQLAlchemy's, and as many again that SQLAlchemy may add
OWN = 3  # a beat's, a lock's or a migration's, one to spare
# The shortest limit (ms) that leaves the product working: a purge, an audit, a migration's index.
LEAST_MS = {
    "statement_timeout": 60_000,
    "lock_timeout": 10_000,
    "idle_in_transaction_session_timeout": 10_000,
    "transaction_timeout": 60_000,
}
OLD_TRANSACTION_S = 3_600.0


async def examine(subject: Subject) -> list[Finding]:
    if subject.settings.database_url.startswith("sqlite"):
        return []
    database = Database(subject.settings.database_url, pool=2)
    try:
        settings = await read_settings(database, NAMES)
        load = await read_load(database)
    finally:
        await database.close()
    return judge(settings, load, connections_of(subject.settings.db_pool, subject.processes), subject.processes)


def connections_of(pool: int, processes: int) -> int:
    """The most that so many processes open when every pool is full."""
    return processes * (PER_POOL * pool + OWN)


def judge(settings: Mapping[str, str], load: Mapping[str, Any], wanted: int, processes: int) -> list[Finding]:
    """Pure."""
    return [
        _version(settings), _durability(settings), _commits(settings), _connections(settings, load, wanted, processes),
        _timeouts(settings), _autovacuum(settings), _writable(settings, load), _text(settings), _archive(settings),
        _open_transactions(load),
    ]  # fmt: skip


def _version(settings: Mapping[str, str]) -> Finding:
    level: Level = "ok" if int(settings["server_version_num"]) >= OLDEST else "fail"
    wanted = "14 or later; 18 is what the tests run on"
    return judged("postgres version", level, settings["server_version"], wanted, "upgrade the server")


def _durability(settings: Mapping[str, str]) -> Finding:
    names = ("fsync", "full_page_writes")
    level: Level = "ok" if all(settings[name] == "on" for name in names) else "fail"
    found = ", ".join(f"{name} {settings[name]}" for name in names)
    fix = "turn them on and restart: without them a power cut loses or garbles what was committed"
    return judged("postgres durability", level, found, "both on", fix)


def _commits(settings: Mapping[str, str]) -> Finding:
    mode, standbys = settings["synchronous_commit"], settings.get("synchronous_standby_names", "")
    level: Level = "fail" if mode == "off" else "warn" if mode in ("local", "remote_write") and standbys else "ok"
    fix = "ALTER ROLE … SET synchronous_commit = on: what was accepted may be gone after a crash or a failover"
    return judged("postgres commits", level, f"synchronous_commit {mode}", "on (or remote_apply)", fix)


def _connections(settings: Mapping[str, str], load: Mapping[str, Any], wanted: int, processes: int) -> Finding:
    reserved = int(settings.get("superuser_reserved_connections", 3)) + int(settings.get("reserved_connections", 0))
    room = int(settings["max_connections"]) - reserved
    used = int(load["connections"])
    level: Level = "fail" if used > 0.9 * room else "warn" if wanted > room else "ok"
    found = f"{used} in use of {room}; {processes} processes may open {wanted}"
    fix = "raise max_connections, lower HOLDFAST_DB_POOL, or put a pooler in session mode between"
    return judged("postgres connections", level, found, "room for every pool of every process", fix)


def _timeouts(settings: Mapping[str, str]) -> Finding:
    short = [name for name, least in LEAST_MS.items() if 0 < int(settings.get(name, 0)) < least]
    found = ", ".join(f"{name} {int(settings[name]) / 1000:g} s" for name in (short or LEAST_MS) if name in settings)
    wanted = ", ".join(f"{name} ≥ {LEAST_MS[name] / 1000:g} s" for name in short) or "0 (none), or generous"
    fix = "ALTER ROLE … SET them to 0 or longer: purges, audits and migrations would be cut off again and again"
    return judged("postgres time limits", "warn" if short else "ok", found, wanted, fix)


def _autovacuum(settings: Mapping[str, str]) -> Finding:
    names = ("autovacuum", "track_counts")
    level: Level = "ok" if all(settings[name] == "on" for name in names) else "fail"
    found = ", ".join(f"{name} {settings[name]}" for name in names)
    return judged("postgres autovacuum", level, found, "both on", "turn them on: each job leaves dead row versions")


def _writable(settings: Mapping[str, str], load: Mapping[str, Any]) -> Finding:
    read_only = bool(load["in_recovery"]) or settings["default_transaction_read_only"] == "on"
    found = "a standby" if load["in_recovery"] else "read-only" if read_only else "takes writes"
    return judged("postgres role", "fail" if read_only else "ok", found, "takes writes", "name the primary in the URL")


def _text(settings: Mapping[str, str]) -> Finding:
    isolation, encoding = settings["default_transaction_isolation"], settings["server_encoding"]
    level: Level = "fail" if encoding != "UTF8" else "warn" if isolation != "read committed" else "ok"
    fix = "make the database with ENCODING UTF8, and leave default_transaction_isolation at read committed"
    return judged("postgres defaults", level, f"{encoding}, {isolation}", "UTF8, read committed", fix)


def _archive(settings: Mapping[str, str]) -> Finding:
    mode = settings.get("archive_mode", "off")
    fix = "archive the WAL (see docs/how-to/back-up-and-restore.md), or know what else streams it"
    level: Level = "warn" if mode == "off" else "ok"
    return judged("postgres archive", level, f"archive_mode {mode}", "on, for recovery to a point in time", fix)


def _open_transactions(load: Mapping[str, Any]) -> Finding:
    oldest_s = float(load["oldest_s"])
    level: Level = "warn" if oldest_s > OLD_TRANSACTION_S else "ok"
    found = f"the oldest is {oldest_s:,.0f} s old"
    fix = "end it (pg_stat_activity, xact_start): vacuum cannot remove what it may still see"
    return judged("postgres open transactions", level, found, "none for an hour", fix)
