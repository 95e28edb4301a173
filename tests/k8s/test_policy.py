"""The house rules for workloads hold in every overlay, and each rule can fail."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from services.media.settings import MediaSettings
from shared.contracts.commands.media import BRINGS_MOST
from shared.kernel.settings import CoreSettings
from shared.runtime.doctor.postgres_server import connections_of
from shared.runtime.heartbeat import READY

from .policy import READY_FILE, Object, command_of, drains, is_role, pod_of, probed, restricted, sized
from .render import COMBINATIONS, RENDERINGS, rendered
from .subset import containers

_UID = 10001
_ROLES = {
    "api-http",
    "api-worker",
    "webhooks-http",
    "webhooks-worker",
    "media-http",
    "media-worker",
    "media-bulk-worker",
    "relay",
}
_SECRETS = {
    "holdfast-secrets": {
        "database-url", "redis-url", "master-key", "smtp-url", "llm-url", "llm-key", "llm-model", "media-link-key",
    },
    "holdfast-dev-postgres": {"password"},
}  # fmt: skip
_OPTIONAL = {"llm-url", "llm-key", "llm-model", "media-link-key"}
_EDITED = {"debug", "sync"}
_BESIDES = {"front-door"}  # of development clusters

overlays = pytest.mark.parametrize("overlay", RENDERINGS)


def _kind(overlay: str, *kinds: str) -> dict[str, Object]:
    return {item["metadata"]["name"]: item for item in rendered(overlay) if item["kind"] in kinds}


def _config(overlay: str, name: str) -> dict[str, str]:
    [data] = [item["data"] for key, item in _kind(overlay, "ConfigMap").items() if key.rpartition("-")[0] == name]
    return dict(data)


@overlays
def test_roles(overlay: str) -> None:
    assert _kind(overlay, "Deployment").keys() - _BESIDES == _ROLES
    assert {name for name, item in _kind(overlay, "Deployment").items() if is_role(item)} == _ROLES
    assert _kind(overlay, "Job").keys() == {"migrate-api", "migrate-webhooks", "migrate-media"}


@overlays
def test_every_workload_keeps_the_rules(overlay: str) -> None:
    limit_s = float(_config(overlay, "holdfast-config")["HOLDFAST_DRAIN_LIMIT_S"])
    broken = {
        item["metadata"]["name"]: sentences
        for item in rendered(overlay)
        if (sentences := [*restricted(item), *sized(item), *drains(item, limit_s), *probed(item)])
    }
    if overlay in _EDITED:  # a role at a breakpoint beats no heart, nor does one that does not start
        assert all(found == ["startup", "liveness"] for found in broken.values())
    else:
        assert broken == {}


@overlays
def test_namespaces_enforce_what_pods_keep(overlay: str) -> None:
    """Except where a debugger is brought: what skaffold puts beside a role for that has no security context."""
    [space] = _kind(overlay, "Namespace").values()
    labels = space["metadata"]["labels"]
    wanted = "baseline" if overlay == "debug" else "restricted"
    assert labels == {f"pod-security.kubernetes.io/{mode}": wanted for mode in ("enforce", "warn")}


@overlays
def test_holdfast_pods_are_one_user(overlay: str) -> None:
    for name, item in _kind(overlay, "Deployment", "Job").items():
        if name in _BESIDES:
            continue
        security = pod_of(item)["securityContext"]
        assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (_UID, _UID, _UID), name


@overlays
def test_readiness_is_looked_for_where_it_is_shown(overlay: str) -> None:
    assert f"{_config(overlay, 'holdfast-config')['HOLDFAST_STATE_DIR']}/{READY}" == READY_FILE


@pytest.mark.parametrize("overlay", [name for name in RENDERINGS if name not in _EDITED])
def test_a_crowded_node_has_time_to_start_a_pod(overlay: str) -> None:
    for item in rendered(overlay):
        if is_role(item):
            probe = containers(item)[0]["startupProbe"]
            assert probe["periodSeconds"] * probe["failureThreshold"] >= 120


@overlays
def test_nodes_can_be_taken_away(overlay: str) -> None:
    """The cluster autoscaler keeps a node whose pod has an emptyDir, unless the pod says which do not matter."""
    for item in rendered(overlay):
        if is_role(item):
            annotations = item["spec"]["template"]["metadata"]["annotations"]
            named = annotations["cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"].split(",")
            local = {volume["name"] for volume in pod_of(item)["volumes"] if "emptyDir" in volume}
            assert set(named) == local - {"code"}, "`code` is of the overlay that synchronises it"


@overlays
def test_migrations_wait_and_can_be_looked_at(overlay: str) -> None:
    """A Job cannot be changed: what it reads by a generated name would make an apply fail that brings no new image."""
    for item in _kind(overlay, "Job").values():
        [container] = containers(item)
        assert "envFrom" not in container
        assert not [one for one in container["env"] if "configMapKeyRef" in one.get("valueFrom", {})]
        assert not [one for one in pod_of(item)["volumes"] if "configMap" in one]
        assert float(container["command"][container["command"].index("--wait-s") + 1]) >= 600
        assert pod_of(item)["restartPolicy"] == "Never", "the pod of a Job that failed would be gone, with its log"
        assert item["spec"]["ttlSecondsAfterFinished"] >= 12 * 3600
        assert item["spec"]["activeDeadlineSeconds"] >= 4 * 3600, "an index on a large table"
        assert item["metadata"]["annotations"] == {  # or GitOps would end at the second release, or begin anew each day
            "argocd.argoproj.io/hook": "Sync",
            "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
            "kustomize.toolkit.fluxcd.io/force": "enabled",
        }


@overlays
def test_only_media_has_the_account_that_a_bucket_knows(overlay: str) -> None:
    for name, item in _kind(overlay, "Deployment", "Job").items():
        if name not in _BESIDES:
            wanted = "holdfast-media" if name.startswith("media-") else "holdfast"
            assert pod_of(item)["serviceAccountName"] == wanted, name


@overlays
def test_http_shuts_down_within_the_drain_limit(overlay: str) -> None:
    limit = _config(overlay, "holdfast-config")["HOLDFAST_DRAIN_LIMIT_S"]
    for item in _kind(overlay, "Deployment").values():
        command = command_of(item)
        if command[0] == "uvicorn":
            assert command[command.index("--timeout-graceful-shutdown") + 1] == limit


@overlays
def test_http_keeps_idle_connections_longer_than_proxies(overlay: str) -> None:
    """Whoever closes first must be the one that opens: ingress-nginx and load balancers hold them for 60 s."""
    for item in _kind(overlay, "Deployment").values():
        command = command_of(item)
        if command[0] == "uvicorn":
            assert float(command[command.index("--timeout-keep-alive") + 1]) > 60


@overlays
def test_http_bounds_heads(overlay: str) -> None:
    commands = [command_of(item) for item in _kind(overlay, "Deployment").values()]
    served = [command[command.index("--http") + 1] for command in commands if command[0] == "uvicorn"]
    assert set(served) == {"shared.runtime.heads:BoundedHttp"}


@overlays
def test_media_asks_for_a_cpu_per_slot(overlay: str) -> None:
    slots = int(_config(overlay, "media-config")["HOLDFAST_MEDIA_SLOTS"])
    for name, bringing in (("media-worker", BRINGS_MOST), ("media-bulk-worker", 0)):
        container = containers(_kind(overlay, "Deployment")[name])[0]
        on_a_laptop = "front-door" in _kind(overlay, "Deployment") and overlay not in COMBINATIONS
        assert container["resources"]["requests"]["cpu"] == ("500m" if on_a_laptop else str(slots))
        # One job runs in each slot and one is at hand, so that a pool never idles; others wait for networks.
        assert int(container["command"][container["command"].index("--max-async-tasks") + 1]) == 2 * slots + bringing


def _memory_mib(overlay: str, name: str) -> int:
    limit: str = containers(_kind(overlay, "Deployment")[name])[0]["resources"]["limits"]["memory"]
    return int(limit[:-2]) * (1024 if limit.endswith("Gi") else 1)


@overlays
def test_media_has_memory_for_what_slots_may_hold(overlay: str) -> None:
    """Otherwise the kernel ends the whole pod, and not the one slot that grew."""
    slots = int(_config(overlay, "media-config")["HOLDFAST_MEDIA_SLOTS"])
    need_mib = slots * MediaSettings(slots=slots).slot_resident_limit_bytes / 2**20 + 300
    for name in ("media-worker", "media-bulk-worker"):
        assert _memory_mib(overlay, name) >= need_mib, name


@overlays
def test_media_http_has_memory_for_what_is_on_its_way_in(overlay: str) -> None:
    """Otherwise some uploads at once end the pod, and all of them with it."""
    need_mib = 300 + MediaSettings().upload_memory_bytes / 2**20
    assert _memory_mib(overlay, "media-http") >= need_mib


@overlays
def test_films_have_scratch_for_all_that_are_taken_at_once(overlay: str) -> None:
    """A pod that goes over it is evicted with all that it works on, and so is the next one that takes those films."""
    item = _kind(overlay, "Deployment")["media-bulk-worker"]
    [size] = [one["emptyDir"]["sizeLimit"] for one in pod_of(item)["volumes"] if one["name"] == "tmp"]
    command = command_of(item)
    taken = int(command[command.index("--max-async-tasks") + 1])
    assert int(size.removesuffix("Gi")) * 2**30 >= taken * 3 * MediaSettings().upload_limit_bytes


_POSTGRES = [name for name in RENDERINGS if "postgres" in _kind(name, "StatefulSet")]


@pytest.mark.parametrize("overlay", _POSTGRES)
def test_the_database_has_room_for_every_process(overlay: str) -> None:
    """At the scalers' maxima, and one pod more of each role, as in a rollout."""
    [server] = containers(_kind(overlay, "StatefulSet")["postgres"])
    [most] = [int(arg.partition("=")[2]) for arg in server["args"] if arg.startswith("max_connections=")]
    pool = int(_config(overlay, "holdfast-config").get("HOLDFAST_DB_POOL", CoreSettings().db_pool))
    pods = {name: item["spec"].get("replicas", 1) for name, item in _kind(overlay, "Deployment").items()}
    for scaler in _kind(overlay, "HorizontalPodAutoscaler", "ScaledObject").values():
        spec = scaler["spec"]
        pods[spec["scaleTargetRef"]["name"]] = spec.get("maxReplicas", spec.get("maxReplicaCount"))
    processes = sum(count + 1 for name, count in pods.items() if name not in _BESIDES)
    assert connections_of(pool, processes) <= most - 3, "three are the superuser's"


