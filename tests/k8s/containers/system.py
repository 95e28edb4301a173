"""The pods of the dev overlay, each a container: started, probed, killed and stopped as a kubelet does.

Services are names on the network; their ports are those of the containers, so who asks is told the port. A pod that
ends is started again when `tend` is called, like a restarted container of the same pod.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

from shared.testing.servers import Postgres, Valkey
from tests.k8s.render import rendered

from . import pod
from .engine import Network, Passage, docker, inspect

OVERLAY = "dev"
START_S = 90.0
HTTP_PORTS = {"api-http": 8000, "webhooks-http": 8000, "media-http": 8000, "front-door": 8080}
FRONT = {f"FRONT_DOOR_{name.upper()}": f"http://{name}:8000" for name in ("api", "webhooks", "media")}
# What comes from elsewhere on a cluster: the datastores are this machine's.
LEFT_OUT = {"postgres", "valkey"}


class System:
    def __init__(self, place: Path, postgres: Postgres, valkey: Valkey, mail_port: int, keys: dict[str, str]) -> None:
        self.place, self.network = place, Network()
        self.objects = rendered(OVERLAY)
        ports = (postgres.port, valkey.port, mail_port)
        self._passages = [Passage(self.network.gateway, port) for port in ports]
        gateway = self.network.gateway
        values = {
            "database-url": postgres.url.replace("127.0.0.1", gateway),
            "redis-url": valkey.url.replace("127.0.0.1", gateway),
            "smtp-url": f"smtp://{gateway}:{mail_port}",
            **keys,
        }
        self._secrets = {"holdfast-secrets": values}
        self._configs = {item["metadata"]["name"]: item["data"] for item in self.objects if item["kind"] == "ConfigMap"}
        self.pods: dict[str, str] = {}  # Deployment → container

    def of_kind(self, kind: str) -> dict[str, Any]:
        """Name → pod template."""
        found = {item["metadata"]["name"]: item["spec"]["template"] for item in self.objects if item["kind"] == kind}
        return {name: template for name, template in found.items() if name not in LEFT_OUT}

    def migrate(self) -> None:
        """All three at once, as a cluster does."""
        names = [self.run(name, template) for name, template in self.of_kind("Job").items()]
        for name in names:
            code = docker("wait", name).stdout.strip()
            assert code == "0", f"{name} ended with {code}: {self.log(name)}"

    def deploy(self) -> None:
        for name, template in self.of_kind("Deployment").items():
            self.pods[name] = self.run(name, template)
        for name in self.pods:
            self.await_started(name)

    def run(self, name: str, template: dict[str, Any], *words: str, **env: str) -> str:
        """Start a pod; the container's name."""
        full = f"{self.network.name}-{name}-{secrets.token_hex(2)}"
        spec = pod.container(template)
        given = pod.environment(spec, self._configs, self._secrets, {"status.podIP": "0.0.0.0", **env})
        environment = {**given, **(FRONT if name == "front-door" else {}), **env}
        docker(
            "run", "--detach", "--name", full, "--network", self.network.name,
            "--network-alias", name.removesuffix("-http"), *pod.confinement(template),
            *pod.volumes(template, self.place / full, self.place / "claims", self._configs),
            *(word for key, value in environment.items() for word in ("-e", f"{key}={value}")),
            "--entrypoint", (command := [*(words or spec["command"])])[0], spec["image"], *command[1:],
        )  # fmt: skip
        return full

    def await_started(self, name: str) -> None:
        until_s = time.monotonic() + START_S
        while not self.probe(name, "startupProbe" if name != "front-door" else "readinessProbe"):
            state = inspect(self.pods[name])["State"]
            assert state["Running"], f"{name} ended with {state['ExitCode']}: {self.log(self.pods[name])}"
            assert time.monotonic() < until_s, f"{name} is not started: {self.log(self.pods[name])}"
            time.sleep(0.3)

    def probe(self, name: str, kind: str) -> bool:
        """Run a probe of its pod once, from within."""
        probe = pod.container(self.of_kind("Deployment")[name])[kind]
        if "exec" in probe:
            command = probe["exec"]["command"]
        else:
            url = f"http://127.0.0.1:{HTTP_PORTS[name]}{probe['httpGet']['path']}"
            command = ["python", "-c", f"import urllib.request; urllib.request.urlopen({url!r}, timeout=3)"]
        return docker("exec", self.pods[name], *command, check=False).returncode == 0

    def kill(self, name: str) -> None:
        """SIGKILL, and the container again, in a folder of its own: state in an emptyDir outlives a container."""
        docker("kill", self.pods[name])
        docker("start", self.pods[name])

    def stop(self, name: str) -> int:
        """SIGTERM as at the end of a pod's life; its exit code."""
        grace = self.of_kind("Deployment")[name]["spec"]["terminationGracePeriodSeconds"]
        docker("stop", "--time", str(grace), self.pods[name])
        code: int = inspect(self.pods[name])["State"]["ExitCode"]
        return code

    def log(self, container: str) -> str:
        done = docker("logs", "--tail", "40", container)
        return (done.stdout + done.stderr)[-4000:]

    def close(self) -> None:
        names = docker("ps", "--all", "--quiet", "--filter", f"network={self.network.name}").stdout.split()
        if names:
            docker("rm", "--force", *names)
        self.network.remove()
        for passage in self._passages:
            passage.close()
