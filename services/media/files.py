"""Which object a path of an asset means: one of its renditions by name, or its source."""

from collections.abc import Mapping
from typing import Any

import orjson

from services.media.presets import CONTENT_TYPES
from services.media.serving import File
from shared.db.engine import Database
from shared.db.sql import Statement
from shared.kernel.errors import NotFound

_FILES = Statement(
    "asset_files", "SELECT id, tenant, renditions, source_key, size_bytes, sha256 FROM media_assets WHERE id = :id"
)


async def read_files(database: Database, asset_id: str, tenant: str | None) -> Mapping[str, Any]:
    """The asset's row, as far as files go. Without a tenant, of any: a signed link vouches. Raises NotFound."""
    rows = await database.fetch(_FILES, {"id": asset_id})
    if not rows or (tenant is not None and rows[0]["tenant"] != tenant):
        raise NotFound(f"there is no asset {asset_id}")
    return rows[0]


def rendition_names(asset: Mapping[str, Any]) -> list[str]:
    return [item["name"] for item in _renditions(asset)]


def rendition_of(asset: Mapping[str, Any], name: str) -> File:
    """Raises NotFound, which says which ones there are."""
    for item in _renditions(asset):
        if item["name"] == name:
            kind = item.get("content_type") or CONTENT_TYPES.get(item["format"], "application/octet-stream")
            saved = f"{asset['id']}-{name}.{item['format']}"
            return File(item["key"], item["size_bytes"], item["sha256"], kind, saved)
    raise NotFound(f"asset {asset['id']} has no rendition {name[:64]}; it has {rendition_names(asset)}")


def source_of(asset: Mapping[str, Any]) -> File:
    """What was uploaded, which nobody has checked: to be saved, never shown. Raises NotFound before it is there."""
    if not asset["source_key"]:
        raise NotFound(f"the bytes of asset {asset['id']} have not come yet")
    return File(
        asset["source_key"], asset["size_bytes"], asset["sha256"], "application/octet-stream", asset["id"], inline=False
    )


def _renditions(asset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = orjson.loads(asset["renditions"] or "[]")
    return found
