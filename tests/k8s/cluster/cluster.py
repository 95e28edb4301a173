"""A cluster by kubectl: objects of an overlay in a namespace of our own, what becomes of them, and programs in pods.

The images have to be there already (`make images`, and then `kind load docker-image …` or a registry):
`HOLDFAST_TEST_IMAGES` names them, with `{service}` in it, like `registry.example.com/holdfast/{service}:1.2.3`; without
it they are `holdfast-{service}`.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.k8s.render import ROOT, rendered
from tests.k8s.subset import Object, containers

IMAGES = os.environ.get("HOLDFAST_TEST_IMAGES", "holdfast-{service}")


def kubectl(*words: str, given: str | None = None, check: bool = True) -> str:
    """Standard output; AssertionError with what it says when it fails."""
    done = subprocess.run(["kubectl", *words], input=given, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0 or not check, f"kubectl {' '.join(words)}: {done.stderr[-3000:]}"
    return done.stdout


def kinds_there() -> set[tuple[str, str]]:
    """(API group, kind) of everything that the cluster knows."""
    lines = [line.split() for line in kubectl("api-resources", "--no-headers").splitlines()]
    return {(words[-3].rpartition("/")[0], words[-1]) for words in lines}


def group_kind(item: Object) -> tuple[str, str]:
    return item["apiVersion"].rpartition("/")[0], item["kind"]


def moved(overlay: str, namespace: str) -> list[Object]:
    """The overlay's objects in another namespace, with this run's images; without the Namespace itself."""
    objects = copy.deepcopy(rendered(overlay))
    [old] = [item["metadata"]["name"] for item in objects if item["kind"] == "Namespace"]
    objects = [item for item in objects if item["kind"] != "Namespace"]
    for item in objects:
        item["metadata"]["namespace"] = namespace
        for trigger in item["spec"].get("triggers", []) if item["kind"] == "ScaledObject" else []:
            if "url" in trigger["metadata"]:
                trigger["metadata"]["url"] = trigger["metadata"]["url"].replace(f".{old}.svc", f".{namespace}.svc")
        _use_images(item)
    return objects


def _use_images(item: Object) -> None:
    for container in containers(item):
        if container["image"].startswith("holdfast-"):
            container["image"] = IMAGES.format(service=container["image"].removeprefix("holdfast-"))
            container["imagePullPolicy"] = "IfNotPresent"


@dataclass
class Deployed:
    """`k8s/overlays/dev` in a namespace that ends with the run."""

    namespace: str
    jobs: list[str] = field(default_factory=list)

    def kubectl(self, *words: str, given: str | None = None, check: bool = True) -> str:
        return kubectl("-n", self.namespace, *words, given=given, check=check)

    def apply(self, objects: Sequence[Object]) -> None:
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=yaml.safe_dump_all(objects))

    def start(self) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}}
        kubectl("apply", "-f", "-", given=yaml.safe_dump(space))
        script = ROOT / "k8s/components/dev-datastores/create-secrets.sh"
        subprocess.run([str(script), self.namespace], check=True, capture_output=True, timeout=120)
        self.apply(moved("dev", self.namespace))
        for name in ("migrate-api", "migrate-webhooks", "migrate-media"):
            self.kubectl("wait", "--for=condition=complete", f"job/{name}", "--timeout=400s")
        for name in self.roles():
            self.kubectl("rollout", "status", f"deployment/{name}", "--timeout=400s")

    def roles(self) -> list[str]:
        return self.kubectl("get", "deployments", "-o", "jsonpath={.items[*].metadata.name}").split()

    def replicas(self, role: str) -> int:
        return int(self.kubectl("get", f"deployment/{role}", "-o", "jsonpath={.spec.replicas}") or 0)

    def run(self, name: str, *words: str) -> None:
        """The verification program as a Job of that name; not waited for."""
        text = (ROOT / "k8s/components/verification/job.yaml").read_text("utf-8")
        job = yaml.safe_load(text)
        job["metadata"] |= {"name": name, "namespace": self.namespace}
        _use_images(job)
        container = job["spec"]["template"]["spec"]["containers"][0]
        container["command"] += [*words]
        container["resources"]["limits"] = {"memory": "1Gi"}
        self.apply([job])
        self.jobs.append(name)

    def ended(self, name: str) -> bool | None:
        """True completed, False failed, None neither."""
        status: dict[str, Any] = json.loads(self.kubectl("get", f"job/{name}", "-o", "json"))["status"]
        return True if status.get("succeeded") else False if status.get("failed") else None

    def end_of(self, name: str, limit_s: float) -> str:
        """Its log, once it has completed; AssertionError with the log otherwise."""
        until(lambda: self.ended(name) is not None, f"{name} ends", limit_s)
        log = self.kubectl("logs", f"job/{name}", check=False)
        assert self.ended(name), log
        return log

    def close(self) -> None:
        kubectl("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found")


def until(look: Callable[[], bool], what: str, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while not look():
        assert time.monotonic() < end, f"{what}: not within {limit_s:g} s"
        time.sleep(1)
