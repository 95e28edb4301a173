"""Endpoints: registered, changed, switched, tested, and given new secrets."""

from typing import Annotated, Any

from fastapi import APIRouter, Header
from starlette.responses import JSONResponse, Response

from services.webhooks import store_endpoints as store
from services.webhooks.deps import EndpointId, EndpointPage, Held, MayRead, MayWrite, TheDesk
from services.webhooks.desk import Desk
from services.webhooks.documents import endpoint_document
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
from services.webhooks.events import Subscription, new_event
from services.webhooks.models import Endpoint
from services.webhooks.publishing import plan, write
from shared.db.tx import Tx
from shared.kernel.clock import rfc3339
from shared.kernel.errors import Conflict, NotFound
from shared.kernel.ids import new_id
from shared.runtime.callers import Caller
from shared.runtime.idempotency import Idempotent, Once
from shared.runtime.json_bodies import JsonRoute

router = APIRouter(prefix="/webhooks/endpoints", tags=["webhook endpoints"], route_class=JsonRoute)
IfMatch = Annotated[str | None, Header(description="change it only at this version, an `ETag` of before")]
TEST_TYPE = "webhooks.endpoint.test"


@router.post("", status_code=201)
async def register(body: NewEndpoint, caller: MayWrite, once: Idempotent, desk: TheDesk) -> Response:
    """The answer holds the signing secret, which is not shown again."""
    async with once.tx(vault=desk.box) as tx:
        most = desk.settings.endpoints_max
        if await store.count_endpoints(tx, caller.tenant) >= most:
            raise Conflict(f"a tenant has at most {most} endpoints", code="too_many_endpoints", limit=most)
        endpoint, secret = make(body, caller.tenant, desk.box, desk.policy, tx.now_us)
        await store.add_endpoint(tx, endpoint)
        _forget(tx, desk, endpoint)
        headers = {"Location": f"/v1/webhooks/endpoints/{endpoint.id}", "ETag": etag(endpoint)}
        return once.answer(201, {**_shown(endpoint, desk, tx.now_us), "secret": secret}, headers)


@router.get("")
async def show_all(caller: MayRead, resources: Held, desk: TheDesk, page: EndpointPage) -> dict[str, Any]:
    """Newest first."""
    rows = await store.list_endpoints(resources.database, caller.tenant, before=page.after, limit=page.rows)
    now_us = resources.database.clock.now_us()
    return page.of(rows, lambda row: _shown(row, desk, now_us), lambda row: str(row.id))


@router.get("/{endpoint_id}")
async def show(endpoint_id: EndpointId, caller: MayRead, resources: Held, desk: TheDesk) -> Response:
    endpoint = await store.read_endpoint(resources.database, endpoint_id, caller.tenant)
    if endpoint is None:
        raise _unknown(endpoint_id)
    document = _shown(endpoint, desk, resources.database.clock.now_us())
    return JSONResponse(document, headers={"ETag": etag(endpoint)})


@router.patch("/{endpoint_id}")
async def alter(
    *,
    endpoint_id: EndpointId,
    body: EndpointChange,
    caller: MayWrite,
    resources: Held,
    desk: TheDesk,
    if_match: IfMatch = None,
) -> Response:
    async with resources.tx() as tx:
        endpoint = await _locked(tx, endpoint_id, caller)
        check_version(endpoint, if_match)
        change(endpoint, body, desk.box, desk.policy, tx.now_us)
        _forget(tx, desk, endpoint)
        document, headers = _shown(endpoint, desk, tx.now_us), {"ETag": etag(endpoint)}
    return JSONResponse(document, headers=headers)


@router.delete("/{endpoint_id}", status_code=204)
async def remove(
    endpoint_id: EndpointId, caller: MayWrite, resources: Held, desk: TheDesk, if_match: IfMatch = None
) -> Response:
    """Deliveries that are still to come end as cancelled when their time comes; those that were made stay shown."""
    async with resources.tx() as tx:
        endpoint = await _locked(tx, endpoint_id, caller)
        check_version(endpoint, if_match)
        await store.delete_endpoint(tx, endpoint)
        _forget(tx, desk, endpoint)
    return Response(status_code=204)


