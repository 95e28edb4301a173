"""Every service's app, walked: each POST takes an idempotency key, each route names a scope, nothing else is open."""

import base64
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import pytest
from fastapi import FastAPI

import services
from services.media.routes.files import SIGNED
from shared.runtime.health import health_router
from shared.runtime.http import METRICS_PATH, api_routes, names_scope, takes_key
from tests.integration.http.places import valkey

NAMES = [
    module.name
    for module in pkgutil.iter_modules(services.__path__)
    if importlib.util.find_spec(f"services.{module.name}.app") is not None
]


@pytest.fixture(params=NAMES)
def app(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", f"sqlite:///{tmp_path}/x.db")
    monkeypatch.setenv("HOLDFAST_REDIS_URL", valkey().url)
    monkeypatch.setenv("HOLDFAST_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("HOLDFAST_MASTER_KEY", base64.urlsafe_b64encode(b"k" * 32).decode())
    monkeypatch.setenv("HOLDFAST_MEDIA_STORAGE_URL", f"file://{tmp_path}")
    made: FastAPI = importlib.import_module(f"services.{request.param}.app").create_app()
    return made


def test_every_post_takes_an_idempotency_key(app: FastAPI) -> None:
    posts = [(path, route) for path, route in api_routes(app) if "POST" in (route.methods or ())]
    assert posts
    assert [path for path, route in posts if not takes_key(route)] == []


def test_every_route_but_health_names_a_scope_and_stands_under_v1(app: FastAPI) -> None:
    health = {path for path, _ in api_routes(health_router())}
    others = [(path, route) for path, route in api_routes(app) if path not in health]
    unscoped = [path for path, route in others if not names_scope(route)]
    assert [path for path in unscoped if not path.startswith(SIGNED)] == [], "what a signed link opens needs no key"
    assert [path for path, _ in others if path != METRICS_PATH and not path.startswith("/v1/")] == []


def test_the_openapi_can_be_made(app: FastAPI) -> None:
    document = app.openapi()
    assert document["security"] == [{"api_key": []}]
    assert set(document["paths"]) == {path for path, _ in api_routes(app)}
    operations = [each for of in document["paths"].values() for each in of.values()]
    assert {str(list(each["responses"]["default"]["content"])) for each in operations} == {
        "['application/problem+json']"
    }
    assert "HTTPValidationError" not in str(document), "no route answers so"
