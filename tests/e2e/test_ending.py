"""How a local system ends: Ctrl-C drains and leaves nothing running; SIGKILL leaves nothing running either."""

from __future__ import annotations

import signal
from pathlib import Path

from holdfast.status import command_line
from tests.e2e.receiver import Receiver
from tests.e2e.running import Up, alive, wait_until
from tests.e2e.steps import delivery_of, endpoint, job_in, ok

GONE_S = 10.0


def left(pids: list[int]) -> list[str]:
    return [f"{pid} {command_line(pid)[:100]}" for pid in pids if alive(pid)]


def test_it_ends_cleanly_starts_again_on_its_data_and_dies_whole(tmp_path: Path, receiver: Receiver) -> None:
    up = Up(tmp_path / "data").start()
    running = up.pids()
    assert len(running) >= 10
    with up.client() as http:
        endpoint(http, receiver, "/ending", ["e2e.ending.v1"])
        endpoint(http, receiver, "/bad-ending", ["e2e.waits.v1"], retry_schedule_s=[3600])
        done = delivery_of(http, "e2e.ending.v1")
        job_in(http, done, "completed")
        waits = delivery_of(http, "e2e.waits.v1")
        job_in(http, waits, "retrying")

    # Ctrl-C in a terminal reaches the supervisor; its roles are in groups of their own.
    assert up.stop(signal.SIGINT) == 0
    assert left(running) == []
    assert not (up.folder / "up.json").exists()
    refused = up.cli("status", "--json")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("holdfast: no system is running on")

    again = Up(tmp_path / "data").start()
    running = again.pids()
    second = again.cli("up", "--port", str(Up(tmp_path).port))
    assert second.returncode == 2
    assert len(second.stderr.splitlines()) == 1
    assert "already running" in second.stderr
    with again.client() as http:
        assert ok(http.get(f"/v1/jobs/{done}"))["state"] == "completed"
        assert ok(http.get(f"/v1/jobs/{waits}"))["state"] == "retrying"
        job_in(http, delivery_of(http, "e2e.ending.v1"), "completed")

    again.process.kill()
    again.process.wait()
    wait_until(lambda: not left(running), f"gone: {left(running)}", GONE_S)
    killed = again.cli("status", "--json")
    assert (killed.returncode, killed.stdout) == (2, "")
    assert again.cli("audit", "--json").returncode == 0
