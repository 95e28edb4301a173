"""Express routes go past the framework's stack, and answer in every way as if they did not."""

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Depends, Request
from pydantic import SecretStr
from starlette.responses import Response

from services.webhooks.app import create_app
from services.webhooks.settings import WebhooksSettings
from shared.kernel.errors import Misconfigured
from shared.runtime import express as module
from shared.runtime.express import express, express_table
from shared.runtime.http import api_routes
from tests.integration.http.places import Place, client_of, expect_problem, place

__all__ = ["place"]
MASTER_KEY = urlsafe_b64encode(bytes(32)).decode()
PATH = "/v1/webhooks/events"
EVENT = {"type": "orders.paid.v1", "data": {"n": 1}}


@pytest.fixture(params=["express", "ordinary"])
async def client(
    place: Place, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    if request.param == "ordinary":
        monkeypatch.setattr(module, "_MARK", "nothing has this mark")
    settings = place.settings.model_copy(update={"master_key": SecretStr(MASTER_KEY)})
    async with client_of(create_app(settings, WebhooksSettings()), await place.key()) as made:
        yield made


async def test_accepted_refused_and_replayed_alike(place: Place, client: httpx.AsyncClient) -> None:
    accepted = await client.post(PATH, json=EVENT)
    assert (accepted.status_code, accepted.json()["deliveries"]) == (202, 0)
    assert accepted.headers["location"] == f"{PATH}/{accepted.json()['id']}"
    key = {"Idempotency-Key": "once"}
    first, again = [await client.post(PATH, json=EVENT, headers=key) for _ in range(2)]
    assert first.json() == again.json()
    assert again.headers["idempotent-replay"] == "true"
    other = await client.post(PATH, json={**EVENT, "data": {}}, headers=key)
    expect_problem(other, 422, "idempotency_key_reused")
    wrong = expect_problem(await client.post(PATH, json={**EVENT, "type": "?"}), 422, "invalid")
    assert wrong["errors"][0]["pointer"] == "/type"
    expect_problem(await client.post(PATH, content=b"{"), 422, "invalid")
    big = await client.post(PATH, content=b" " * (600 * 1024))
    expect_problem(big, 413, "body_too_large")
    expect_problem(await client.post(PATH, json=EVENT, headers={"Authorization": ""}), 401, "unauthenticated")
    reader = {"Authorization": f"Bearer {await place.key('webhooks:read')}"}
    expect_problem(await client.post(PATH, json=EVENT, headers=reader), 403, "not_allowed")
    expect_problem(await client.put(PATH, json=EVENT), 405, "wrong_method")
    assert len(await place.rows("SELECT id FROM webhooks_events")) == 2


async def held(request: Request) -> str:
    return request.method


async def deeper(name: Annotated[str, Depends(held)]) -> str:
    return name


async def fixed(request: Request, name: Annotated[str, Depends(held)]) -> Response:
    return Response(name)


async def with_body(request: Request, body: dict[str, int]) -> Response:
    return Response()


async def with_depth(request: Request, name: Annotated[str, Depends(deeper)]) -> Response:
    return Response(name)


def table_of(path: str, endpoint: object) -> object:
    router = APIRouter()
    router.post(path, response_class=Response)(express(endpoint))  # type: ignore[type-var]
    return express_table(api_routes(router))


def test_what_cannot_go_the_short_way_is_refused_when_the_app_is_built() -> None:
    assert table_of("/fixed", fixed)
    for path, endpoint in (("/with/{name}", fixed), ("/body", with_body), ("/depth", with_depth)):
        with pytest.raises(Misconfigured):
            table_of(path, endpoint)
