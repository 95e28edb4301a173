"""`holdfast doctor` on real servers: as they should be, badly set, skewed, and not there at all."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
import redis
from pydantic import SecretStr

from services.webhooks.doctor import examine as examine_key
from services.webhooks.endpoints import NewEndpoint, make
from services.webhooks.secrets import Box
from services.webhooks.store_endpoints import add_endpoint
from shared.db.engine import Database
from shared.db.tx import open_tx
from shared.kernel.clock import ManualClock, SystemClock
from shared.kernel.settings import CoreSettings
from shared.runtime.addresses import AddressPolicy
from shared.runtime.doctor import clocks, processes
from shared.runtime.doctor.subject import Subject
from shared.runtime.migrate import upgrade
from shared.testing.servers import Postgres, Valkey
from tests.faults.rig import Rig
from tests.integration.cli.conftest import Said

KEY, OTHER_KEY = (base64.urlsafe_b64encode(bytes([n]) * 32).decode() for n in (1, 2))
Run = Callable[..., Said]


@pytest.fixture
def installed(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, valkey: Valkey
) -> Callable[[str], None]:
    """Names an installation in the environment; nothing of it runs but its servers."""

    def install(url: str) -> None:
        asyncio.run(upgrade(url))
        (tmp_path / "media").mkdir(exist_ok=True)
        for name, value in {
            "DATABASE_URL": url, "REDIS_URL": valkey.url, "MASTER_KEY": KEY, "BEAT_S": "0.2", "LEASE_S": "2",
            "MEDIA_STORAGE_URL": str(tmp_path / "media"),
        }.items():  # fmt: skip
            monkeypatch.setenv(f"HOLDFAST_{name}", value)

    return install


def by_check(said: Said) -> dict[str, tuple[str, str]]:
    return {finding["check"]: (finding["level"], finding["found"]) for finding in said.json["findings"]}


def test_what_is_as_it_should_be(holdfast: Run, installed: Callable[[str], None], sqlite_url: str) -> None:
    installed(sqlite_url)
    said = holdfast("doctor", "--json")
    found = by_check(said)
    assert said.code == 0, found
    assert said.json["ok"]
    assert {level for level, _ in found.values()} == {"ok", "warn"}
    for check in ("sqlite disk", "schema ledger", "schema media", "redis eviction", "clock of Redis", "drain limit",
                  "media storage", "master key"):  # fmt: skip
        assert found[check][0] == "ok", found[check]
    assert found["redis persistence"] == ("warn", "no append-only file"), "the suite's Valkey keeps none"
    assert found["workers of webhooks"][0] == "warn"
    assert holdfast("doctor", "--strict").code == 1


def test_a_table_for_people(holdfast: Run, installed: Callable[[str], None], sqlite_url: str) -> None:
    installed(sqlite_url)
    said = holdfast("doctor", "--grace", "20")
    assert said.code == 1
    assert "✗  drain limit" in said.out
    assert "→ drain limit: lower HOLDFAST_DRAIN_LIMIT_S" in said.out
    assert said.out.splitlines()[-1].endswith("1 failures")


def test_bad_settings_of_redis(
    holdfast: Run, installed: Callable[[str], None], sqlite_url: str, valkey: Valkey
) -> None:
    installed(sqlite_url)
    with redis.Redis.from_url(valkey.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", "64mb")
        try:
            said = holdfast("doctor", "--json")
        finally:
            client.config_set("maxmemory", "0")
            client.config_set("maxmemory-policy", "noeviction")
    assert said.code == 1
    assert by_check(said)["redis eviction"] == ("fail", "allkeys-lru, maxmemory 64 MiB")


def test_bad_settings_of_postgres(
    holdfast: Run, installed: Callable[[str], None], server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("-c", "fsync=off", "-c", "autovacuum=off", "-c", "max_connections=20", "-c", "synchronous_commit=off")
    server = Postgres(server_folder / "careless", options=options).start()
    try:
        installed(server.url)
        found = by_check(holdfast("doctor", "--json"))
        for check in ("postgres durability", "postgres autovacuum", "postgres commits"):
            assert found[check][0] == "fail", found[check]
        assert found["postgres connections"][0] == "warn"
        assert found["clock of the database"][0] == "ok"

        async def careful() -> None:
            connection = await asyncpg.connect(server.url)
            await connection.execute("ALTER ROLE postgres SET synchronous_commit = on")
            await connection.execute("ALTER ROLE postgres SET statement_timeout = '5s'")
            await connection.execute("ALTER ROLE postgres SET default_transaction_read_only = on")
            await connection.close()

        asyncio.run(careful())
        found = by_check(holdfast("doctor", "--json"))
        assert found["postgres commits"][0] == "ok", "as our own sessions have it"
        assert found["postgres time limits"] == ("warn", "statement_timeout 5 s")
        assert found["postgres role"] == ("fail", "read-only")
    finally:
        server.stop()
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", server.url)
    said = holdfast("doctor", "--json")
    assert said.code == 1
    assert by_check(said)["postgres"][0] == "fail", "nobody answers there any more"


def test_nothing_there(holdfast: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert holdfast("doctor").code == 2
    assert "nothing to examine" in holdfast("doctor").sentence
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", f"sqlite:///{tmp_path / 'none.db'}")
    monkeypatch.setenv("HOLDFAST_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("HOLDFAST_MASTER_KEY", "short")
    monkeypatch.setenv("HOLDFAST_MEDIA_STORAGE_URL", str(tmp_path / "nowhere"))
    said = holdfast("doctor", "--json")
    found = by_check(said)
    assert said.code == 1
    failed = {check for check, (level, _) in found.items() if level == "fail"}
    assert {"schema ledger", "redis", "master key", "media storage"} <= failed
    assert not (tmp_path / "none.db").exists(), "a look makes nothing"
    assert not (tmp_path / "nowhere").exists()
    monkeypatch.setenv("HOLDFAST_BEAT_S", "99")
    assert holdfast("doctor").code == 2


async def test_clocks_that_differ(postgres_ledger_url: str, valkey: Valkey) -> None:
    settings = CoreSettings(database_url=postgres_ledger_url, redis_url=SecretStr(valkey.url))
    behind = Subject(settings, clock=ManualClock(SystemClock().now_us() - 90_000_000))
    (database,) = await clocks.examine_database(behind)
    (of_redis,) = await clocks.examine_redis(behind)
    assert (database.level, of_redis.level) == ("fail", "fail")
    assert "ahead of this machine" in database.found
    (database,) = await clocks.examine_database(Subject(settings))
    assert database.level == "ok"


async def test_a_key_that_does_not_open_what_is_stored(database_url: str) -> None:
    await upgrade(database_url)
    given = NewEndpoint.model_validate({"url": "https://example.com/h", "event_types": ["*"]})
    made, _ = make(given, "t", Box(KEY), AddressPolicy.from_cidrs(()), 5)
    database = Database(database_url, pool=2)
    await database.open()
    async with open_tx(database) as tx:
        await add_endpoint(tx, made)
    await database.close()
    levels = {}
    for key in (KEY, OTHER_KEY, f"{OTHER_KEY},{KEY}"):
        (found,) = await examine_key(Subject(CoreSettings(database_url=database_url, master_key=SecretStr(key))))
        levels[key] = found.level
    assert list(levels.values()) == ["ok", "fail", "ok"]


async def test_beats_that_move_and_beats_that_do_not(tmp_path: Path, valkey: Valkey) -> None:
    from shared.runtime.resources import open_resources
    from shared.testing.lab import Noop

    rig = Rig(tmp_path, f"sqlite:///{tmp_path / 'ledger.db'}", valkey, None)
    await upgrade(rig.url)
    settings = rig.settings.model_copy(update={"queues": ("lab",), "beat_s": 0.4})
    async with open_resources(rig.settings) as resources:
        rig.resources = resources
        try:
            await rig.enqueue(Noop())
            found = {each.check: each.level for each in await processes.examine(Subject(settings))}
            assert found == {"workers of lab": "fail", "relays": "fail"}, "one job waits for nobody"
            rig.relay()
            rig.worker()
            assert await rig.settled() == {"completed": 1}
            found = {each.check: each.level for each in await processes.examine(Subject(settings))}
            assert found == {"workers of lab": "ok", "relays": "ok"}
        finally:
            rig.stop()


async def test_the_same_examination_within_an_image(sqlite_url: str, valkey: Valkey, tmp_path: Path) -> None:
    await upgrade(sqlite_url)
    env = {"HOLDFAST_DATABASE_URL": sqlite_url, "HOLDFAST_REDIS_URL": valkey.url, "HOLDFAST_BEAT_S": "0.2"}
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shared.runtime.doctor", "--grace-s", "10", env=env, stdout=asyncio.subprocess.PIPE
    )
    told = json.loads((await run.communicate())[0])
    assert run.returncode == 1
    failed = {finding["check"] for finding in told["findings"] if finding["level"] == "fail"}
    assert {"drain limit", "master key"} <= failed
