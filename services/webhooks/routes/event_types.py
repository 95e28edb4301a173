"""Event types: registered with a schema and examples, changed, archived, deleted. A name is its path.

A change holds for the next event that this process accepts, and within a second for those of every other.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from services.webhooks import store_event_types as store
from services.webhooks.deps import Held, MayRead, MayWrite, TheDesk, TypeInPath, TypePage
from services.webhooks.desk import Desk
from services.webhooks.event_types import (
    TYPES_MAX,
    NewType,
    TypeChange,
    TypeTerms,
    change_type,
    check_type_version,
    make_type,
    type_document,
    type_etag,
)
from services.webhooks.models import EventType
from services.webhooks.routes.endpoints import IfMatch
from shared.db.tx import Tx
from shared.kernel.errors import Conflict, NotFound
from shared.runtime.callers import Caller
from shared.runtime.examples import body_example, example, page_of
from shared.runtime.idempotency import Idempotent
from shared.runtime.json_bodies import JsonRoute

router = APIRouter(prefix="/webhooks/event-types", tags=["webhook event types"], route_class=JsonRoute)
_SCHEMA = {
    "type": "object", "required": ["id", "amount"],
    "properties": {"id": {"type": "string"}, "amount": {"type": "integer", "minimum": 0}},
}  # fmt: skip
_TERMS = {
    "description": "An order was paid in full.", "schema": _SCHEMA, "examples": [{"id": "o_1", "amount": 4200}],
    "retry_schedule_s": [5, 60, 3600],
}  # fmt: skip
_DOCUMENT = {
    "name": "order.paid", **_TERMS, "archived": False, "version": 1, "created_at": "2026-11-22T10:00:00.000000Z",
    "updated_at": "2026-11-22T10:00:00.000000Z",
}  # fmt: skip


@router.post(
    "", status_code=201, summary="Register an event type", openapi_extra=body_example({"name": "order.paid", **_TERMS}),
    responses=example(_DOCUMENT, 201),
)  # fmt: skip
async def register(body: NewType, caller: MayWrite, once: Idempotent, desk: TheDesk) -> Response:
    """From now on its events are held to the schema. Nothing that a schema refers to is fetched."""
    async with once.tx() as tx:
        kind = make_type(body.name, body, caller.tenant, tx.now_us)
        await _add(tx, kind)
        _forget(tx, desk, kind)
        return once.answer(201, type_document(kind), _headers(kind))


@router.get("", summary="Event types by name", responses=page_of(_DOCUMENT))
async def show_all(
    *, caller: MayRead, resources: Held, page: TypePage, archived: Annotated[bool | None, Query()] = None
) -> dict[str, Any]:
    found = await store.list_types(
        resources.database, caller.tenant, archived=archived, after=page.after or "", limit=page.rows
    )
    return page.of_keys([(kind.name, type_document(kind)) for kind in found])


@router.get("/{name}", summary="One event type", responses=example(_DOCUMENT))
async def show(name: TypeInPath, caller: MayRead, resources: Held) -> Response:
    kind = await store.read_type(resources.database, name, caller.tenant)
    if kind is None:
        raise _unknown(name)
    return JSONResponse(type_document(kind), headers={"ETag": type_etag(kind)})


@router.put(
    "/{name}",
    summary="Register or replace an event type",
    openapi_extra=body_example(_TERMS),
    responses=example(_DOCUMENT) | example(_DOCUMENT, 201),
)
async def put(
    *, name: TypeInPath, body: TypeTerms, caller: MayWrite, resources: Held, desk: TheDesk, if_match: IfMatch = None
) -> Response:
    """201 for one that is new, which If-Match asks not to be."""
    async with resources.tx() as tx:
        kind = await store.lock_type(tx, name, caller.tenant)
        status = 200
        if kind is None:
            if if_match is not None:
                raise _unknown(name)
            kind = make_type(name, body, caller.tenant, tx.now_us)
            if await _is_new(tx, kind):
                status = 201
            else:
                kind = await _locked(tx, name, caller)  # somebody has put it at the same time
        if status == 200:
            check_type_version(kind, if_match)
            change_type(kind, body, tx.now_us, all_of_it=True)
        _forget(tx, desk, kind)
        document, headers = type_document(kind), _headers(kind)
    return JSONResponse(document, status, headers=headers)


@router.patch(
    "/{name}", summary="Change or archive an event type", openapi_extra=body_example({"archived": True}),
    responses=example({**_DOCUMENT, "archived": True, "version": 2}),
)  # fmt: skip
async def alter(
    *, name: TypeInPath, body: TypeChange, caller: MayWrite, resources: Held, desk: TheDesk, if_match: IfMatch = None
) -> Response:
    """What is not given stays; the examples that are there then must match the schema that is there then."""
    async with resources.tx() as tx:
        kind = await _locked(tx, name, caller)
        check_type_version(kind, if_match)
        change_type(kind, body, tx.now_us, all_of_it=False)
        _forget(tx, desk, kind)
        document, headers = type_document(kind), _headers(kind)
    return JSONResponse(document, headers=headers)


@router.delete("/{name}", status_code=204, summary="Forget an event type")
async def remove(
    name: TypeInPath, caller: MayWrite, resources: Held, desk: TheDesk, if_match: IfMatch = None
) -> Response:
    """Its events pass unchecked from then on, as those of any type that is not registered."""
    async with resources.tx() as tx:
        kind = await _locked(tx, name, caller)
        check_type_version(kind, if_match)
        await store.delete_type(tx, kind)
        _forget(tx, desk, kind)
    return Response(status_code=204)


async def _add(tx: Tx, kind: EventType) -> None:
    if not await _is_new(tx, kind):
        raise Conflict(f"the event type {kind.name} is registered: PUT or PATCH changes it", code="event_type_exists")


async def _is_new(tx: Tx, kind: EventType) -> bool:
    """Added, unless there is one of its name."""
    if await store.count_types(tx, kind.tenant) >= TYPES_MAX:
        raise Conflict(f"a tenant has at most {TYPES_MAX} event types", code="too_many_event_types", limit=TYPES_MAX)
    return await store.add_type(tx, kind)


async def _locked(tx: Tx, name: str, caller: Caller) -> EventType:
    kind = await store.lock_type(tx, name, caller.tenant)
    if kind is None:
        raise _unknown(name)
    return kind


def _headers(kind: EventType) -> dict[str, str]:
    return {"ETag": type_etag(kind), "Location": f"/v1/webhooks/event-types/{kind.name}"}


def _forget(tx: Tx, desk: Desk, kind: EventType) -> None:
    tenant = kind.tenant
    tx.after_commit(lambda: desk.catalogue.forget(tenant))


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no event type {name}")
