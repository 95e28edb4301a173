"""What was done, hour by hour: counted once each, kept when the jobs themselves are long gone."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from services.api.deps import Held, HourPage, MayReadJobs
from services.api.documents import hour_document
from services.api.hours import HOUR_US
from services.api.store_hours import list_hours
from shared.kernel.errors import BadInput
from shared.runtime.bodies import Name
from shared.runtime.examples import example
from shared.runtime.instants import instant_in_query

router = APIRouter(prefix="/stats", tags=["stats"])
DAYS_MOST = 31
RANGE_US = DAYS_MOST * 24 * HOUR_US
_SINCE_HOURS = 24
_HOUR = {
    "hour": "2026-01-30T06:00:00.000000Z", "task": "webhooks.deliver", "completed": 41_203, "dead": 2, "cancelled": 0,
    "retries": 311, "run_s": {"mean": 0.0312, "max": 14.998}, "wait_s": {"mean": 0.0087, "max": 1.202},
}  # fmt: skip


@router.get("/hourly", summary="Count jobs by hour", responses=example({"items": [_HOUR], "next_cursor": None}))
async def hourly(
    caller: MayReadJobs,
    resources: Held,
    page: HourPage,
    *,
    since: Annotated[
        str | None, Query(alias="from", max_length=40, description="an instant, RFC 3339; default: a day before `to`")
    ] = None,
    until: Annotated[str | None, Query(alias="to", max_length=40, description="an instant; default: now")] = None,
    task: Annotated[Name | None, Query(description="of one task only")] = None,
) -> dict[str, Any]:
    """Hours that began at or after `from` and before `to`, at most 31 days; those in which nothing ended are left out.

    An hour is counted some minutes after its end. `run_s` and `wait_s` are of the last attempt of completed and dead
    jobs; null when none had run.
    """
    until_us = instant_in_query("to", until) if until else resources.database.clock.now_us()
    since_us = instant_in_query("from", since) if since else until_us - _SINCE_HOURS * HOUR_US
    if not 0 <= until_us - since_us <= RANGE_US:
        words = f"from must not be after to, nor more than {DAYS_MOST} days before it"
        raise BadInput(words, place="query", pointer="/from", found=since)
    rows = await list_hours(
        resources.database, caller.tenant, from_us=since_us, until_us=until_us, task=task, after=_after(page.after),
        limit=page.rows,
    )  # fmt: skip
    return page.of_keys([(f"{row['hour']}/{row['task']}", hour_document(row)) for row in rows])


def _after(key: str | None) -> tuple[int, str] | None:
    if key is None:
        return None
    hour, _, task = key.partition("/")
    if not (hour.isascii() and hour.isdigit() and len(hour) < 19):
        raise BadInput("this cursor was not given by this list", place="query", pointer="/cursor", found=key[:100])
    return int(hour), task
