"""Reading a feed on: pages one by one, each written with the position after it, in one transaction.

A crash between two pages goes on with the second; one within a page leaves it to be asked for again, and what is asked
again changes nothing (an item is written when its version is newer). The last page commits with the job's completion.
Who reads the same feed at the same time finds the position moved, and stops. Bounded: pages of one run, items and bytes
of a page; a cursor that comes back is refused before its page is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from services.api.feed import FeedBroken, Page, conditions, follow, read_page
from services.api.feed_client import UNREACHED, Answer, FeedClient
from services.api.rhythm import TICK_US, instants, split
from services.api.settings import ApiSettings
from services.api.store_sync import read_position, write_page
from shared.contracts.commands.api import SyncFeed
from shared.contracts.unique import Unique
from shared.kernel.clock import SECOND_US
from shared.kernel.faultpoints import strike
from shared.runtime.egress import AddressPolicy, EgressRefused
from shared.runtime.resources import Resources
from shared.runtime.retry_after import parse_retry_after
from shared.transport.attempt import Attempt, Dead, Discard, Retry
from shared.transport.enqueue import enqueue

PAGES_MOST = 200  # of one run; the next tick goes on
WISH_MOST_S = 3600.0  # of a server that asks for patience
CURSOR_GONE = frozenset({400, 404, 410})  # of a page further on: the feed does not know the cursor any more


@dataclass
class Tally:
    pages: int = 0
    items: int = 0


async def sync(attempt: Attempt, resources: Resources, settings: ApiSettings) -> dict[str, Any] | None:
    """None when the last page has ended the attempt."""
    if not settings.sync_url:
        return {"skipped": "HOLDFAST_API_SYNC_URL is not set"}
    if attempt.claim.run_at % TICK_US == 0 and not await _is_wanted(attempt, resources, settings):
        return {"skipped": f"its rhythm is {settings.sync_every}"}
    policy = AddressPolicy.from_cidrs(resources.settings.egress_allow)
    try:
        async with FeedClient(settings.sync_url, settings.sync_token.get_secret_value(), policy) as client:
            return await _read_on(attempt, resources, settings, client)
    except FeedBroken as broken:
        raise Dead(str(broken), kind=broken.kind) from None
    except EgressRefused as refused:
        raise Dead(refused.message, kind="egress") from None


async def _is_wanted(attempt: Attempt, resources: Resources, settings: ApiSettings) -> bool:
    """At a tick of the schedule: whether to read now; the later reads of its quarter of an hour become jobs.

    Whatever else starts a job (a person, a retry, one of those later reads) is always wanted.
    """
    wanted = instants(settings.sync_every, settings.sync_time_zone, attempt.claim.run_at)
    now, later = split(wanted, resources.database.clock.now_us())
    if later:
        async with resources.tx() as tx:
            for at_us in later:
                await enqueue(tx, SyncFeed(), tenant=attempt.tenant, run_at=at_us, unique=Unique(key=str(at_us)))
    return now


async def _read_on(
    attempt: Attempt, resources: Resources, settings: ApiSettings, client: FeedClient
) -> dict[str, Any] | None:
    position = await read_position(resources.database, settings.sync_url)
    tally, asked, again = Tally(), {position.cursor}, False
    while tally.pages < PAGES_MOST and not attempt.is_stopping:
        given = conditions(position)
        answer = await _ask(client, position.cursor, given, attempt)
        if answer.status in CURSOR_GONE and position.cursor and not again:
            # The feed has forgotten where we were: from its beginning, where items that we have are not news. Without
            # conditions: an unchanged first page says nothing of the rest, which was never read.
            position = replace(position, cursor="", valid_for=None, etag=None, last_modified=None)
            asked, again = {""}, True
            continue
        if answer.status == 304 and given:
            return {"pages": tally.pages, "items": tally.items, "more": False}
        page = _judge(answer, attempt)
        ends = page.ends_at(position.cursor)
        if not ends and page.next_cursor in asked:
            words = f"the feed's cursor {str(page.next_cursor)[:100]!r} comes back after {tally.pages + 1} pages"
            raise FeedBroken("cursor_loop", words)
        asked.add(page.next_cursor or "")
        then = follow(position, page, answer.etag, answer.last_modified)
        async with attempt.tx() if ends else resources.tx() as tx:
            new = await write_page(tx, settings.sync_url, settings.sync_tenant, position, then, page.items, tx.now_us)
            if new is None:
                raise Discard("somebody else reads this feed")
            tally.pages, tally.items = tally.pages + 1, tally.items + new
            attempt.result = {"pages": tally.pages, "items": tally.items, "more": False}
        strike("sync.page")
        if ends:
            return None
        position = then
    return {"pages": tally.pages, "items": tally.items, "more": True}


async def _ask(client: FeedClient, cursor: str, given: Mapping[str, str], attempt: Attempt) -> Answer:
    try:
        return await client.get(cursor, given)
    except UNREACHED as failed:
        words = f"the feed cannot be reached: {type(failed).__name__}: {failed}"[:300]
        raise Retry(SyncFeed.retry.delay_s(attempt.number), words) from None


def _judge(answer: Answer, attempt: Attempt) -> Page:
    if answer.status == 200:
        return read_page(answer.body)
    words = f"the feed answered {answer.status}"
    if answer.status in (408, 429) or answer.status >= 500:
        started_s = attempt.started_at / SECOND_US
        wish_s = parse_retry_after(answer.retry_after, now_s=started_s, max_s=WISH_MOST_S)
        raise Retry(SyncFeed.retry.delay_s(attempt.number) if wish_s is None else max(wish_s, 1.0), words)
    raise FeedBroken(f"http_{answer.status}", words)