@overlays
def test_budgets_and_services_select_one_role_each(overlay: str) -> None:
    roles = {
        name: item["spec"]["template"]["metadata"]["labels"]
        for name, item in _kind(overlay, "Deployment").items()
        if name not in _BESIDES
    }

    def selected(labels: dict[str, str]) -> list[str]:
        return [name for name, own in roles.items() if labels.items() <= own.items()]

    budgets = _kind(overlay, "PodDisruptionBudget")
    assert budgets.keys() == roles.keys()
    for name, budget in budgets.items():
        assert selected(budget["spec"]["selector"]["matchLabels"]) == [name]
        # None is ready while the database is away: a node must be drained all the same.
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    for name in ("api", "webhooks", "media"):
        service = _kind(overlay, "Service")[name]["spec"]
        [role] = selected(service["selector"])
        ports = containers(_kind(overlay, "Deployment")[role])[0]["ports"]
        assert {port["targetPort"] for port in service["ports"]} == {port["name"] for port in ports}
        assert role == f"{name}-http"


@overlays
def test_secrets_are_known_by_name(overlay: str) -> None:
    for item in rendered(overlay):
        for container in containers(item):
            for variable in container.get("env", []):
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    assert reference["key"] in _SECRETS[reference["name"]]
                    assert reference.get("optional", False) == (reference["key"] in _OPTIONAL)


