"""Endpoints: registered, changed, switched, and given new secrets."""

from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi import Body as JsonBody
from starlette.responses import JSONResponse, Response

from services.webhooks import store_endpoints as store
from services.webhooks.breaker import FRESH, State
from services.webhooks.deps import EndpointId, EndpointPage, Held, MayRead, MayWrite, TheDesk
from services.webhooks.desk import Desk
from services.webhooks.documents import endpoint_document, health_document
from services.webhooks.endpoint_examples import (
    CHANGE,
    CHANGED,
    DISABLED,
    REGISTER,
    REGISTERED,
    ROTATE,
    ROTATED,
    SHOWN,
    WORKING,
)
from services.webhooks.endpoints import (
    EndpointChange,
    NewEndpoint,
    Rotation,
    change,
    check_version,
    etag,
    header_names,
    make,
    rotate,
    switch,
)
from services.webhooks.models import Endpoint
from services.webhooks.onboarding import challenge
from services.webhooks.reach import shown_reach
from services.webhooks.removal import past_deadlocks
from services.webhooks.removal import remove as remove_deliveries
from services.webhooks.selection import sets_pace, shown_selection
from services.webhooks.store_health import forget_health, read_health
from services.webhooks.store_pace import drop_pace, set_pace
from services.webhooks.store_past import remember
from shared.db.reading import looking
from shared.db.sql import Connection
from shared.db.tx import Tx
from shared.kernel.errors import Conflict, NotFound
from shared.runtime.callers import Caller
from shared.runtime.examples import example, page_of
from shared.runtime.idempotency import Idempotent, Once
from shared.runtime.json_bodies import JsonRoute

router = APIRouter(prefix="/webhooks/endpoints", tags=["webhook endpoints"], route_class=JsonRoute)
WAYS = frozenset({"config", "oauth2", "client_certificate"})  # what failed in one way says nothing about another
IfMatch = Annotated[str | None, Header(description="change it only at this version, an `ETag` of before")]


@router.post("", status_code=201, summary="Register an endpoint", responses=example(REGISTERED, 201))
async def register(
    body: Annotated[NewEndpoint, JsonBody(openapi_examples=REGISTER)], caller: MayWrite, once: Idempotent, desk: TheDesk
) -> Response:
    """The answer holds the signing secret, which is not shown again."""
    async with once.tx(vault=desk.box) as tx:
        most = desk.settings.endpoints_max
        if await store.count_endpoints(tx, caller.tenant) >= most:
            raise Conflict(f"a tenant has at most {most} endpoints", code="too_many_endpoints", limit=most)
        endpoint, secrets = make(body, caller.tenant, desk.box, desk.policy, tx.now_us)
        await store.add_endpoint(tx, endpoint)
        if endpoint.must_verify:
            await challenge(tx, endpoint)
        if sets_pace(body):
            await set_pace(tx, endpoint)
            tx.after_commit(desk.paced)
        _forget(tx, desk, endpoint)
        headers = {"Location": f"/v1/webhooks/endpoints/{endpoint.id}", "ETag": etag(endpoint)}
        return once.answer(201, {**await _shown(tx, endpoint, desk, tx.now_us), **secrets}, headers)


@router.get("", summary="List endpoints", responses=page_of(SHOWN))
async def show_all(caller: MayRead, resources: Held, desk: TheDesk, page: EndpointPage) -> dict[str, Any]:
    """Newest first."""
    rows = await store.list_endpoints(resources.database, caller.tenant, before=page.after, limit=page.rows)
    now_us = resources.database.clock.now_us()
    async with looking(resources.database) as connection:
        states = await read_health(connection, [row.id for row in rows])
    return page.of(rows, lambda row: _document(row, states.get(row.id, FRESH), desk, now_us), lambda row: str(row.id))


@router.get(
    "/{endpoint_id}",
    summary="One endpoint, with its public key and how it has been doing",
    responses=example(SHOWN),
)
async def show(endpoint_id: EndpointId, caller: MayRead, resources: Held, desk: TheDesk) -> Response:
    endpoint = await store.read_endpoint(resources.database, endpoint_id, caller.tenant)
    if endpoint is None:
        raise _unknown(endpoint_id)
    async with looking(resources.database) as connection:
        document = await _shown(connection, endpoint, desk, resources.database.clock.now_us())
    return JSONResponse(document, headers={"ETag": etag(endpoint)})


@router.patch("/{endpoint_id}", summary="Change an endpoint", responses=example(CHANGED))
async def alter(
    *,
    endpoint_id: EndpointId,
    body: Annotated[EndpointChange, JsonBody(openapi_examples=CHANGE)],
    caller: MayWrite,
    resources: Held,
    desk: TheDesk,
    if_match: IfMatch = None,
) -> Response:
    """What is not given stays as it is. A new kind of signing comes with its secret, which is not shown again."""
    async with resources.tx() as tx:
        endpoint = await _locked(tx, endpoint_id, caller)
        check_version(endpoint, if_match)
        old_url, was_on = endpoint.url, endpoint.enabled
        secrets = change(endpoint, body, desk.box, desk.policy, tx.now_us)
        if endpoint.url != old_url or WAYS & body.model_fields_set or (endpoint.enabled and not was_on):
            await desk.health.start_over(tx, endpoint.id, endpoint.tenant)
        if sets_pace(body):  # after the health: that is the order of locks
            await set_pace(tx, endpoint)
            tx.after_commit(desk.paced)
        _forget(tx, desk, endpoint)
        document = {**await _shown(tx, endpoint, desk, tx.now_us), **secrets}
        headers = {"ETag": etag(endpoint)}
    return JSONResponse(document, headers=headers)


