"""Preset sets: what there is to choose from, and a tenant's own, made and changed by their name.

A change holds for assets that are accepted after it; those that are there keep the presets that they were made with.
"""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Header
from pydantic import TypeAdapter
from starlette.responses import JSONResponse, Response

from services.media import preset_sets as sets
from services.media import store_presets as store
from services.media.deps import Held, MayRead, MayWrite, SetInPath, SetPage
from services.media.presets import PRESET_SETS, PresetSet
from shared.runtime.examples import example
from shared.runtime.json_bodies import JsonRoute

router = APIRouter(prefix="/media/presets", tags=["media presets"], route_class=JsonRoute)

IfMatch = Annotated[str | None, Header(description="change it only at this version, an `ETag` of before")]
IfNoneMatch = Annotated[str | None, Header(description="`*`: make it only if there is none of its name")]
Terms = Annotated[dict[str, Any], Body(description="`image`, `video`, `audio`: lists of presets; `damaged`")]

_TERMS = {
    "image": [
        {"name": "avatar", "width": 256, "height": 256, "fit": "cover", "focus": "attention"},
        {"name": "print", "width": 3000, "format": "jpeg", "quality": 90, "background": "#ffffff"},
    ],
    "damaged": "show",
}
_OWN = {
    **PresetSet.parse({"name": "shop", **_TERMS}).wire(), "built_in": False, "version": 1,
    "created_at": "2026-11-22T10:00:00.000000Z", "updated_at": "2026-11-22T10:00:00.000000Z",
}  # fmt: skip
_DEFAULT = sets.set_document(PRESET_SETS["default"].wire())


def _takes() -> dict[str, Any]:
    """The schema of a set without its name, each kind of preset written out where it is used."""
    schema = TypeAdapter(PresetSet).json_schema(mode="validation")
    kinds = schema.pop("$defs", {})
    members = {name: _written_out(member, kinds) for name, member in schema["properties"].items() if name != "name"}
    shown = {"type": "object", "additionalProperties": False, "properties": members}
    return {"requestBody": {"content": {"application/json": {"schema": shown, "example": _TERMS}}}}


def _written_out(schema: Any, kinds: dict[str, Any]) -> Any:
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _written_out(kinds[schema["$ref"].rpartition("/")[2]], kinds)
        return {name: _written_out(part, kinds) for name, part in schema.items()}
    return [_written_out(part, kinds) for part in schema] if isinstance(schema, list) else schema


@router.get("", summary="Preset sets by name", responses=example({"items": [_DEFAULT, _OWN], "next_cursor": None}))
async def show_all(caller: MayRead, resources: Held, page: SetPage) -> Response:
    """Those that are built in, and the tenant's own."""
    after = page.after or ""
    rows = await store.list_sets(resources.database, caller.tenant, after=after, limit=page.rows)
    found = [(row.name, sets.stored_document(row)) for row in rows]
    found += [(name, sets.set_document(one.wire())) for name, one in PRESET_SETS.items() if name > after]
    shown = page.of_keys(sorted(found, key=lambda item: item[0]))
    return Response(orjson.dumps(shown), media_type="application/json")  # a MiB or more: FastAPI would walk all of it


@router.get("/{name}", summary="One preset set", responses=example(_OWN))
async def show(name: SetInPath, caller: MayRead, resources: Held) -> Response:
    if name in PRESET_SETS:
        return JSONResponse(sets.set_document(PRESET_SETS[name].wire()), headers={"ETag": sets.etag(None)})
    row = await store.read_set(resources.database, caller.tenant, name)
    if row is None:
        raise sets.unknown(name)
    return JSONResponse(sets.stored_document(row), headers={"ETag": sets.etag(row)})


@router.put(
    "/{name}", summary="Make or replace a preset set", openapi_extra=_takes(),
    responses={**example(_OWN), **example(_OWN, 201, "it is new")},
)  # fmt: skip
async def put(
    *,
    name: SetInPath,
    body: Terms,
    caller: MayWrite,
    resources: Held,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """All of the set: what is not given is none, or what its preset's format has by itself."""
    wanted = sets.given_set(name, body)
    async with resources.tx() as tx:
        row, is_new = await sets.put_set(tx, caller.tenant, wanted, if_match=if_match, if_none_match=if_none_match)
        document, tag = sets.set_document(wanted.wire(), row), sets.etag(row)
    headers = {"ETag": tag, "Location": f"/v1/media/presets/{name}"}
    return JSONResponse(document, 201 if is_new else 200, headers=headers)


@router.delete("/{name}", status_code=204, summary="Delete a preset set")
async def remove(name: SetInPath, caller: MayWrite, resources: Held, if_match: IfMatch = None) -> Response:
    """Assets that were made with it keep their renditions, and what still waits is made with it."""
    async with resources.tx() as tx:
        await sets.delete_set(tx, caller.tenant, name, if_match=if_match)
    return Response(status_code=204)