@overlays
def test_only_webhooks_hold_the_master_key(overlay: str) -> None:
    holders = {
        name
        for name, item in _kind(overlay, "Deployment", "Job").items()
        if any(variable["name"] == "HOLDFAST_MASTER_KEY" for variable in containers(item)[0].get("env", []))
    }
    assert holders == {"webhooks-http", "webhooks-worker"}


def _set(path: str, value: Any) -> Callable[[Object], None]:
    def change(item: Object) -> None:
        at: Any = item
        *way, last = path.split("/")
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at[step]
        at[last] = value

    return change


_POD = "spec/template/spec"
_BREAKS = [
    _set(f"{_POD}/automountServiceAccountToken", True),
    _set(f"{_POD}/securityContext/runAsNonRoot", False),
    _set(f"{_POD}/securityContext/seccompProfile", {"type": "Unconfined"}),
    _set(f"{_POD}/hostNetwork", True),
    _set(f"{_POD}/volumes", [{"name": "host", "hostPath": {"path": "/"}}]),
    _set(f"{_POD}/volumes", [{"name": "tmp", "emptyDir": {}}]),
    _set(f"{_POD}/containers/0/securityContext/readOnlyRootFilesystem", False),
    _set(f"{_POD}/containers/0/securityContext/capabilities", {"drop": ["ALL"], "add": ["NET_ADMIN"]}),
    _set(f"{_POD}/containers/0/securityContext/runAsUser", 0),
    _set(f"{_POD}/containers/0/resources", {"requests": {"cpu": "1"}}),
    _set(f"{_POD}/terminationGracePeriodSeconds", 39),
    _set(f"{_POD}/containers/0/lifecycle", {"preStop": {"exec": {"command": ["sleep", "15"]}}}),
    _set(f"{_POD}/containers/0/livenessProbe", {"httpGet": {"path": "/readyz", "port": "http"}}),
]


@pytest.mark.parametrize("number", range(len(_BREAKS)))
def test_each_rule_can_fail(number: int) -> None:
    item = copy.deepcopy(_kind("dev", "Deployment")["api-http"])
    assert [*restricted(item), *sized(item), *drains(item, 25), *probed(item)] == []
    _BREAKS[number](item)
    assert [*restricted(item), *sized(item), *drains(item, 25), *probed(item)]
