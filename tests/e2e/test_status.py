"""`holdfast status --json` names the processes that really run jobs: kill one, and its work is another's."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import httpx

from holdfast.status import children, command_line
from tests.e2e.receiver import Receiver
from tests.e2e.running import Up, alive, descendants, wait_until
from tests.e2e.steps import endpoint, job_in, ok, processed, upload

ROLES = {
    "http",
    "relay",
    "mail",
    "api-worker",
    "webhooks-worker",
    "media-worker",
    "media-slot",
    "media-bulk-worker",
    "media-bulk-slot",
}


def pids(up: Up, role: str) -> list[int]:
    return next(one["pids"] for one in up.status()["roles"] if one["name"] == role)


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_its_shape_and_that_every_pid_lives_and_is_ours(up: Up) -> None:
    said = up.cli("status", "--json")
    assert (said.returncode, said.stderr) == (0, "")
    (line,) = said.stdout.splitlines()
    status = json.loads(line)
    assert status == up.status()
    assert status["base_url"] == f"http://127.0.0.1:{up.port}"
    assert status["redis_url"].startswith("redis://127.0.0.1:")
    assert status["database_url"] == f"sqlite:///{up.folder.resolve()}/holdfast.db"
    assert status["api_key"].startswith("hf_")
    assert {role["name"] for role in status["roles"]} == ROLES
    found = [pid for role in status["roles"] for pid in role["pids"]]
    assert all(role["pids"] for role in status["roles"])
    assert len(found) == len(set(found)), "one process in two roles"
    assert set(found) <= set(descendants(up.process.pid))
    assert all(alive(pid) for pid in found)
    assert httpx.get(f"{status['base_url']}/healthz").json() == {"status": "alive"}


def test_only_the_owner_reads_the_keys(up: Up) -> None:
    for name in ("api.key", "master.key", "up.json"):
        assert stat.S_IMODE((up.folder / name).stat().st_mode) == 0o600, name


def test_slots_are_children_of_the_media_worker_and_make_the_images(up: Up, http: httpx.Client) -> None:
    (worker,) = pids(up, "media-worker")
    slots = pids(up, "media-slot")
    assert {slot for forker in children(worker) for slot in children(forker)} >= set(slots)
    before = {slot: cpu_ticks(slot) for slot in slots}
    worker_before = cpu_ticks(worker)
    for asset in [upload(http)["id"] for _ in range(4)]:
        processed(http, asset)
    spent = sum(cpu_ticks(slot) - before[slot] for slot in slots)
    assert spent > 0, "the images were made elsewhere"
    assert spent > (cpu_ticks(worker) - worker_before) / 4, "the worker itself did the work"


def test_a_killed_slot_is_replaced(up: Up, http: httpx.Client) -> None:
    before = pids(up, "media-slot")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    processed(http, upload(http)["id"])
    after = wait_until(lambda: found if len(found := pids(up, "media-slot")) == len(before) else None, "replaced")
    assert not set(after) & set(before)
    assert len(pids(up, "media-worker")) == 1


def test_deliveries_go_on_when_the_worker_that_makes_them_is_killed(
    up: Up, http: httpx.Client, receiver: Receiver
) -> None:
    hook = endpoint(http, receiver, "/kill", ["e2e.kill.v1"], retry_schedule_s=[0.2, 0.5, 1, 2])
    (victim,) = pids(up, "webhooks-worker")
    assert "taskiq" in command_line(victim) or "multiprocessing" in command_line(victim)
    events = []
    for number in range(60):
        events.append(
            ok(http.post("/v1/webhooks/events", json={"type": "e2e.kill.v1", "data": {"n": number}}), 202)["id"]
        )
        if number == 30:
            os.kill(victim, signal.SIGKILL)
    wait_until(lambda: {one.headers["webhook-id"] for one in receiver.at("/kill")} >= set(events), "all delivered")
    assert all(letter.verified(hook["secret"]) for letter in receiver.at("/kill"))
    (heir,) = wait_until(lambda: pids(up, "webhooks-worker"), "succeeded")
    assert heir != victim
    for event in events[-3:]:
        (line,) = ok(http.get("/v1/webhooks/deliveries", params={"event_id": event}))["items"]
        job_in(http, line["id"], "completed")
    assert up.cli("audit", "--json").returncode == 0
