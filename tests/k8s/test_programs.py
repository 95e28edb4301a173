"""The programs that the manifests carry do here what they do in a cluster: front door, main job, reloader."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from shared.testing.servers import free_port
from tests.e2e.running import Up, the_system, wait_until

from .render import ROOT

_COMPONENTS = ROOT / "k8s" / "components"


@pytest.fixture(scope="module")
def up() -> Up:
    return the_system()


@pytest.fixture(scope="module")
def front_door(up: Up) -> Iterator[str]:
    """Before the three services, which are one address on this machine."""
    port = free_port()
    there = up.known["base_url"]
    env = {**os.environ, "FRONT_DOOR_PORT": str(port)} | {
        f"FRONT_DOOR_{service}": there for service in ("API", "WEBHOOKS", "MEDIA")
    }
    process = subprocess.Popen([sys.executable, str(_COMPONENTS / "front-door" / "front_door.py")], env=env)
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}/readyz"), "the front door is ready")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_the_front_door_refuses_what_is_not_routed(front_door: str) -> None:
    assert httpx.get(f"{front_door}/metrics").status_code == 404
    assert httpx.get(f"{front_door}/v1x").status_code == 404
    assert httpx.get(f"{front_door}/v1/jobs").headers["content-type"].startswith("application/problem+json")
    assert httpx.get(f"{front_door}/healthz").json() == {"status": "alive"}


def _main_job(up: Up, front_door: str, *words: str, wait_s: int = 60) -> subprocess.CompletedProcess[str]:
    env = {
        **up.env,
        "HOLDFAST_DATABASE_URL": up.known["database_url"],
        "FRONT_DOOR": front_door,
        "POD_IP": "127.0.0.1",
        "WAIT_S": str(wait_s),
        "BURST_LIMIT_S": "90",
    }
    command = [sys.executable, str(_COMPONENTS / "verification" / "main_job.py"), *words]
    env["PYTHONPATH"] = str(ROOT)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=150, check=False)


def test_the_main_job_holds(up: Up, front_door: str) -> None:
    done = _main_job(up, front_door)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "the main job holds"


def test_a_burst_arrives_whole(up: Up, front_door: str) -> None:
    done = _main_job(up, front_door, "burst", "40", "0.1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 of 40 have arrived" in done.stdout


def test_the_main_job_says_what_did_not_hold(up: Up) -> None:
    done = _main_job(up, f"http://127.0.0.1:{free_port()}", wait_s=2)
    assert done.returncode == 1
    assert "DID NOT HOLD: the front door is ready" in done.stdout


@pytest.fixture
def reloaded(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A role that writes a line when it starts and one when it is told to end."""
    (tmp_path / "role.py").write_text(
        "import signal, sys, pathlib, time\n"
        "def say(word): pathlib.Path('log').open('a').write(word + '\\n')\n"
        "signal.signal(signal.SIGTERM, lambda *_: (say('down'), sys.exit(0)))\n"
        "say('up')\n"
        "while True: time.sleep(0.05)\n"
    )
    command = [sys.executable, str(_COMPONENTS / "dev-sync" / "reload.py"), sys.executable, "role.py"]
    process = subprocess.Popen(command, cwd=tmp_path)
    yield tmp_path, process
    if process.poll() is None:
        process.kill()
    process.wait()


def _until(look: Callable[[], bool], limit_s: float = 20) -> None:
    until = time.monotonic() + limit_s
    while not look():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_change_starts_the_role_again_and_an_end_ends_it(reloaded: tuple[Path, subprocess.Popen[bytes]]) -> None:
    folder, process = reloaded
    log = folder / "log"

    def lines() -> list[str]:
        return log.read_text().split() if log.exists() else []

    _until(lambda: lines() == ["up"])
    (folder / "new.py").write_text("")
    _until(lambda: lines() == ["up", "down", "up"])
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert lines() == ["up", "down", "up", "down"]


def test_a_role_that_does_not_start_waits_for_its_correction(reloaded: tuple[Path, subprocess.Popen[bytes]]) -> None:
    """The container stays: nothing can be synchronised into one that has ended."""
    folder, process = reloaded
    role, log = folder / "role.py", folder / "log"
    good = role.read_text()
    _until(log.exists)
    role.write_text("import pathlib\npathlib.Path('broken').touch()\nraise SystemExit(7)\n")
    _until((folder / "broken").exists)
    log.unlink()
    role.write_text(good)
    _until(log.exists)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_a_role_that_dies_is_started_again(reloaded: tuple[Path, subprocess.Popen[bytes]]) -> None:
    folder, process = reloaded
    (folder / "pids").mkdir()
    (folder / "role.py").write_text(
        "import os, pathlib\npathlib.Path('pids', str(os.getpid())).touch()\nraise SystemExit(7)\n"
    )

    def ended() -> int:
        return sum(not Path("/proc", path.name).exists() for path in (folder / "pids").iterdir())

    _until(lambda: ended() >= 2, 40)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 7
