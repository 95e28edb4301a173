"""Contents that have ended slots: which, how often, by what; and letting one in again."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AfterValidator
from starlette.responses import Response

from services.media import store_quarantine as store
from services.media.deps import Held, MayRead, MayWrite
from shared.kernel.clock import rfc3339
from shared.kernel.errors import NotFound
from shared.runtime.examples import example, page_of
from shared.runtime.pages import Page, pages_of_keys

router = APIRouter(prefix="/media/quarantine", tags=["media quarantine"])
_DOCUMENT = {
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "deaths": 3, "ended_by": "SIGSEGV",
    "first_at": "2026-11-22T10:00:00.000000Z", "last_at": "2026-11-22T10:00:09.000000Z",
    "quarantined_at": "2026-11-22T10:00:09.000000Z",
}  # fmt: skip
_HEX = frozenset("0123456789abcdef")


def _hash(text: str) -> str:
    if len(text) != 64 or not _HEX.issuperset(text):
        raise NotFound(f"there is no content {text[:100]}: a SHA-256 has 64 digits, 0 to 9 and a to f")
    return text


Sha256InPath = Annotated[str, AfterValidator(_hash)]
CasualtyPage = Annotated[Page, pages_of_keys("casualties", 120)]


@router.get("", summary="Contents that have ended slots", responses=page_of(_DOCUMENT))
async def show_all(
    *,
    caller: MayRead,
    resources: Held,
    page: CasualtyPage,
    every: Annotated[bool, Query(description="also those that are not quarantined, or not yet")] = False,
) -> dict[str, Any]:
    found = await store.list_casualties(
        resources.database, caller.tenant, every=every, after=page.after or "", limit=page.rows
    )
    return page.of_keys([(casualty.sha256, _document(casualty)) for casualty in found])


@router.get("/{sha256}", summary="One content that has ended slots", responses=example(_DOCUMENT))
async def show(sha256: Sha256InPath, caller: MayRead, resources: Held) -> dict[str, Any]:
    found = await store.read_casualty(resources.database, caller.tenant, sha256)
    if found is None or not found.deaths:
        raise _unknown(sha256)
    return _document(found)


@router.delete("/{sha256}", status_code=204, summary="Let a content in again")
async def lift(sha256: Sha256InPath, caller: MayWrite, resources: Held) -> Response:
    """What was counted is forgotten. Jobs that have ended meanwhile stay dead until somebody retries them."""
    async with resources.tx() as tx:
        if not await store.lift_quarantine(tx, caller.tenant, sha256):
            raise _unknown(sha256)
    return Response(status_code=204)


def _document(casualty: store.Casualty) -> dict[str, Any]:
    return {
        "sha256": casualty.sha256,
        "deaths": casualty.deaths,
        "ended_by": casualty.ended_by,
        "first_at": rfc3339(casualty.first_at),
        "last_at": rfc3339(casualty.last_at),
        "quarantined_at": rfc3339(casualty.quarantined_at),
    }


def _unknown(sha256: str) -> NotFound:
    return NotFound(f"no content {sha256} has ended a slot")
