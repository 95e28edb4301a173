"""The doctor's judgement, without servers: every bound has two sides, and a finding that is not ok says what to do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.doctor import judge_room as judge_media_room
from services.media.settings import MediaSettings
from services.webhooks.doctor import judge as judge_key
from shared.db.migrate import Version
from shared.kernel.settings import CoreSettings
from shared.ledger.schema import LEDGER
from shared.runtime.doctor import clocks, limits, postgres_server, processes, redis_server, sqlite_file
from shared.runtime.doctor.examination import examine, of_services
from shared.runtime.doctor.finding import Finding, document, exit_code, size, worst
from shared.runtime.doctor.schemas import of_owner
from shared.runtime.doctor.subject import Subject

REDIS = {
    "redis_version": "7.2.4", "role": "master", "aof_enabled": 1, "aof_last_write_status": "ok",
    "maxmemory_policy": "noeviction", "maxmemory": 0, "used_memory": 5_000_000,
}  # fmt: skip
POSTGRES = {
    "server_version_num": "180001", "server_version": "18.1", "fsync": "on", "full_page_writes": "on",
    "synchronous_commit": "on", "synchronous_standby_names": "", "max_connections": "400",
    "superuser_reserved_connections": "3", "statement_timeout": "0", "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0", "autovacuum": "on", "track_counts": "on",
    "default_transaction_read_only": "off", "default_transaction_isolation": "read committed",
    "server_encoding": "UTF8", "archive_mode": "on",
}  # fmt: skip
LOAD = {"connections": 12, "in_recovery": False, "oldest_s": 0.5}


def levels(findings: list[Finding]) -> dict[str, str]:
    assert all(bool(finding.fix) == (finding.level != "ok") for finding in findings), "what is not ok says what to do"
    return {finding.check: finding.level for finding in findings if finding.level != "ok"}


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({}, {}),
        ({"redis_version": "6.2.14"}, {"redis version": "warn"}),
        ({"redis_version": "6.0.9"}, {"redis version": "fail"}),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.1"}, {}),
        ({"role": "slave"}, {"redis role": "fail"}),
        ({"cluster_enabled": 1}, {"redis role": "fail"}),
        ({"aof_enabled": 0}, {"redis persistence": "warn"}),
        ({"aof_last_write_status": "err"}, {"redis persistence": "fail"}),
        ({"maxmemory_policy": "allkeys-lru"}, {"redis eviction": "warn"}),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 10**9}, {"redis eviction": "fail"}),
        ({"maxmemory": 6_000_000}, {"redis memory": "warn"}),
        ({"maxmemory": 5_000_001}, {"redis memory": "fail"}),
    ],
)
def test_redis(changed: dict[str, Any], wrong: dict[str, str]) -> None:
    assert levels(redis_server.judge({**REDIS, **changed})) == wrong


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({}, {}),
        ({"server_version_num": "130012"}, {"postgres version": "fail"}),
        ({"fsync": "off"}, {"postgres durability": "fail"}),
        ({"full_page_writes": "off"}, {"postgres durability": "fail"}),
        ({"synchronous_commit": "off"}, {"postgres commits": "fail"}),
        ({"synchronous_commit": "local"}, {}),
        ({"synchronous_commit": "local", "synchronous_standby_names": "b"}, {"postgres commits": "warn"}),
        ({"max_connections": "100"}, {"postgres connections": "warn"}),
        ({"max_connections": "15"}, {"postgres connections": "fail"}),
        ({"statement_timeout": "5000"}, {"postgres time limits": "warn"}),
        ({"transaction_timeout": "5000"}, {"postgres time limits": "warn"}),
        ({"lock_timeout": "60000"}, {}),
        ({"autovacuum": "off"}, {"postgres autovacuum": "fail"}),
        ({"default_transaction_read_only": "on"}, {"postgres role": "fail"}),
        ({"default_transaction_isolation": "serializable"}, {"postgres defaults": "warn"}),
        ({"server_encoding": "SQL_ASCII"}, {"postgres defaults": "fail"}),
        ({"archive_mode": "off"}, {"postgres archive": "warn"}),
    ],
)
def test_postgres_settings(changed: dict[str, str], wrong: dict[str, str]) -> None:
    wanted = postgres_server.connections_of(8, 9)
    assert levels(postgres_server.judge({**POSTGRES, **changed}, LOAD, wanted, 9)) == wrong


def test_postgres_load() -> None:
    found = postgres_server.judge(POSTGRES, {**LOAD, "in_recovery": True, "oldest_s": 7200.0}, 10, 1)
    assert levels(found) == {"postgres role": "fail", "postgres open transactions": "warn"}


@given(st.integers(2, 100), st.integers(1, 200))
def test_every_pool_of_every_process_counts(pool: int, count: int) -> None:
    assert postgres_server.connections_of(pool, count) >= count * (pool + 2 * pool)


@given(st.integers(0, 10**15), st.integers(0, 10**8), st.integers(-(10**9), 10**9))
def test_skew_is_never_more_than_what_the_two_looks_allow(before: int, took: int, skew: int) -> None:
    """The other clock told its time somewhere between the looks: what could be the way there is no skew."""
    found = clocks.judge("clock", before, before + took // 2 + skew, before + took)
    if abs(skew) <= clocks.WARN_S * 1e6:
        assert found.level == "ok"
    if abs(skew) - took > clocks.FAIL_S * 1e6:
        assert found.level == "fail"
    assert ("ahead" in found.found) == (before + took // 2 + skew > before + took)


@pytest.mark.parametrize(("drain_s", "grace_s", "level"), [(25, 45, "ok"), (30, 44, "warn"), (25, 30, "fail")])
def test_a_drain_fits_into_the_grace_period(drain_s: float, grace_s: float, level: str) -> None:
    assert limits.drain(drain_s, grace_s).level == level


def test_patience_outlasts_a_deploy() -> None:
    assert limits.patience(CoreSettings(unknown_task_patience_s=900)).level == "ok"
    assert limits.patience(CoreSettings(unknown_task_patience_s=60)).level == "warn"


@pytest.mark.parametrize(
    ("number", "floor", "level", "says"),
    [
        (None, None, "fail", "not there"), ("0001", None, "fail", "needs"), ("0002", None, "ok", "0002"),
        ("0009", 2, "ok", "newer code"), ("0009", None, "fail", "knows only up to"),
    ],
)  # fmt: skip
def test_schemas(number: str | None, floor: int | None, level: str, says: str) -> None:
    found = of_owner(LEDGER, Version(number, floor))
    assert (found.level, says in found.found) == (level, True)
    assert ("deploy" in found.fix) == (number == "0009" and floor is None)


def test_processes() -> None:
    found = processes.judge({"media": 1, "relay": 1}, {"webhooks": 1}, {"media": 9, "webhooks": 0, "api": 0, "llm": 3})
    assert {finding.check: finding.level for finding in found} == {
        "workers of media": "ok", "workers of webhooks": "warn", "workers of api": "warn", "workers of llm": "fail",
        "relays": "ok",
    }  # fmt: skip
    assert processes.judge({}, {"relay": 1}, {"media": 1})[-1].level == "fail"


def test_disks_and_keys() -> None:
    mib = sqlite_file.MIB
    assert [sqlite_file.judge_room(mib, free * mib).level for free in (63, 511, 512)] == ["fail", "warn", "ok"]
    assert sqlite_file.judge_room(1000 * mib, 900 * mib).level == "warn", "a copy of the file has no room"
    assert [sqlite_file.judge_kind(kind).level for kind in ("ext4", "nfs4")] == ["ok", "fail"]
    settings = MediaSettings(disk_reserve_bytes=100, upload_limit_bytes=2000)
    assert [judge_media_room(free, settings).level for free in (99, 2099, 2100)] == ["fail", "warn", "ok"]
    assert [judge_key(3, bad).level for bad in (0, 1)] == ["ok", "fail"]


def test_exit_codes_and_the_document() -> None:
    ok, warn, fail = (Finding("c", level, "f", "w") for level in ("ok", "warn", "fail"))
    assert [exit_code(found) for found in ([], [ok], [ok, warn], [warn, fail])] == [0, 0, 0, 1]
    assert [exit_code(found, strict=True) for found in ([ok], [ok, warn], [fail])] == [0, 1, 1]
    assert worst([warn, fail, ok]) == "fail"
    assert document([warn])["ok"] is True
    assert document([fail])["findings"] == [{"check": "c", "level": "fail", "found": "f", "wanted": "w", "fix": ""}]
    assert [size(n) for n in (5, 2048, 10 * 1024**2)] == ["5 B", "2.0 KiB", "10 MiB"]


async def test_a_check_that_breaks_is_a_finding_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    async def broken(_: Subject) -> list[Finding]:
        raise ValueError("no luck with redis://user:hunter2@host")

    assert set(of_services()) == {"media", "webhooks"}
    monkeypatch.setattr("shared.runtime.doctor.examination.CHECKS", {"a": broken, "limits": limits.examine})
    monkeypatch.setattr("shared.runtime.doctor.examination.of_services", dict)
    settings = CoreSettings(database_url=f"sqlite:///{tmp_path}/none.db")
    first, *rest = await examine(Subject(settings))
    assert (first.check, first.level) == ("a", "fail")
    assert "hunter2" not in first.found
    assert [finding.check for finding in rest] == ["drain limit", "patience with unknown tasks"]
