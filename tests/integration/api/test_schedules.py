"""Schedules over HTTP: what is shown of them, and what may be decided about one, by whom."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from shared.contracts.commands.api import PurgeHistory
from shared.contracts.cron import CronLine
from shared.contracts.unique import Unique
from shared.kernel.clock import SECOND_US, ManualClock, rfc3339
from shared.ledger.audit import audit
from shared.runtime.ticker import Ticker
from tests.integration.http.places import Place, bearer, expect_problem

PURGE = "upkeep.purge_history"
URL = f"/v1/schedules/{PURGE}"
HOUR_US = 3_600 * SECOND_US


async def tick(place: Place, at_us: int | None = None) -> None:
    """What the relay's ticker does at this moment, or at that one."""
    clock = ManualClock(at_us or place.database.clock.now_us())
    real, place.database.clock = place.database.clock, clock
    try:
        await Ticker(SimpleNamespace(database=place.database, waker=SimpleNamespace(wake=lambda _: None))).run_once(
            ["api"]
        )  # type: ignore[arg-type]
    finally:
        place.database.clock = real


@pytest.fixture(autouse=True)
async def scheduled(place: Place) -> None:
    """The purge's alone is there; a later tick makes the others anew, from then."""
    await tick(place)
    await place.rows("DELETE FROM schedule WHERE id <> :id", id=PURGE)


async def next_at(place: Place) -> int:
    return int((await place.rows("SELECT next_at FROM schedule WHERE id = :id", id=PURGE))[0]["next_at"])


async def test_a_schedule_shows_its_line_and_its_next_five_ticks(place: Place, client: httpx.AsyncClient) -> None:
    first = await next_at(place)
    page = (await client.get("/v1/schedules")).json()
    shown = page["items"][0]
    assert (len(page["items"]), page["next_cursor"]) == (1, None)
    assert shown["updated_at"].endswith("Z")
    assert shown == {
        "id": PURGE, "task": PURGE, "queue": "api", "tenant": "system", "state": "active", "cron": "0 * * * *",
        "time_zone": "UTC", "args": {"at": None, "after": None}, "missed": "once", "catch_up": None, "last": None,
        "next": [rfc3339(first + number * HOUR_US) for number in range(5)], "updated_at": shown["updated_at"],
    }  # fmt: skip
    assert (await client.get(URL)).json() == shown
    paths = (await client.get("/openapi.json")).json()["paths"]
    told = paths["/v1/schedules/{schedule_id}"]["get"]["responses"]["200"]["content"]["application/json"]["example"]
    assert told.keys() == shown.keys()


async def test_the_last_tick_is_shown_with_its_job(place: Place, client: httpx.AsyncClient) -> None:
    at = await next_at(place) - 2 * HOUR_US
    await place.rows("UPDATE schedule SET next_at = :at", at=at)
    await tick(place)
    (job,) = await place.rows("SELECT id, run_at FROM job")
    last = (await client.get(URL)).json()["last"]
    assert job["run_at"] == at + HOUR_US
    assert last == {"tick_at": rfc3339(at + HOUR_US), "job": job["id"], "state": "queued", "missed": 1}
    await place.end([job["id"]], "completed")
    items = {item["id"]: item for item in (await client.get("/v1/schedules")).json()["items"]}
    assert items[PURGE]["last"]["state"] == "completed"
    await place.rows("DELETE FROM job")
    assert (await client.get(URL)).json()["last"] == {**last, "state": None}


