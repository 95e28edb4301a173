"""Retention of events: old ones go with their links, unless a delivery may still have to send them."""

from typing import Any

import orjson

from services.webhooks.store_events import event_sweep
from shared.contracts.commands.webhooks import FanOutEvent, PurgeEvents
from shared.db.sweep import sweep_all
from shared.kernel.clock import SECOND_US
from shared.ledger.audit import audit
from tests.integration.webhooks.office import Office

MONTH_US = 30 * 86_400 * SECOND_US


async def age(office: Office) -> None:
    """What is there was accepted a month ago: ids and instants alike."""
    await office.run("UPDATE webhooks_deliveries SET event_id = 'evt_00' || substr(event_id, 7)")
    await office.run(
        "UPDATE webhooks_events SET id = 'evt_00' || substr(id, 7), created_at = created_at - :by", by=MONTH_US
    )


async def purge(office: Office) -> dict[str, Any]:
    """What the hourly job says."""
    job_id = await office.enqueue(PurgeEvents(), tenant="system")
    await office.work()
    (row,) = await office.rows("SELECT state, result FROM job WHERE id = :id", id=job_id)
    assert row["state"] == "completed"
    found: dict[str, Any] = orjson.loads(row["result"])
    return found


def some(report: dict[str, Any]) -> dict[str, Any]:
    """Of which tables something went."""
    return {table: count for table, count in report.items() if count}


async def counts(office: Office) -> tuple[int, int]:
    events = await office.rows("SELECT count(*) AS n FROM webhooks_events")
    links = await office.rows("SELECT count(*) AS n FROM webhooks_deliveries")
    return events[0]["n"], links[0]["n"]


async def test_old_events_go_with_their_links(office: Office) -> None:
    await office.endpoint()
    await office.endpoint()
    for _ in range(3):
        await office.event()
    await office.work()
    await age(office)
    young = await office.event()
    await office.work()
    assert some(await purge(office)) == {"webhooks_events": 3, "webhooks_deliveries": 6}
    assert await counts(office) == (1, 2)
    assert (await office.ok(office.client.get(f"/v1/webhooks/events/{young['id']}")))["id"] == young["id"]
    assert (await audit(office.database)).ok
    assert some(await purge(office)) == {}


async def test_events_of_deliveries_that_have_not_ended_stay(office: Office) -> None:
    """Waiting for its retry, running, dead: each may still send it. Completed, cancelled and purged ones do not."""
    await office.endpoint()
    for _ in range(6):
        await office.event()
    await office.work()
    links = await office.rows("SELECT event_id, job_id FROM webhooks_deliveries ORDER BY event_id")
    for link, state in zip(links, ("ready", "dispatched", "running", "dead", "cancelled"), strict=False):
        await office.run("UPDATE job SET state = :state WHERE id = :id", state=state, id=link["job_id"])
    await office.run("DELETE FROM job WHERE id = :id", id=links[5]["job_id"])
    await office.run("UPDATE job SET run_at = run_at + 3600000000, due = FALSE WHERE state = 'ready'")
    await office.run("UPDATE job SET dispatched_at = 1 WHERE state = 'dispatched'")
    await age(office)
    sweep = event_sweep(office.database.clock.now_us() - MONTH_US // 2)
    found = await sweep_all(office.database, [sweep], batch=2, budget_s=60)
    assert some(found.rows) == {"webhooks_events": 2, "webhooks_deliveries": 2}
    left = {row["job_id"] for row in await office.rows("SELECT job_id FROM webhooks_deliveries")}
    assert left == {link["job_id"] for link in links[:4]}


async def test_an_event_whose_deliveries_are_still_being_made_stays(office: Office) -> None:
    """A fan-out that waits, runs or is a dead letter makes the rest of them; one that ended makes none any more."""
    for _ in range(5):
        await office.event()
    await office.work()
    events = [row["id"] for row in await office.rows("SELECT id FROM webhooks_events ORDER BY id")]
    states = ("ready", "running", "dead", "completed", "cancelled")
    for event_id, state in zip(events, states, strict=True):
        job_id = await office.enqueue(FanOutEvent(event_id=event_id))
        fanout = "INSERT INTO webhooks_fanouts (event_id, job_id, after, matched, made, total, seen)"
        await office.run(f"{fanout} VALUES (:event, :job, '', 101, 0, 0, 0)", event=event_id, job=job_id)
        await office.run("UPDATE job SET state = :state WHERE id = :id", state=state, id=job_id)
    await office.run("UPDATE job SET run_at = run_at + 3600000000, due = FALSE WHERE state = 'ready'")
    await age(office)
    await office.run("UPDATE webhooks_fanouts SET event_id = 'evt_00' || substr(event_id, 7)")
    sweep = event_sweep(office.database.clock.now_us() - MONTH_US // 2)
    found = await sweep_all(office.database, [sweep], batch=2, budget_s=60)
    assert some(found.rows) == {"webhooks_events": 2}
    left = {row["state"] for row in await office.rows(
        "SELECT j.state FROM webhooks_fanouts AS f JOIN job AS j ON j.id = f.job_id"
    )}  # fmt: skip
    assert left == {"ready", "running", "dead"}


async def test_an_event_without_deliveries_goes_too(office: Office) -> None:
    await office.event()
    await age(office)
    assert (await purge(office))["webhooks_events"] == 1
    assert await counts(office) == (0, 0)