@router.delete("/{endpoint_id}", status_code=204, summary="Delete an endpoint")
async def remove(
    endpoint_id: EndpointId, caller: MayWrite, resources: Held, desk: TheDesk, if_match: IfMatch = None
) -> Response:
    """Deliveries that wait or run are cancelled at once, many of them by a job; those that were made stay shown."""

    async def delete() -> None:
        async with resources.tx() as tx:
            endpoint = await _locked(tx, endpoint_id, caller)
            check_version(endpoint, if_match)
            await store.delete_endpoint(tx, endpoint)
            await forget_health(tx, endpoint.id, endpoint.tenant, tx.now_us)
            await drop_pace(tx, endpoint)
            await remove_deliveries(tx, resources.waker, endpoint_id, caller.tenant)
            _forget(tx, desk, endpoint)
            tx.after_commit(desk.paced)

    await past_deadlocks(delete)
    return Response(status_code=204)


@router.post(
    "/{endpoint_id}/rotate-secret",
    summary="Make new secrets, beside which the old ones sign for a while",
    responses=example(ROTATED),
)
async def rotate_secret(
    endpoint_id: EndpointId,
    caller: MayWrite,
    once: Idempotent,
    desk: TheDesk,
    body: Annotated[Rotation | None, JsonBody(openapi_examples=ROTATE)] = None,
) -> Response:
    """The answer holds what is new, which is not shown again. Until the overlap ends, old and new sign."""
    async with once.tx(vault=desk.box) as tx:
        endpoint = await _locked(tx, endpoint_id, caller)
        secrets = rotate(endpoint, body or Rotation(), desk.box, tx.now_us)
        _forget(tx, desk, endpoint)
        document = {**await _shown(tx, endpoint, desk, tx.now_us), **secrets}
        return once.answer(200, document, {"ETag": etag(endpoint)})


@router.post("/{endpoint_id}/enable", summary="Enable an endpoint", responses=example(WORKING))
async def enable(endpoint_id: EndpointId, caller: MayWrite, once: Idempotent, desk: TheDesk) -> Response:
    """Its health begins anew; one that must be verified is enabled once it has been."""
    return await _switch(endpoint_id, caller, once, desk, on=True)


@router.post("/{endpoint_id}/disable", summary="Disable an endpoint", responses=example(DISABLED))
async def disable(endpoint_id: EndpointId, caller: MayWrite, once: Idempotent, desk: TheDesk) -> Response:
    """Events accepted from now on skip it; deliveries that are still to come end as cancelled when their time comes."""
    return await _switch(endpoint_id, caller, once, desk, on=False)


async def _switch(endpoint_id: str, caller: Caller, once: Once, desk: Desk, *, on: bool) -> Response:
    async with once.tx() as tx:
        endpoint = await _locked(tx, endpoint_id, caller)
        if switch(endpoint, on=on, now_us=tx.now_us) and on:
            await desk.health.start_over(tx, endpoint.id, endpoint.tenant)
        _forget(tx, desk, endpoint)
        return once.answer(200, await _shown(tx, endpoint, desk, tx.now_us), {"ETag": etag(endpoint)})


async def _locked(tx: Tx, endpoint_id: str, caller: Caller) -> Endpoint:
    endpoint = await store.lock_endpoint(tx, endpoint_id, caller.tenant)
    if endpoint is None:
        raise _unknown(endpoint_id)
    return endpoint


def _forget(tx: Tx, desk: Desk, endpoint: Endpoint) -> None:
    """The next event accepted by this process must see the change, and `explain` how the endpoint stood before."""
    tenant, endpoint_id = endpoint.tenant, endpoint.id
    tx.before_commit(lambda: remember(tx, endpoint_id))
    tx.after_commit(lambda: desk.changed(tenant, endpoint_id))


async def _shown(connection: Connection, endpoint: Endpoint, desk: Desk, now_us: int) -> dict[str, Any]:
    states = await read_health(connection, [endpoint.id])
    return _document(endpoint, states.get(endpoint.id, FRESH), desk, now_us)


def _document(endpoint: Endpoint, state: State, desk: Desk, now_us: int) -> dict[str, Any]:
    document = endpoint_document(endpoint, now_us, header_names(endpoint, desk.box)) | shown_selection(endpoint)
    health = health_document(state, now_us, desk.settings.disable_after_s)
    return {**document, **shown_reach(endpoint, desk.box, now_us), "health": health}


def _unknown(endpoint_id: str) -> NotFound:
    return NotFound(f"there is no endpoint {endpoint_id}")
