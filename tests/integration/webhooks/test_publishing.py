"""PublishEvent: what other services send becomes one event and its deliveries, however often it comes."""

from typing import Any

import pytest

from shared.contracts.commands.webhooks import PublishEvent
from shared.kernel.ids import new_id
from tests.integration.webhooks.office import Office


def command(**other: Any) -> PublishEvent:
    given = {"event_id": new_id("evt"), "type": "media.asset.processed.v1", "data": {"asset_id": "ast_1"}}
    return PublishEvent(**{**given, "occurred_at": "2026-01-31T13:00:00+01:00", **other})


async def outcome(office: Office, job_id: str) -> dict[str, Any]:
    (row,) = await office.rows("SELECT state, result, error_message FROM job WHERE id = :id", id=job_id)
    return row


async def test_an_event_of_another_service_is_delivered(office: Office) -> None:
    endpoint = await office.endpoint("media.*")
    published = command()
    job_id = await office.enqueue(published)
    assert await office.work() == 2

    (letter,) = office.receiver.letters
    assert letter.headers["webhook-id"] == published.event_id
    assert letter.verified(endpoint["secret"]) == {
        "type": published.type, "timestamp": "2026-01-31T12:00:00.000000Z", "data": published.data,
    }  # fmt: skip
    assert (await outcome(office, job_id))["state"] == "completed"


async def test_the_same_event_twice_is_one_event(office: Office) -> None:
    await office.endpoint()
    await office.endpoint()
    published = command()
    jobs = [await office.enqueue(published) for _ in range(3)]
    await office.work()

    assert len(office.receiver.letters) == 2
    results = [(await outcome(office, job_id))["result"] for job_id in jobs]
    assert sum('"repeated":true' in result for result in results) == 2


async def test_an_endpoint_of_a_moment_ago_is_told(office: Office) -> None:
    """The process that publishes may have looked before the endpoint was there."""
    await office.event("media.asset.processed.v1")
    await office.run(
        "INSERT INTO webhooks_endpoints (id, tenant, url, description, event_types, timeout_s, meta, enabled, secret,"
        " version, created_at, updated_at) VALUES (:id, 'acme', :url, '', '[\"*\"]', 5, '{}', true, 'x', 1, 1, 1)",
        id=new_id("ep"), url=office.receiver.url(),
    )  # fmt: skip
    await office.enqueue(command())
    await office.work_once()
    assert (await office.rows("SELECT count(*) AS n FROM webhooks_deliveries"))[0]["n"] == 1


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"event_id": "evt.1"}, "not the id of an event"),
        ({"type": "no type"}, "an event type is"),
        ({"occurred_at": "yesterday"}, "RFC 3339"),
        ({"occurred_at": "2026-01-31T13:00:00"}, "RFC 3339"),
        ({"data": {"x": "y" * 262_144}}, "the limit is 262144"),
    ],
)
async def test_what_can_never_be_published_is_dead_at_once(office: Office, other: dict[str, Any], words: str) -> None:
    job_id = await office.enqueue(command(**other))
    assert await office.work() == 1
    ended = await outcome(office, job_id)
    assert ended["state"] == "dead"
    assert words in ended["error_message"]


async def test_an_event_of_another_tenant_is_not_taken_for_ours(office: Office) -> None:
    published = command()
    await office.enqueue(published, tenant="other")
    await office.work()
    job_id = await office.enqueue(published)
    await office.work()
    assert "another tenant" in (await outcome(office, job_id))["error_message"]
