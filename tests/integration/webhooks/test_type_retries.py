"""A type's retry schedule: it holds for endpoints that have none of their own, and nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.webhooks.office import Office

TYPE = """
    INSERT INTO webhooks_event_types (tenant, name, description, examples, retry_schedule_s, archived, version,
                                      created_at, updated_at)
    VALUES (:tenant, 'a.b', '', '[]', :schedule, :no, 1, 0, 0)
"""


async def given(office: Office, schedule: str | None, tenant: str = "acme") -> None:
    await office.run(TYPE, tenant=tenant, schedule=schedule, no=False)


async def waited_s(office: Office, event: dict[str, Any]) -> float:
    """From the end of the first attempt to the second's instant."""
    row = await office.delivery(event)
    (job,) = await office.rows("SELECT run_at FROM job WHERE id = :id", id=row["id"])
    (attempt,) = await office.rows("SELECT finished_at FROM job_attempt WHERE job_id = :id", id=row["id"])
    return float(job["run_at"] - attempt["finished_at"]) / 1e6


async def test_a_types_schedule_comes_before_the_default(office: Office) -> None:
    await given(office, "[77]")
    await office.endpoint()
    office.receiver.reply(500)
    event = await office.event("a.b")
    await office.work_once()
    assert await waited_s(office, event) == pytest.approx(77, abs=0.1)


async def test_an_endpoints_own_schedule_comes_before_its_types(office: Office) -> None:
    await given(office, "[77]")
    await office.endpoint(retry_schedule_s=[33])
    office.receiver.reply(500)
    event = await office.event("a.b")
    await office.work_once()
    assert await waited_s(office, event) == pytest.approx(33, abs=0.1)


@pytest.mark.parametrize(("schedule", "tenant"), [(None, "acme"), ("[77]", "globex")])
async def test_without_one_the_default_holds_with_its_jitter(office: Office, schedule: str | None, tenant: str) -> None:
    await given(office, schedule, tenant)
    await office.endpoint()
    office.receiver.reply(500)
    event = await office.event("a.b")
    await office.work_once()
    assert 4 <= await waited_s(office, event) <= 6


async def test_the_end_of_a_types_schedule_is_the_end(office: Office) -> None:
    await given(office, "[0.01]")
    await office.endpoint(url=office.receiver.url("/bad"))
    event = await office.event("a.b")
    await office.work()
    delivery = await office.delivery(event)
    assert (delivery["state"], len(delivery["attempts"])) == ("dead", 2)
    assert delivery["error"]["message"] == "500 Internal Server Error after 2 attempts"
