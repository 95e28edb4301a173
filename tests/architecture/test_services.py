"""A service is a folder with the same parts as every other, and everything that deploys it knows it by that name."""

from __future__ import annotations

import importlib
import tomllib
from typing import Any

import pytest
import yaml

from shared.db.migrate import Owner
from tests.architecture.tree import ROOT, services

PARTS = ("app.py", "worker.py", "tasks.py", "models.py", "store.py", "settings.py", "deps.py", "schema.py")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SKAFFOLD: dict[str, Any] = yaml.safe_load((ROOT / "skaffold.yaml").read_text("utf-8"))
# webhooks owns three tables, and a store for each
SEVERAL_STORES = {"webhooks"}


@pytest.mark.parametrize("service", services())
def test_the_folder_holds_every_part(service: str) -> None:
    folder = ROOT / "services" / service
    wanted = set(PARTS) - ({"store.py"} if service in SEVERAL_STORES else set())
    assert {part for part in wanted if not (folder / part).is_file()} == set()
    assert list(folder.glob("store*.py")), "a service keeps its SQL in its stores"
    assert (folder / "routes" / "__init__.py").is_file()
    assert list((folder / "migrations" / "versions").glob("0001_*.py"))


@pytest.mark.parametrize("service", services())
def test_app_worker_and_schema_offer_what_the_runtime_looks_for(service: str) -> None:
    assert callable(importlib.import_module(f"services.{service}.app").create_app)
    assert callable(importlib.import_module(f"services.{service}.worker").create_broker)
    owner = importlib.import_module(f"services.{service}.schema").OWNER
    assert isinstance(owner, Owner)
    assert owner.name == service
    versions = sorted(path.stem for path in (owner.folder / "versions").glob("[0-9]*.py"))
    assert int(versions[-1][:4]) == owner.newest, "the code knows another newest version than its migrations"


@pytest.mark.parametrize("service", services())
def test_settings_carry_the_services_prefix(service: str) -> None:
    module = importlib.import_module(f"services.{service}.settings")
    classes = [getattr(module, name) for name in vars(module) if name.lower() == f"{service}settings"]
    assert [kind.model_config["env_prefix"] for kind in classes] == [f"HOLDFAST_{service.upper()}_"]
    assert classes[0].model_config["frozen"]


@pytest.mark.parametrize("service", services())
def test_tables_carry_the_services_name(service: str) -> None:
    module = importlib.import_module(f"services.{service}.models")
    tables = [
        value.__tablename__ for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__
    ]
    assert tables
    assert [name for name in tables if not name.startswith(f"{service}_")] == []


@pytest.mark.parametrize("service", services())
def test_an_extra_a_base_and_an_artifact_are_named_like_the_service(service: str) -> None:
    assert service in PROJECT["project"]["optional-dependencies"]
    base = ROOT / "k8s" / "base" / service
    assert {"kustomization.yaml", "http.yaml", "worker.yaml", "service.yaml", "pdb.yaml"} <= {
        p.name for p in base.iterdir()
    }
    worker = yaml.safe_load((base / "worker.yaml").read_text("utf-8"))
    command = worker["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[:3] == ["taskiq", "worker", f"services.{service}.worker:create_broker"]
    assert "shared.transport.receiver:HoldfastReceiver" in command
    artifacts = {item["docker"]["buildArgs"]["SERVICE"]: item["image"] for item in SKAFFOLD["build"]["artifacts"]}
    assert artifacts[service] == f"holdfast-{service}"


def test_nothing_is_deployed_that_is_no_service() -> None:
    assert {item["docker"]["buildArgs"]["SERVICE"] for item in SKAFFOLD["build"]["artifacts"]} == set(services())
    assert {path.parent.name for path in (ROOT / "k8s" / "base").glob("*/worker.yaml")} == set(services())


def test_the_import_rules_name_every_service() -> None:
    """A service that import-linter has not heard of is bound by nothing."""
    contracts = {item["name"]: item for item in PROJECT["tool"]["importlinter"]["contracts"]}
    independent = contracts["services never import each other"]["modules"]
    assert sorted(independent) == [f"services.{service}" for service in services()]
    bound = contracts["routes and tasks touch neither SQLAlchemy nor Redis"]["source_modules"]
    assert sorted(bound) == sorted(
        f"services.{service}.{part}" for service in services() for part in ("routes", "tasks")
    )
