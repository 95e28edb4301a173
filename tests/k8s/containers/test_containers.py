"""Every role from its image, confined as its manifest says: the main job, a burst under fire, and the end."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from tests.k8s.render import ROOT

from .engine import docker, inspect
from .system import System

JOB = next(yaml.safe_load_all((ROOT / "k8s/components/verification/job.yaml").read_text("utf-8")))
BURST = 2_000
pytestmark = pytest.mark.timeout(600)


def verify(system: System, *words: str) -> str:
    """Start the verification's pod, on the network where deliveries reach it by its name."""
    template = JOB["spec"]["template"]
    [program] = [name for name in system._configs if name.startswith("holdfast-verification")]
    template["spec"]["volumes"][0]["configMap"]["name"] = program
    command = pod_command(words)
    return system.run("main-job", template, *command, FRONT_DOOR="http://front-door:8080", WAIT_S="120")


def pod_command(words: tuple[str, ...]) -> list[str]:
    # The Downward API's podIP, which an engine gives only once the container is there.
    code = "import os, runpy, socket, sys; os.environ['POD_IP'] = socket.gethostbyname(socket.gethostname());"
    path = "/etc/verification/main_job.py"
    return [
        "/opt/venv/bin/python",
        "-c",
        f"{code} sys.argv = {[path, *words]!r}; runpy.run_path({path!r}, run_name='__main__')",
    ]


def ended(name: str) -> tuple[str, str]:
    code = docker("wait", name, timeout_s=500).stdout.strip()
    done = docker("logs", name)
    return code, done.stdout + done.stderr


def test_the_main_job_holds(system: System) -> None:
    code, said = ended(verify(system))
    assert code == "0", said
    assert said.splitlines()[-1] == "the main job holds"


def test_every_probe_of_every_pod_passes(system: System) -> None:
    for name in system.pods:
        for kind in ("readinessProbe", "livenessProbe"):
            if kind in system.of_kind("Deployment")[name]["spec"]["containers"][0]:
                assert system.probe(name, kind), f"{kind} of {name}"


def test_the_doctor_finds_nothing_wrong(system: System) -> None:
    done = docker("exec", system.pods["api-worker"], "python", "-m", "shared.runtime.doctor", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_killed_pods_lose_nothing_of_a_burst(system: System) -> None:
    burst = verify(system, "burst", str(BURST), "0.05")
    with subprocess.Popen(["docker", "logs", "--follow", burst], stdout=subprocess.PIPE, text=True) as follow:
        assert follow.stdout is not None
        for line in follow.stdout:
            if "are accepted" in line:
                break
        for name in ("webhooks-worker", "relay", "webhooks-worker"):
            system.kill(name)
        code, said = ended(burst)
        follow.kill()
    assert code == "0", said
    assert f"{BURST} of {BURST} have arrived" in said


def test_each_pod_ends_by_itself_and_none_was_out_of_memory(system: System) -> None:
    """Last: SIGTERM drains, within the grace of its manifest."""
    for name, container in system.pods.items():
        code = system.stop(name)
        state = inspect(container)["State"]
        assert not state["OOMKilled"], name
        assert code == 0, f"{name} ended with {code}: {system.log(container)}"