async def test_its_job_is_read_by_a_key_of_the_tenant_system(place: Place, client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{URL}/run")
    path = answer.headers["location"]
    assert path == f"/v1/jobs/{answer.json()['job']}"
    expect_problem(await client.get(path), 404, "not_found")
    shown = await client.get(path, headers=bearer(await place.key("jobs:read", tenant="system")))
    assert (shown.json()["task"], shown.json()["state"]) == (PURGE, "queued")


async def test_run_now_makes_a_job_and_no_tick(place: Place, client: httpx.AsyncClient) -> None:
    before = (await client.get(URL)).json()
    answers = [await client.post(f"{URL}/run", headers={"Idempotency-Key": "again"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    await client.post(f"{URL}/run")
    jobs = await place.rows("SELECT id, tenant, queue, args FROM job ORDER BY id")
    assert [(job["tenant"], job["queue"], job["args"]) for job in jobs] == [
        ("system", "api", '{"at":null,"after":null}')
    ] * 2
    assert jobs[0]["id"] == answers[0].json()["job"]
    assert (await client.get(URL)).json() == before
    assert await place.rows("SELECT * FROM cron_tick") == []
    noted = await place.rows("SELECT action, job_id, target FROM job_action ORDER BY id")
    assert [(act["action"], act["job_id"]) for act in noted] == [("run", job["id"]) for job in jobs]
    assert (await audit(place.database)).ok


async def test_run_now_names_the_job_that_waits_already(
    place: Place, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PurgeHistory, "unique", Unique())
    answers = [(await client.post(f"{URL}/run")).json()["job"] for _ in range(2)]
    (job,) = await place.rows("SELECT id FROM job")
    assert answers == [job["id"], job["id"]]
    assert [act["job_id"] for act in await place.rows("SELECT job_id FROM job_action")] == answers
    assert (await audit(place.database)).ok


async def test_a_paused_schedule_makes_nothing_until_it_is_resumed(place: Place, client: httpx.AsyncClient) -> None:
    due = await next_at(place)
    for _ in range(2):
        paused = await client.post(f"{URL}/pause")
        assert (paused.status_code, paused.json()) == (200, {"id": PURGE, "state": "paused", "next": []})
    await tick(place, due + 3 * HOUR_US)
    assert await place.rows("SELECT id FROM job") == []
    assert (await client.get(URL)).json()["state"] == "paused"
    assert (await client.post(f"{URL}/run")).status_code == 202, "somebody may want just this one"
    for _ in range(2):
        resumed = (await client.post(f"{URL}/resume")).json()
        assert (resumed["state"], resumed["next"][0]) == ("active", rfc3339(due))
    noted = await place.rows("SELECT action, target FROM job_action ORDER BY id")
    assert [act["action"] for act in noted] == ["pause", "run", "resume"], "what was so already is no decision"
    assert {act["target"] for act in noted} == {f'{{"schedule":"{PURGE}"}}'}
    await tick(place, due)
    assert len(await place.rows("SELECT id FROM job")) == 2


async def test_resuming_does_not_make_up_for_the_pause(place: Place, client: httpx.AsyncClient) -> None:
    due = await next_at(place)
    await client.post(f"{URL}/pause")
    await place.rows("UPDATE schedule SET next_at = :at", at=due - 50 * HOUR_US)
    assert (await client.post(f"{URL}/resume")).json()["next"][0] == rfc3339(due)


async def test_what_the_code_no_longer_has_is_shown_and_cannot_be_run(
    place: Place, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.contracts.commands.api import PurgeHistory

    monkeypatch.setattr(PurgeHistory, "schedule", ())
    await tick(place)
    shown = (await client.get(URL)).json()
    assert (shown["state"], shown["next"]) == ("removed", [])
    for verb in ("pause", "resume", "run"):
        assert expect_problem(await client.post(f"{URL}/{verb}"), 409, "conflict")["state"] == "removed"
    assert await place.rows("SELECT id FROM job") == []


async def test_ids_may_hold_a_name_and_unknown_ones_are_404(
    place: Place, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.contracts.commands.api import PurgeHistory

    line = CronLine(cron="30 2 * * *", time_zone="Europe/Berlin", name="night", missed="all", catch_up=3)
    monkeypatch.setattr(PurgeHistory, "schedule", (line,))
    await tick(place)
    shown = (await client.get(f"{URL}:night")).json()
    assert (shown["id"], shown["time_zone"], shown["catch_up"]) == (f"{PURGE}:night", "Europe/Berlin", 3)
    for method, path in (("GET", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/run")):
        expect_problem(await client.request(method, f"/v1/schedules/nothing{path}"), 404, "not_found")
        expect_problem(await client.request(method, f"/v1/schedules/%00{path}"), 422, "invalid")


@pytest.mark.parametrize("verb", [None, "pause", "resume", "run"])
async def test_reading_and_deciding_have_scopes_of_their_own(
    place: Place, client: httpx.AsyncClient, verb: str | None
) -> None:
    scopes = ["jobs:write", "queues:read", "schedules:write" if verb is None else "schedules:read"]
    narrow: dict[str, Any] = {"headers": bearer(await place.key(*scopes))}
    answer = await (client.get(URL, **narrow) if verb is None else client.post(f"{URL}/{verb}", **narrow))
    wanted = "schedules:read" if verb is None else "schedules:write"
    assert expect_problem(answer, 403, "not_allowed")["missing_scope"] == wanted
    fitting = bearer(await place.key(wanted, tenant="globex"))
    answer = await (client.get(URL, headers=fitting) if verb is None else client.post(f"{URL}/{verb}", headers=fitting))
    assert answer.is_success, "the scope is of the whole system, whatever the key's tenant"
