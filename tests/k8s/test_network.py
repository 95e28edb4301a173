"""Who reaches whom: policies, Services, scrapers, routes and the front door agree about labels, ports and prefixes."""

from __future__ import annotations

import ast
from ipaddress import collapse_addresses, ip_network
from typing import Any

import pytest

from shared.runtime.addresses import _SPECIAL_V4, _SPECIAL_V6

from .policy import Object, is_role
from .render import RENDERINGS, ROOT, rendered
from .subset import containers

_LOCKED = [name for name in RENDERINGS if any(item["metadata"]["name"] == "holdfast-deny" for item in rendered(name))]
_WATCHED = [name for name in RENDERINGS if any(item["kind"] == "PodMonitor" for item in rendered(name))]
_PREFIXES = (("/v1/webhooks", "webhooks"), ("/v1/media", "media"), ("/v1", "api"))
overlays = pytest.mark.parametrize("overlay", RENDERINGS)


def kind(overlay: str, *kinds: str) -> dict[str, Object]:
    return {item["metadata"]["name"]: item for item in rendered(overlay) if item["kind"] in kinds}


def pods(overlay: str) -> dict[str, tuple[dict[str, str], set[tuple[str | None, int]]]]:
    """Workload → (labels of its pods, their ports as (name, number))."""
    found = {}
    for name, item in kind(overlay, "Deployment", "StatefulSet", "Job").items():
        ports = {(port.get("name"), port["containerPort"]) for one in containers(item) for port in one.get("ports", [])}
        found[name] = (item["spec"]["template"]["metadata"]["labels"], ports)
    return found


def selects(selector: Object, labels: dict[str, str]) -> bool:
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def chosen(overlay: str, selector: Object) -> set[str]:
    return {name for name, (labels, _) in pods(overlay).items() if selects(selector, labels)}


def allowed(overlay: str, direction: str, role: str) -> set[int]:
    labels = pods(overlay)[role][0]
    return {
        port["port"]
        for policy in kind(overlay, "NetworkPolicy").values()
        if selects(policy["spec"]["podSelector"], labels)
        for rule in policy["spec"].get(direction, [])
        for port in rule.get("ports", [])
    }


@overlays
def test_services_reach_ports_of_pods(overlay: str) -> None:
    for service in kind(overlay, "Service").values():
        [name] = chosen(overlay, {"matchLabels": service["spec"]["selector"]})
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= {port for port, _ in pods(overlay)[name][1]}


@pytest.mark.parametrize("overlay", _LOCKED)
def test_policies_select_pods_and_open_only_ports_that_are_there(overlay: str) -> None:
    for policy in kind(overlay, "NetworkPolicy").values():
        names = chosen(overlay, policy["spec"]["podSelector"])
        assert names, policy["metadata"]["name"]
        there = {number for name in names for _, number in pods(overlay)[name][1]}
        opened = {port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]}
        assert opened <= there, policy["metadata"]["name"]


@pytest.mark.parametrize("overlay", _LOCKED)
def test_what_services_offer_is_let_in(overlay: str) -> None:
    """A Service whose pods are denied everything would be a door painted on a wall."""
    for service in kind(overlay, "Service").values():
        [name] = chosen(overlay, {"matchLabels": service["spec"]["selector"]})
        labels, ports = pods(overlay)[name]
        if labels.get("app.kubernetes.io/part-of") == "holdfast":
            numbers = dict(ports)
            assert {numbers[port["targetPort"]] for port in service["spec"]["ports"]} <= allowed(
                overlay, "ingress", name
            )


