"""House rules for workloads, as functions that answer with sentences: an empty list means that the rule holds.

Pure, so that test_policy.py can also break an object on purpose and see the sentence come.
"""

from __future__ import annotations

from typing import Any

from shared.runtime.heartbeat import READY

from .subset import containers

Object = dict[str, Any]


def pod_of(item: Object) -> Object:
    """The pod spec of a workload, empty for anything else."""
    pod: Object = item.get("spec", {}).get("template", {}).get("spec", {})
    return pod


def restricted(item: Object) -> list[str]:
    """The restricted Pod Security profile, and what this house adds: no token, read-only root, bounded scratch."""
    pod = pod_of(item)
    if not pod:
        return []
    security = pod.get("securityContext", {})
    found = []
    if pod.get("automountServiceAccountToken") is not False:
        found.append("a service account token is mounted")
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        found.append("may run as root")
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        found.append("no seccomp profile")
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        found.append("shares a namespace of the host")
    for volume in pod.get("volumes", []):
        if volume.keys() & {"hostPath", "nfs"}:
            found.append(f"volume {volume['name']} is not of a kind that restricted pods may have")
        if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
            found.append(f"volume {volume['name']} has no size limit")
    return found + [sentence for container in containers(item) for sentence in _restricted_container(container)]


def _restricted_container(container: Object) -> list[str]:
    security = container.get("securityContext", {})
    wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    found = [f"container {container['name']}: {key}" for key, value in wanted.items() if security.get(key) != value]
    if security.get("privileged") or security.get("runAsUser") == 0 or security.get("runAsNonRoot") is False:
        found.append(f"container {container['name']} is privileged")
    if any(port.get("hostPort") for port in container.get("ports", [])):
        found.append(f"container {container['name']} takes a port of the host")
    return found


def sized(item: Object) -> list[str]:
    """Requests for both, a limit for memory; no CPU limit, which would only throttle a heartbeat.

    A pod that may fill gigabytes of its node's disk asks for some: the scheduler and evictions go by that.
    """
    found = []
    sizes = {one["name"]: one.get("emptyDir", {}).get("sizeLimit", "") for one in pod_of(item).get("volumes", [])}
    large = {name for name, size in sizes.items() if size.endswith("Gi") and int(size[:-2]) >= 10}
    for container in containers(item):
        resources = container.get("resources", {})
        fills = large & {mount["name"] for mount in container.get("volumeMounts", [])}
        wanted = {"cpu", "memory"} | ({"ephemeral-storage"} if fills else set())
        if resources.get("requests", {}).keys() != wanted or resources.get("limits", {}).keys() != {"memory"}:
            found.append(f"container {container['name']}: requests are {sorted(wanted)}, the limit is memory")
    return found


def drains(item: Object, drain_limit_s: float, margin_s: float = 10) -> list[str]:
    """Grace period > preStop sleep + drain limit + margin: the kubelet counts all of it from the first moment."""
    if item["kind"] != "Deployment":
        return []
    pre_stop = (
        containers(item)[0].get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
    )
    need_s = float(pre_stop[1]) + drain_limit_s + margin_s
    grace_s = pod_of(item).get("terminationGracePeriodSeconds", 30)
    return [] if grace_s >= need_s else [f"grace period {grace_s} s is below {need_s:g} s"]


READY_FILE = f"/var/lib/holdfast/{READY}"
_RELOAD = ["python", "/opt/reload/reload.py"]


def command_of(item: Object) -> list[str]:
    """Of the main container, without the reloader that the overlay `sync` puts before it."""
    command: list[str] = containers(item)[0].get("command", [])
    return command[len(_RELOAD) :] if command[: len(_RELOAD)] == _RELOAD else command


def is_role(item: Object) -> bool:
    """One of Holdfast's own Deployments: not the front door of development clusters."""
    return item["kind"] == "Deployment" and item["metadata"]["labels"].get("app.kubernetes.io/part-of") == "holdfast"


def probed(item: Object) -> list[str]:
    """HTTP roles by path (liveness never by /readyz, which asks the database), others by the age of their heartbeat.

    Those others are ready while a file says so: a rollout must not take away the last one that takes work.
    """
    if not is_role(item):
        return []
    container = containers(item)[0]
    probes = {kind: container.get(f"{kind}Probe", {}) for kind in ("startup", "liveness", "readiness")}
    if command_of(item)[0] == "uvicorn":
        wanted = {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
        return [kind for kind, path in wanted.items() if probes[kind].get("httpGet", {}).get("path") != path]
    beat = ["python", "-m", "shared.runtime.heartbeat", "--max-age-s", "30"]
    commands = {"startup": beat, "liveness": beat, "readiness": ["test", "-e", READY_FILE]}
    return [kind for kind, command in commands.items() if probes[kind].get("exec", {}).get("command") != command]