@router.post("/{endpoint_id}/rotate-secret")
async def rotate_secret(
    endpoint_id: EndpointId, caller: MayWrite, once: Idempotent, desk: TheDesk, body: Rotation | None = None
) -> Response:
    """The answer holds the new secret, which is not shown again. Until the overlap ends, both sign."""
    async with once.tx(vault=desk.box) as tx:
        endpoint = await _locked(tx, endpoint_id, caller)
        secret = rotate(endpoint, (body or Rotation()).overlap_s, desk.box, tx.now_us)
        _forget(tx, desk, endpoint)
        document = {**_shown(endpoint, desk, tx.now_us), "secret": secret}
        return once.answer(200, document, {"ETag": etag(endpoint)})


@router.post("/{endpoint_id}/enable")
async def enable(endpoint_id: EndpointId, caller: MayWrite, once: Idempotent, desk: TheDesk) -> Response:
    return await _switch(endpoint_id, caller, once, desk, on=True)


@router.post("/{endpoint_id}/disable")
async def disable(endpoint_id: EndpointId, caller: MayWrite, once: Idempotent, desk: TheDesk) -> Response:
    """Events accepted from now on skip it; deliveries that are still to come end as cancelled when their time comes."""
    return await _switch(endpoint_id, caller, once, desk, on=False)


@router.post("/{endpoint_id}/test", status_code=202)
async def test(endpoint_id: EndpointId, caller: MayWrite, once: Idempotent) -> Response:
    """Sends one event of its own, once, whatever the endpoint subscribes to; see its delivery for what came back."""
    async with once.tx() as tx:
        endpoint = await _locked(tx, endpoint_id, caller)
        if not endpoint.enabled:
            raise Conflict("the endpoint is disabled: enable it to test it", code="endpoint_disabled")
        data = {"endpoint_id": endpoint.id, "message": "A test of this endpoint, sent by request."}
        event = new_event(
            new_id("evt"), TEST_TYPE, data, tenant=caller.tenant, timestamp=str(rfc3339(tx.now_us)), now_us=tx.now_us
        )
        planned = plan(event, [Subscription(endpoint.id, 1, endpoint.timeout_s)])
        await write(tx, planned)
        job_id = planned.jobs[0].id
        location = {"Location": f"/v1/webhooks/deliveries/{job_id}"}
        return once.answer(202, {"id": event.id, "delivery": job_id}, location)


async def _switch(endpoint_id: str, caller: Caller, once: Once, desk: Desk, *, on: bool) -> Response:
    async with once.tx() as tx:
        endpoint = await _locked(tx, endpoint_id, caller)
        switch(endpoint, on=on, now_us=tx.now_us)
        _forget(tx, desk, endpoint)
        return once.answer(200, _shown(endpoint, desk, tx.now_us), {"ETag": etag(endpoint)})


async def _locked(tx: Tx, endpoint_id: str, caller: Caller) -> Endpoint:
    endpoint = await store.lock_endpoint(tx, endpoint_id, caller.tenant)
    if endpoint is None:
        raise _unknown(endpoint_id)
    return endpoint


def _forget(tx: Tx, desk: Desk, endpoint: Endpoint) -> None:
    """The next event accepted by this process must see the change."""
    tenant, endpoint_id = endpoint.tenant, endpoint.id
    tx.after_commit(lambda: desk.changed(tenant, endpoint_id))


def _shown(endpoint: Endpoint, desk: Desk, now_us: int) -> dict[str, Any]:
    return endpoint_document(endpoint, now_us, header_names(endpoint, desk.box))


def _unknown(endpoint_id: str) -> NotFound:
    return NotFound(f"there is no endpoint {endpoint_id}")
