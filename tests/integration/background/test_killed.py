"""The documented shops, each in a real uvicorn process that is killed between its answer and its task."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from holdfast.ledger import run_shadow
from shared.db.engine import Database
from shared.ledger.audit import audit
from shared.ledger.store_served import served_tasks
from shared.testing.servers import Valkey, free_port

ROOT = Path(__file__).parents[3]
SHOPS = ROOT / "docs" / "how-to" / "background-tasks"
WAIT_S = 60.0


class Street:
    """Where shops are opened: a database, Redis, an outbox."""

    def __init__(self, url: str, redis_url: str, folder: Path) -> None:
        self.url = url
        self.outbox = folder / "outbox"
        self.outbox.mkdir()
        self.log = (folder / "log").open("ab")
        self.env = {
            **os.environ, "PYTHONPATH": f"{SHOPS}:{ROOT}", "OUTBOX": str(self.outbox), "HOLDFAST_DATABASE_URL": url,
            "HOLDFAST_REDIS_URL": redis_url, "HOLDFAST_QUEUES": "shop", "HOLDFAST_STATE_DIR": str(folder / "state"),
        }  # fmt: skip

    @contextmanager
    def running(self, *module: str) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen(
            [sys.executable, "-m", *module], env=self.env, cwd=SHOPS, stdout=self.log, stderr=self.log
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(30)

    @contextmanager
    def shop(self, name: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
        port = free_port()
        with self.running("uvicorn", "--factory", f"{name}:create_app", "--port", str(port)) as process:
            base = f"http://127.0.0.1:{port}"
            until(lambda: answers(base))
            yield base, process

    def killed(self, name: str) -> None:
        """Order, take the answer, and kill the process before it can have done what it promised."""
        with self.shop(name) as (base, process):
            answer = httpx.post(f"{base}/orders/first", params={"email": "ada@example.com"})
            process.kill()
            process.wait(30)
            assert answer.status_code == 201
        assert list(self.outbox.iterdir()) == [], "the task was faster than the kill: nothing is shown"


def answers(base: str) -> bool:
    try:
        return httpx.get(f"{base}/openapi.json").status_code == 200
    except httpx.TransportError:
        return False


def until(holds) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def street(database_url: str, valkey: Valkey, tmp_path: Path) -> Iterator[Street]:
    opened = Street(database_url, valkey.url, tmp_path)
    yield opened
    opened.log.close()


def shadows(street: Street, after_s: float = 0) -> dict:
    return asyncio.run(run_shadow(street.url, after_s))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ["before", "shadow", "after"])
def test_a_shop_works_while_nothing_dies(street: Street, name: str) -> None:
    with street.shop(name) as (base, _):
        assert httpx.post(f"{base}/orders/one", params={"email": "a@b.cd"}).json() == {"id": "one"}
        if name != "after":
            until((street.outbox / "one.txt").exists)
    if name == "shadow":
        assert shadows(street) == {"lost": 0, "failed": 0, "full": False, "cleared": 0, "tasks": []}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_background_tasks_lose_it(street: Street) -> None:
    street.killed("before")
    with street.shop("before"):
        assert list(street.outbox.iterdir()) == []


def test_shadow_tasks_lose_it_and_count_it(street: Street) -> None:
    street.killed("shadow")
    report = shadows(street)
    assert (report["lost"], report["failed"]) == (1, 0)
    (task,) = report["tasks"]
    assert (task["end"], task["function"], task["path"]) == ("lost", "shadow.send_receipt", "/orders/first")
    assert shadows(street, 3600)["lost"] == 0, "what has just begun may still be under way"
    assert asyncio.run(run_shadow(street.url, 0, clear=True))["cleared"] == 1
    assert shadows(street)["lost"] == 0


def test_durable_tasks_do_not_lose_it(street: Street) -> None:
    street.killed("after")
    worker = ("taskiq", "worker", "after:create_broker", "--workers", "1",
              "--receiver", "shared.transport.receiver:HoldfastReceiver")  # fmt: skip
    with street.running("shared.runtime.relay"), street.running(*worker):
        until((street.outbox / "first.txt").exists)
    assert (street.outbox / "first.txt").read_text() == "to ada@example.com\n"

    async def check() -> bool:
        database = Database(street.url)
        await database.open()
        report = await audit(database)
        served = await served_tasks(database, ["shop.send_receipt"])
        await database.close()
        return report.ok and "email" in served["shop.send_receipt"].args_schema["properties"]

    assert asyncio.run(check())
