"""Services, images, artifacts and commands agree: Dockerfile, skaffold.yaml, pyproject.toml, k8s/ and services/."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from .render import OVERLAYS, ROOT, rendered
from .subset import containers

_DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
_SKAFFOLD: dict[str, Any] = yaml.safe_load((ROOT / "skaffold.yaml").read_text("utf-8"))
_SERVICES = {path.parent.name for path in (ROOT / "services").glob("*/__init__.py")}
_DATASTORES = {"valkey", "postgres"}


def _bases() -> set[str]:
    """Folders of k8s/base that hold a service: those that serve HTTP."""
    return {path.parent.name for path in (ROOT / "k8s" / "base").glob("*/http.yaml")}


def _artifacts(config: dict[str, Any]) -> dict[str, str]:
    return {item["docker"]["buildArgs"]["SERVICE"]: item["image"] for item in config["build"]["artifacts"]}


def _with_profile(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "skaffold.yaml").read_text("utf-8"))
    [profile] = [item for item in config["profiles"] if item["name"] == name]
    config |= {key: profile[key] for key in ("manifests",) if key in profile}
    for patch in profile.get("patches", []):
        at: Any = config
        *way, last = patch["path"].strip("/").split("/")
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at[step]
        key: Any = int(last) if isinstance(at, list) else last
        assert patch["op"] == "replace"
        assert at[key]  # A replacement of what is not there is an error for skaffold too.
        at[key] = patch["value"]
    return config


def _commands(overlay: str) -> dict[str, list[str]]:
    return {
        item["metadata"]["name"]: containers(item)[0]["command"]
        for item in rendered(overlay)
        if item["kind"] in {"Deployment", "Job"}
    }


def test_every_service_has_a_base_an_artifact_and_an_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert _bases() == _artifacts(_SKAFFOLD).keys() == _SERVICES
    assert extras.keys() >= _SERVICES
    assert {path.stem for path in (ROOT / "k8s" / "base" / "migrate").glob("*.yaml")} - {"kustomization"} == _SERVICES


def test_artifacts_are_one_dockerfile_in_one_context() -> None:
    assert (_SKAFFOLD["apiVersion"], _SKAFFOLD["kind"]) == ("skaffold/v4beta13", "Config")
    for artifact in _SKAFFOLD["build"]["artifacts"]:
        assert artifact.keys() == {"image", "context", "docker"}
        assert artifact["context"] == "."
        assert (ROOT / artifact["docker"]["dockerfile"]).is_file()


@pytest.mark.parametrize("profile", OVERLAYS)
def test_skaffold_builds_what_the_overlay_runs(profile: str) -> None:
    config = _with_profile(profile)
    [path] = config["manifests"]["kustomize"]["paths"]
    assert path == f"k8s/overlays/{profile}"
    run = {
        container["image"].rsplit(":", 1)[0]
        for item in rendered(profile)
        if item["metadata"]["name"] not in _DATASTORES
        for container in containers(item)
    }
    assert run == set(_artifacts(config).values())
    [space] = [item["metadata"]["name"] for item in rendered(profile) if item["kind"] == "Namespace"]
    assert f"-n {space} delete job" in config["deploy"]["kubectl"]["hooks"]["before"][0]["host"]["command"][2]


def test_port_forwards_reach_services() -> None:
    services = {
        (item["metadata"]["namespace"], item["metadata"]["name"], port["port"])
        for item in rendered("dev")
        if item["kind"] == "Service"
        for port in item["spec"]["ports"]
    }
    forwards = [(item["namespace"], item["resourceName"], item["port"]) for item in _SKAFFOLD["portForward"]]
    assert set(forwards) <= services
    assert len({item["localPort"] for item in _SKAFFOLD["portForward"]}) == len(forwards)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_role_runs_its_own_image(overlay: str) -> None:
    for item in rendered(overlay):
        name = item["metadata"]["name"]
        if item["kind"] not in {"Deployment", "Job"}:
            continue
        service = "api" if name == "relay" else name.removeprefix("migrate-").split("-")[0]
        image = containers(item)[0]["image"]
        assert re.search(rf"[/-]{service}(:|$)", image), (name, image)
        for module in re.findall(r"services\.(\w+)\.", " ".join(containers(item)[0]["command"])):
            assert module == service, name


def _targets() -> list[tuple[str, str]]:
    """Module and attribute of each command: ('services.api.app', 'create_app'); empty attribute for `python -m`."""
    found = set()
    for command in _commands("dev").values():
        for word in command:
            if match := re.fullmatch(r"((?:services|shared)(?:\.\w+)+)(?::(\w+))?", word):
                found.add((match[1], match[2] or ""))
    return sorted(found | {("shared.runtime.heartbeat", "")})


def test_every_role_names_a_module_of_its_image() -> None:
    assert {module for module, _ in _targets()} == {
        *(f"services.{service}.{part}" for service in _SERVICES for part in ("app", "worker")),
        *(f"shared.runtime.{part}" for part in ("relay", "migrate", "heartbeat", "heads")),
        "shared.transport.receiver",
    }


@pytest.mark.parametrize(("module", "attribute"), _targets())
def test_commands_name_what_is_there(module: str, attribute: str) -> None:
    path = ROOT / Path(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        pytest.skip(f"{module} is not written yet")
    tree = ast.parse(path.read_text("utf-8"))
    names = {getattr(node, "name", None) for node in tree.body}
    names |= {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert not attribute or attribute in names


def test_dockerfile_keeps_the_house_rules() -> None:
    assert "# syntax=" not in _DOCKERFILE
    assert not re.search(r"https?://|index-url|apt-get|build-essential|gcc", _DOCKERFILE)
    assert set(re.findall(r"^FROM (\S+)", _DOCKERFILE, re.MULTILINE)) == {"python:3.13-slim"}
    final = _DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert re.search(r"^USER 10001:10001$", final, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", final, re.MULTILINE)
    assert not re.search(r"^(CMD|ENTRYPOINT) [^\[]", _DOCKERFILE, re.MULTILINE), "the shell form swallows signals"
    assert "holdfast.cli" not in final


def test_the_image_starts_as_the_http_role_does() -> None:
    [default] = re.findall(r"^CMD (\[.*\])$", _DOCKERFILE, re.MULTILINE)
    role = _commands("dev")["media-http"]
    assert yaml.safe_load(default) == [word for word in role if not word.startswith("services.")]
    assert "UVICORN_APP=services.${SERVICE}.app:create_app" in _DOCKERFILE


def test_the_build_context_is_an_allow_list() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule for rule in rules if rule.startswith("!")} == {
        "!pyproject.toml", "!requirements.lock", "!k8s/image/*", "!shared", "!services",
    }  # fmt: skip