@pytest.mark.parametrize("overlay", _LOCKED)
def test_everything_of_holdfast_is_denied_first(overlay: str) -> None:
    deny = kind(overlay, "NetworkPolicy")["holdfast-deny"]["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not deny.keys() & {"ingress", "egress"}
    ours = {
        name
        for name, item in kind(overlay, "Deployment", "Job").items()
        if is_role(item) or name.startswith("migrate-")
    }
    assert chosen(overlay, deny["podSelector"]) == ours


@pytest.mark.parametrize("overlay", _LOCKED)
def test_every_role_reaches_names_and_datastores(overlay: str) -> None:
    for name in chosen(overlay, kind(overlay, "NetworkPolicy")["holdfast-deny"]["spec"]["podSelector"]):
        assert {53, 5432, 6379} <= allowed(overlay, "egress", name), name
    if overlay == "datastores-isolated":
        offered = {
            port["port"] for name in ("postgres", "valkey") for port in kind(overlay, "Service")[name]["spec"]["ports"]
        }
        assert offered == {5432, 6379}


@pytest.mark.parametrize("overlay", _LOCKED)
def test_deliveries_and_downloads_go_to_public_addresses_only(overlay: str) -> None:
    for name in ("holdfast-deliveries", "holdfast-media-storage"):
        open_rules = [rule for rule in kind(overlay, "NetworkPolicy")[name]["spec"]["egress"] if "ports" not in rule]
        [rule] = open_rules
        blocks = {block["ipBlock"]["cidr"]: block["ipBlock"]["except"] for block in rule["to"]}
        assert blocks.keys() == {"0.0.0.0/0", "2000::/3"}
        for cidr, left_out in blocks.items():
            refused = [net for net, _ in (*_SPECIAL_V4, *_SPECIAL_V6) if net.overlaps(whole := ip_network(cidr))]
            closed = map(ip_network, left_out)
            assert set(collapse_addresses(closed)) == set(collapse_addresses(refused)), "as the process refuses them"
            assert all(ip_network(net).subnet_of(whole) for net in left_out), "the API server takes no others"


@pytest.mark.parametrize("overlay", _WATCHED)
def test_every_role_is_scraped_where_it_listens(overlay: str) -> None:
    http = kind(overlay, "ServiceMonitor")["holdfast-http"]["spec"]
    services = {
        name: item
        for name, item in kind(overlay, "Service").items()
        if selects(http["selector"], item["metadata"].get("labels", {}))
    }
    assert services.keys() == {"api", "webhooks", "media"}
    assert all(
        port["name"] == http["endpoints"][0]["port"] for item in services.values() for port in item["spec"]["ports"]
    )
    workers = kind(overlay, "PodMonitor")["holdfast-workers"]["spec"]
    roles = {name for name, item in kind(overlay, "Deployment").items() if is_role(item)}
    assert chosen(overlay, workers["selector"]) == {name for name in roles if not name.endswith("-http")}
    [config] = [
        item["data"] for name, item in kind(overlay, "ConfigMap").items() if name.startswith("holdfast-config-")
    ]
    assert config["HOLDFAST_METRICS_OPEN"] == "true"
    for name in chosen(overlay, workers["selector"]):
        assert ("metrics", int(config["HOLDFAST_METRICS_PORT"])) in pods(overlay)[name][1]


def test_metrics_are_closed_where_nothing_scrapes() -> None:
    for overlay in set(RENDERINGS) - set(_WATCHED):
        for item in kind(overlay, "ConfigMap").values():
            assert not [name for name in item["data"] if name.startswith("HOLDFAST_METRICS")], overlay


def _rules(overlay: str) -> list[tuple[str, str, Any]]:
    """(prefix, service, port) in the order in which they stand."""
    found: list[tuple[str, str, Any]] = []
    for item in kind(overlay, "Ingress").values():
        [rule] = item["spec"]["rules"]
        found += [
            (path["path"], path["backend"]["service"]["name"], path["backend"]["service"]["port"]["name"])
            for path in rule["http"]["paths"]
        ]
        assert [tls["hosts"] for tls in item["spec"]["tls"]] == [[rule["host"]]]
    for item in kind(overlay, "HTTPRoute").values():
        for rule in item["spec"]["rules"]:
            [match], [backend] = rule["matches"], rule["backendRefs"]
            found.append((match["path"]["value"], backend["name"], backend["port"]))
    return found


@overlays
def test_routes_are_the_three_prefixes(overlay: str) -> None:
    rules = _rules(overlay)
    if not rules:
        assert not overlay.startswith(("production", "staging"))
        return
    assert [(prefix, service) for prefix, service, _ in rules] == list(_PREFIXES)
    for _, service, port in rules:
        ports = kind(overlay, "Service")[service]["spec"]["ports"]
        assert port in {one for item in ports for one in (item["name"], item["port"])}


@overlays
def test_load_balancers_look_for_health_where_it_is_told(overlay: str) -> None:
    """`/` is 404, and behind a load balancer that asks there no pod would ever get a request."""
    for item in kind(overlay, "Ingress").values():
        notes = item["metadata"]["annotations"]
        services = kind(overlay, "Service").values()
        assert all(one["spec"].get("type", "ClusterIP") == "ClusterIP" for one in services)
        assert notes["alb.ingress.kubernetes.io/target-type"] == "ip", "no Service has a port of the nodes"
        for name in ("api-http", "webhooks-http", "media-http"):
            [container] = containers(kind(overlay, "Deployment")[name])
            path = container["readinessProbe"]["httpGet"]["path"]
            assert notes["alb.ingress.kubernetes.io/healthcheck-path"] == path


def test_the_front_door_knows_the_same_prefixes() -> None:
    tree = ast.parse((ROOT / "k8s/components/front-door/front_door.py").read_text("utf-8"))
    [value] = [
        node.value for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "PREFIXES"
    ]  # fmt: skip
    assert ast.literal_eval(value) == _PREFIXES
