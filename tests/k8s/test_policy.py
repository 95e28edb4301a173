"""The house rules for workloads hold in every overlay, and each rule can fail."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from shared.kernel.settings import CoreSettings

from .policy import Object, drains, pod_of, probed, restricted, sized
from .render import OVERLAYS, rendered
from .subset import containers

_UID = 10001
_ROLES = {"api-http", "api-worker", "webhooks-http", "webhooks-worker", "media-http", "media-worker", "relay"}
_SECRETS = {
    "holdfast-secrets": {"database-url", "redis-url", "master-key", "smtp-url", "llm-url", "llm-key", "llm-model"},
    "holdfast-dev-postgres": {"password"},
}

overlays = pytest.mark.parametrize("overlay", OVERLAYS)


def _kind(overlay: str, *kinds: str) -> dict[str, Object]:
    return {item["metadata"]["name"]: item for item in rendered(overlay) if item["kind"] in kinds}


def _config(overlay: str, name: str) -> dict[str, str]:
    [data] = [item["data"] for key, item in _kind(overlay, "ConfigMap").items() if key.rpartition("-")[0] == name]
    return dict(data)


@overlays
def test_roles(overlay: str) -> None:
    assert _kind(overlay, "Deployment").keys() == _ROLES
    assert _kind(overlay, "Job").keys() == {"migrate-api", "migrate-webhooks", "migrate-media"}


@overlays
def test_every_workload_keeps_the_rules(overlay: str) -> None:
    limit_s = float(_config(overlay, "holdfast-config")["HOLDFAST_DRAIN_LIMIT_S"])
    broken = {
        item["metadata"]["name"]: sentences
        for item in rendered(overlay)
        if (sentences := [*restricted(item), *sized(item), *drains(item, limit_s), *probed(item)])
    }
    assert broken == {}


@overlays
def test_holdfast_pods_are_one_user(overlay: str) -> None:
    for name, item in _kind(overlay, "Deployment", "Job").items():
        security = pod_of(item)["securityContext"]
        assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (_UID, _UID, _UID), name


@overlays
def test_no_replicas_are_written_down(overlay: str) -> None:
    assert [item["metadata"]["name"] for item in rendered(overlay) if "replicas" in item.get("spec", {})] == []


@overlays
def test_http_shuts_down_within_the_drain_limit(overlay: str) -> None:
    limit = _config(overlay, "holdfast-config")["HOLDFAST_DRAIN_LIMIT_S"]
    for item in _kind(overlay, "Deployment").values():
        command = containers(item)[0]["command"]
        if command[0] == "uvicorn":
            assert command[command.index("--timeout-graceful-shutdown") + 1] == limit


@overlays
def test_http_bounds_heads(overlay: str) -> None:
    commands = [containers(item)[0]["command"] for item in _kind(overlay, "Deployment").values()]
    served = [command[command.index("--http") + 1] for command in commands if command[0] == "uvicorn"]
    assert set(served) == {"shared.runtime.heads:BoundedHttp"}


@overlays
def test_media_asks_for_a_cpu_per_slot(overlay: str) -> None:
    slots = int(_config(overlay, "media-config")["HOLDFAST_MEDIA_SLOTS"])
    container = containers(_kind(overlay, "Deployment")["media-worker"])[0]
    assert int(container["resources"]["requests"]["cpu"]) == slots
    # One job runs in each slot and one is at hand, so that a pool never idles.
    assert int(container["command"][container["command"].index("--max-async-tasks") + 1]) == 2 * slots


@overlays
def test_budgets_and_services_select_one_role_each(overlay: str) -> None:
    roles = {
        name: item["spec"]["template"]["metadata"]["labels"] for name, item in _kind(overlay, "Deployment").items()
    }

    def selected(labels: dict[str, str]) -> list[str]:
        return [name for name, own in roles.items() if labels.items() <= own.items()]

    budgets = _kind(overlay, "PodDisruptionBudget")
    assert budgets.keys() == roles.keys()
    for name, budget in budgets.items():
        assert selected(budget["spec"]["selector"]["matchLabels"]) == [name]
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
                    assert reference.get("optional", False) == reference["key"].startswith("llm-")


@overlays
def test_only_webhooks_hold_the_master_key(overlay: str) -> None:
    holders = {
        name
        for name, item in _kind(overlay, "Deployment", "Job").items()
        if any(variable["name"] == "HOLDFAST_MASTER_KEY" for variable in containers(item)[0]["env"])
    }
    assert holders == {"webhooks-http", "webhooks-worker"}


@overlays
def test_shared_settings_exist(overlay: str) -> None:
    for name in _config(overlay, "holdfast-config"):
        assert name.removeprefix("HOLDFAST_").lower() in CoreSettings.model_fields, name
    assert _config(overlay, "media-config")["HOLDFAST_MEDIA_STORAGE_URL"]


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
