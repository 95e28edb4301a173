"""Services, images, artifacts and commands agree: Dockerfile, skaffold.yaml, pyproject.toml, k8s/ and services/."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from .policy import restricted, sized
from .render import OVERLAYS, ROOT, rendered
from .subset import containers

_DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
_SKAFFOLD: dict[str, Any] = yaml.safe_load((ROOT / "skaffold.yaml").read_text("utf-8"))
_SERVICES = {path.parent.name for path in (ROOT / "services").glob("*/__init__.py")}
_DATASTORES = {"valkey", "postgres"}
_PATHS = {"sync": "dev"}  # by the profile that renders them


def _bases() -> set[str]:
    """Folders of k8s/base that hold a service: those that serve HTTP."""
    return {path.parent.name for path in (ROOT / "k8s" / "base").glob("*/http.yaml")}


def _artifacts(config: dict[str, Any]) -> dict[str, str]:
    return {item["docker"]["buildArgs"]["SERVICE"]: item["image"] for item in config["build"]["artifacts"]}


def _with_profile(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "skaffold.yaml").read_text("utf-8"))
    [profile] = [item for item in config["profiles"] if item["name"] == name]
    config |= {key: profile[key] for key in ("manifests", "portForward", "verify") if key in profile}
    for patch in profile.get("patches", []):
        at: Any = config
        *way, last = patch["path"].strip("/").split("/")
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at[step]
        key: Any = int(last) if isinstance(at, list) else last
        assert at[key]  # To replace or remove what is not there is an error for skaffold too.
        if patch["op"] == "remove":
            del at[key]
            continue
        assert patch["op"] == "replace"
        at[key] = patch["value"]
    return config


def _commands(overlay: str) -> dict[str, list[str]]:
    return {
        item["metadata"]["name"]: containers(item)[0]["command"]
        for item in rendered(overlay)
        if item["kind"] in {"Deployment", "Job"} and item["metadata"]["name"] != "front-door"
    }


def test_every_service_has_a_base_an_artifact_and_an_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert _bases() == _artifacts(_SKAFFOLD).keys() == _SERVICES
    assert extras.keys() >= _SERVICES
    assert {path.stem for path in (ROOT / "k8s" / "base" / "migrate").glob("*.yaml")} - {"kustomization"} == _SERVICES


def test_artifacts_are_one_dockerfile_in_one_context() -> None:
    assert (_SKAFFOLD["apiVersion"], _SKAFFOLD["kind"]) == ("skaffold/v4beta13", "Config")
    for artifact in _SKAFFOLD["build"]["artifacts"]:
        assert artifact.keys() == {"image", "context", "runtimeType", "docker", "sync"}
        assert artifact["context"] == "."
        assert (ROOT / artifact["docker"]["dockerfile"]).is_file()


@pytest.mark.parametrize("profile", OVERLAYS)
def test_skaffold_builds_what_the_overlay_runs(profile: str) -> None:
    """`dev` is what stands outside of all profiles; the profile of that name synchronises code as well."""
    config = _SKAFFOLD if profile == "dev" else _with_profile(_PATHS.get(profile, profile))
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


def test_one_front_door_is_forwarded_to() -> None:
    services = {
        (item["metadata"]["namespace"], item["metadata"]["name"], port["port"])
        for item in rendered("dev")
        if item["kind"] == "Service"
        for port in item["spec"]["ports"]
    }
    [forward] = _SKAFFOLD["portForward"]
    assert (forward["namespace"], forward["resourceName"], forward["port"]) in services
    assert forward["resourceName"] == "front-door"
    for profile in _SKAFFOLD["profiles"]:  # production has an Ingress, and no program that plays in it
        config = _with_profile(profile["name"])
        assert config.keys().isdisjoint({"portForward", "verify"}) == (profile["name"] in {"staging", "production"})


def test_profiles() -> None:
    assert {profile["name"] for profile in _SKAFFOLD["profiles"]} >= {"dev", "debug", "keda", "production"}
    by_command = {profile["name"]: profile.get("activation") for profile in _SKAFFOLD["profiles"]}
    assert {name: found for name, found in by_command.items() if found} == {
        "dev": [{"command": "dev"}],
        "debug": [{"command": "debug"}],
    }


def test_synchronised_files_are_there_and_go_where_they_are_read() -> None:
    roles = {item["metadata"]["name"]: item for item in rendered("sync") if item["kind"] == "Deployment"}
    for artifact in _SKAFFOLD["build"]["artifacts"]:
        service = artifact["docker"]["buildArgs"]["SERVICE"]
        assert {rule["src"] for rule in artifact["sync"]["manual"]} == {"shared/**/*.py", f"services/{service}/**/*.py"}
        for rule in artifact["sync"]["manual"]:
            assert any(ROOT.glob(rule["src"]))
            mounts = containers(roles[f"{service}-http"])[0]["volumeMounts"]
            [volume] = [mount["name"] for mount in mounts if mount["mountPath"] == rule["dest"]]
            assert not next(mount for mount in mounts if mount["name"] == volume).get("readOnly")
        [copy] = roles[f"{service}-http"]["spec"]["template"]["spec"]["initContainers"]
        assert copy["image"] == artifact["image"]


def test_every_container_that_files_are_synchronised_into_takes_them() -> None:
    """skaffold copies into each running container of an image, and a root that is read-only would end the copying."""
    images = set(_artifacts(_SKAFFOLD).values())
    for item in rendered("sync"):
        if item["kind"] != "Deployment":
            continue
        pod = item["spec"]["template"]["spec"]
        for container in pod["containers"]:
            if container["image"] in images:
                [volume] = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == "/app"]
                assert "emptyDir" in next(one for one in pod["volumes"] if one["name"] == volume)


def test_nothing_is_synchronised_where_roots_are_read_only() -> None:
    """`skaffold dev -p keda`: the copying would fail, and the change would never be deployed."""
    assert all("sync" not in artifact for artifact in _with_profile("keda")["build"]["artifacts"])


def test_verification_runs_the_program_that_is_deployed() -> None:
    [case] = _SKAFFOLD["verify"]
    job = yaml.safe_load((ROOT / case["executionMode"]["kubernetesCluster"]["jobManifestPath"]).read_text("utf-8"))
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert (container["name"], container["image"], container["command"]) == (
        case["container"]["name"], case["container"]["image"], case["container"]["command"],
    )  # fmt: skip
    assert case["container"]["image"] in _artifacts(_SKAFFOLD).values()
    [volume] = [one for one in job["spec"]["template"]["spec"]["volumes"] if "configMap" in one]
    [mount] = [one for one in container["volumeMounts"] if one["name"] == volume["name"]]
    [config] = [
        item for item in rendered("dev")
        if item["kind"] == "ConfigMap" and item["metadata"]["name"] == volume["configMap"]["name"]
    ]  # fmt: skip
    folder, _, name = case["container"]["command"][1].rpartition("/")
    assert folder == mount["mountPath"]
    assert name in config["data"]
    assert job["metadata"]["namespace"] == config["metadata"]["namespace"]
    assert [*restricted(job), *sized(job)] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_role_runs_its_own_image(overlay: str) -> None:
    for item in rendered(overlay):
        name = item["metadata"]["name"]
        if item["kind"] not in {"Deployment", "Job"} or name == "front-door":
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
