"""Preset sets by name: those that are built in, and those that tenants make, read, replace and delete.

Invariants: a built-in set cannot be changed or hidden; whoever says with If-Match which version they saw changes only
that one; an asset keeps the set that it was accepted with. What is stored is canonical, checked when it was put: it is
shown and copied as it is, since reading it strictly again takes milliseconds of the event loop for each set. Refuses
more than SETS_MAX of a tenant.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from services.media import store_presets as store
from services.media.models import PresetSetRow
from services.media.presets import PRESET_SETS, PresetSet, is_set_name, unknown_set
from shared.db.engine import Database
from shared.db.tx import Tx
from shared.kernel.clock import rfc3339
from shared.kernel.errors import BadInput, Conflict, NotFound
from shared.runtime.etags import PreconditionFailed, check_match, listed

SETS_MAX: Final = 100
_NAMES_SHOWN = 20
_BUILT_IN = '"built-in"'


async def find_body(database: Database, tenant: str, name: str) -> str:
    """The JSON of a set. Raises BadInput for `?presets=`, which names the sets that there are."""
    if name in PRESET_SETS:
        return body_of(PRESET_SETS[name])
    row = await store.read_set(database, tenant, name) if is_set_name(name) else None
    if row is None:
        own = await store.list_sets(database, tenant, after="", limit=_NAMES_SHOWN)
        raise unknown_set(name, [*PRESET_SETS, *(one.name for one in own)])
    return row.body


async def find(database: Database, tenant: str, name: str) -> PresetSet:
    """The same set, read again. Raises BadInput."""
    return PresetSet.parse(orjson.loads(await find_body(database, tenant, name)))


def body_of(one: PresetSet) -> str:
    return orjson.dumps(one.wire()).decode()


async def put_set(
    tx: Tx, tenant: str, wanted: PresetSet, *, if_match: str | None = None, if_none_match: str | None = None
) -> tuple[PresetSetRow, bool]:
    """(what is there now, whether it is new). Raises Conflict, NotFound, PreconditionFailed."""
    _check_own(wanted.name)
    body = body_of(wanted)
    row = await store.lock_set(tx, tenant, wanted.name)
    if row is None:
        if if_match is not None:
            raise unknown(wanted.name)
        if await store.count_sets(tx, tenant) >= SETS_MAX:
            words = f"a tenant has at most {SETS_MAX} preset sets of its own"
            raise Conflict(words, code="too_many_preset_sets", limit=SETS_MAX)
        made = PresetSetRow(tenant=tenant, name=wanted.name, body=body, created_at=tx.now_us, updated_at=tx.now_us)
        if await store.add_set(tx, made):
            return made, True
        row = await locked(tx, tenant, wanted.name)  # somebody has put it at the same time
    check_version(row, if_match, if_none_match)
    if row.body != body:
        row.body, row.version, row.updated_at = body, row.version + 1, max(tx.now_us, row.updated_at + 1)
    return row, False


async def delete_set(tx: Tx, tenant: str, name: str, *, if_match: str | None = None) -> None:
    """Raises Conflict, NotFound, PreconditionFailed."""
    _check_own(name)
    row = await locked(tx, tenant, name)
    check_version(row, if_match)
    await store.delete_set(tx, row)


async def locked(tx: Tx, tenant: str, name: str) -> PresetSetRow:
    row = await store.lock_set(tx, tenant, name)
    if row is None:
        raise unknown(name)
    return row


def check_version(row: PresetSetRow, if_match: str | None, if_none_match: str | None = None) -> None:
    """Both as the headers came. Raises PreconditionFailed."""
    tag = etag(row)
    check_match("preset set", if_match, tag)
    if if_none_match is not None and listed([if_none_match], tag):
        raise PreconditionFailed(f"there is a preset set {row.name}, which If-None-Match asks not to be", etag=tag)


def etag(row: PresetSetRow | None) -> str:
    """None stands for a built-in set. The time is part of it: a set that was deleted and made again is another."""
    return _BUILT_IN if row is None else f'"{row.created_at:x}-{row.version}"'


def set_document(wire: Mapping[str, Any], row: PresetSetRow | None = None) -> dict[str, Any]:
    return {
        **wire,
        "built_in": row is None,
        "version": row.version if row else None,
        "created_at": rfc3339(row.created_at) if row else None,
        "updated_at": rfc3339(row.updated_at) if row else None,
    }


def stored_document(row: PresetSetRow) -> dict[str, Any]:
    return set_document(orjson.loads(row.body), row)


def given_set(name: str, body: dict[str, Any]) -> PresetSet:
    """From what a person sends. Raises BadInput."""
    if "name" in body:
        raise BadInput("/name: the name of a set is in its path", pointer="/name", found=body["name"])
    return PresetSet.parse({**body, "name": name})


def unknown(name: str) -> NotFound:
    return NotFound(f"there is no preset set {name[:64]}")


def _check_own(name: str) -> None:
    if name in PRESET_SETS:
        raise Conflict(f"the preset set {name} is built in: choose another name", code="preset_set_built_in")
