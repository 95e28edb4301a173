"""Every example of the api service's OpenAPI is true: a user, jobs through their lives, and all that is decided."""

from typing import Any

import httpx
import orjson
from pydantic import SecretStr

from services.api.app import create_app
from services.api.hours import HOUR_US, count_hours
from services.api.settings import ApiSettings
from services.api.store_sync import Item, Position, write_page
from shared.db.tx import open_tx
from shared.kernel.clock import ManualClock, rfc3339
from shared.kernel.ids import new_id
from tests.integration.api.test_jobs import make
from tests.integration.api.test_lanes import job_in
from tests.integration.api.test_schedules import tick
from tests.integration.api.test_stats import ended
from tests.integration.http.places import Place, client_of, on_one_database
from tests.integration.http.told import Told

MODEL = ApiSettings(llm_url="https://llm.example/v1", llm_model="small")


@on_one_database
async def test_the_examples_are_what_is_answered(place: Place) -> None:
    async with client_of(create_app(place.settings, MODEL), await place.key()) as client:
        told = await Told.of(client)
        for path in ("/healthz", "/readyz"):
            await client.get(path)
        await degraded(place, told)
        await signing_up(client, told)
        await a_job(place, client, told)
        await deciding(client, told, await make(place, 2))
        await dead_letters(place, client, told)
        await queues_and_lanes(place, client, told)
        await schedules(place, client)
        await counted_and_synced(place, client)
    assert "\n".join(told.untrue()) == ""


async def degraded(place: Place, told: Told) -> None:
    """Redis is not there."""
    without = place.settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    async with client_of(create_app(without, MODEL)) as client:
        client.event_hooks["response"].append(told.heard)
        assert (await client.get("/readyz")).json()["status"] == "degraded"


async def sent(client: httpx.AsyncClient, method: str, path: str, body: Any = None) -> Any:
    answer = await client.request(method, path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


async def signing_up(client: httpx.AsyncClient, told: Told) -> None:
    (body,) = told.bodies("post", "/v1/users")
    user = await sent(client, "POST", "/v1/users", body)
    assert (await sent(client, "GET", f"/v1/users/{user['id']}"))["email"] == body["email"]
    for prompt in told.bodies("post", "/v1/prompts"):
        await sent(client, "POST", "/v1/prompts", prompt)


async def a_job(place: Place, client: httpx.AsyncClient, told: Told) -> None:
    """Changed, run in vain after it had told how far it was, and looked at."""
    (job,) = await make(place)
    await sent(client, "PATCH", f"/v1/jobs/{job}", {"priority": 4})
    await place.end([job])
    await place.rows("UPDATE job SET progress = 0.5, progress_note = 'connected', progress_at = created_at")
    assert (await sent(client, "GET", f"/v1/jobs/{job}"))["state"] == "dead"
    await sent(client, "GET", "/v1/jobs")


async def deciding(client: httpx.AsyncClient, told: Told, jobs: list[str]) -> None:
    for body in told.bodies("patch", "/v1/jobs/{job_id}"):
        await sent(client, "PATCH", f"/v1/jobs/{jobs[0]}", body)
    await sent(client, "POST", f"/v1/jobs/{jobs[1]}/cancel")
    for again in told.bodies("post", "/v1/jobs/{job_id}/retry"):
        await sent(client, "POST", f"/v1/jobs/{jobs[1]}/retry", again)
        await sent(client, "POST", f"/v1/jobs/{jobs[1]}/cancel")
    await sent(client, "PATCH", f"/v1/jobs/{jobs[0]}", {"run_at": "2999-01-01T00:00:00Z"})


async def dead_letters(place: Place, client: httpx.AsyncClient, told: Told) -> None:
    jobs = await make(place, 5)
    await place.end(jobs[:4])
    listed = await sent(client, "GET", "/v1/dead")
    for verb, job in (("retry", jobs[0]), ("discard", jobs[1])):
        await sent(client, "POST", f"/v1/dead/{verb}", {"ids": [job, jobs[4]]})
        for body in told.bodies("post", f"/v1/dead/{verb}"):
            await sent(client, "POST", f"/v1/dead/{verb}", body)
    canary = await sent(client, "POST", "/v1/dead/retry", {"group": listed["groups"][0]["group"], "canary": 1})
    assert canary["canaries"]
    decided = await sent(client, "GET", "/v1/actions")
    for one in decided["items"]:
        await sent(client, "GET", f"/v1/actions/{one['id']}")


async def queues_and_lanes(place: Place, client: httpx.AsyncClient, told: Told) -> None:
    for look in ("/v1/queues", "/v1/queues/api/backlog"):
        await sent(client, "GET", look)
    lane = new_id("ep")
    await job_in(place, lane)
    (limits,) = told.bodies("put", "/v1/lanes/{queue}/{name}")
    await sent(client, "PUT", f"/v1/lanes/api/{lane}", limits)
    for look in ("/v1/lanes", f"/v1/lanes/api/{lane}"):
        await sent(client, "GET", look)
    for path in (f"/v1/lanes/api/{lane}", "/v1/queues/api"):
        await sent(client, "POST", f"{path}/pause")
        await sent(client, "POST", f"{path}/resume")


async def schedules(place: Place, client: httpx.AsyncClient) -> None:
    await tick(place)
    await place.rows("DELETE FROM schedule WHERE id <> 'upkeep.purge_history'")
    await place.rows("UPDATE schedule SET next_at = next_at - :day", day=24 * HOUR_US)
    await tick(place)
    await place.rows("UPDATE schedule SET missed = 'all', catch_up = 5")
    path = "/v1/schedules/upkeep.purge_history"
    for look in ("/v1/schedules", path):
        await sent(client, "GET", look)
    for verb in ("pause", "resume", "run"):
        await sent(client, "POST", f"{path}/{verb}")


async def counted_and_synced(place: Place, client: httpx.AsyncClient) -> None:
    real = place.database.clock
    hour = (real.now_us() // HOUR_US - 3) * HOUR_US
    place.database.clock = ManualClock(hour + HOUR_US + HOUR_US // 6)
    await ended(place, 1, "completed", hour + 1)
    await count_hours(place.database, 86_400.0)
    place.database.clock = real
    await sent(client, "GET", f"/v1/stats/hourly?from={rfc3339(hour)}")
    async with open_tx(place.database) as tx:
        lamp = Item("sku-1", 7, orjson.dumps({"name": "Lamp"}).decode())
        await write_page(tx, "feed", "acme", Position(), Position(1, "p2"), [lamp], tx.now_us)
    await sent(client, "GET", "/v1/synced")
