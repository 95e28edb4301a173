"""A walk over every route of the service: without a key, without the scope, and as another tenant."""

import httpx
import pytest

from services.api.app import create_app
from services.api.settings import ApiSettings
from shared.runtime.http import api_routes
from tests.integration.api.test_jobs import make
from tests.integration.http.places import Place, bearer, client_of, expect_problem

OPEN = {"/healthz", "/readyz"}
# Of the whole system, by their scope.
SHARED = {
    "/v1/queues", "/v1/queues/{name}/backlog", "/v1/queues/{name}/pause", "/v1/queues/{name}/resume", "/metrics",
    "/v1/schedules", "/v1/schedules/{schedule_id}",
    "/v1/schedules/{schedule_id}/pause", "/v1/schedules/{schedule_id}/resume", "/v1/schedules/{schedule_id}/run",
}  # fmt: skip
LANE = "/v1/lanes/{queue}/{name}"
NAMED = {LANE, f"{LANE}/pause", f"{LANE}/resume"}  # the caller's own lane of that name: each tenant has one
BODIES = {
    ("PUT", LANE): {"concurrency": 3},
    ("PATCH", "/v1/jobs/{job_id}"): {"priority": 0},
    ("POST", "/v1/users"): {"email": "eve@example.com", "name": "Eve"},
    ("POST", "/v1/dead/retry"): {"filter": {}},
    ("POST", "/v1/dead/discard"): {"filter": {}},
}


async def test_every_route_keeps_tenants_apart(place: Place) -> None:
    app = create_app(place.settings, ApiSettings())
    ours, theirs = bearer(await place.key(tenant="acme")), bearer(await place.key(tenant="globex"))
    nothing = bearer(await place.key("media:read", tenant="acme"))
    walked = 0
    async with client_of(app) as client:
        signup = await client.post("/v1/users", json={"email": "ada@example.com", "name": "Ada"}, headers=ours)
        job, dead = await make(place, 2)
        await place.end([dead])
        await client.post("/v1/dead/retry", json={"ids": [job]}, headers=ours)
        action = (await client.get("/v1/actions", headers=ours)).json()["items"][0]["id"]
        ids = {
            "job_id": job,
            "user_id": signup.json()["id"],
            "queue": "api",
            "name": "api",
            "schedule_id": "upkeep.purge_history",
            "action_id": action,
        }
        before = await place.rows("SELECT * FROM job ORDER BY id")
        for path, route in api_routes(app):
            for method in route.methods or ():
                if path in OPEN:
                    continue
                url, body = path.format(**ids), BODIES.get((method, path))
                expect_problem(await client.request(method, url, json=body), 401, "unauthenticated")
                expect_problem(await client.request(method, url, json=body, headers=nothing), 403, "not_allowed")
                answer = await client.request(method, url, json=body, headers=theirs)
                walked += 1
                if path in SHARED:
                    continue
                if "{" in path and path not in NAMED:
                    expect_problem(answer, 404, "not_found")
                for secret in (job, dead, ids["user_id"], "ada@example.com"):
                    assert secret not in answer.text.replace(url, "").replace(f"there is no job {job}", "").replace(
                        f"there is no user {ids['user_id']}", ""
                    )
        after = await place.rows("SELECT * FROM job WHERE tenant = 'acme' ORDER BY id")
        assert after == before
    assert walked == 33  # a new route makes its way into this walk


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_ids_of_others_in_bulk_are_unknown(place: Place, client: httpx.AsyncClient) -> None:
    (job,) = await make(place, tenant="globex")
    await place.end([job])
    for path in ("/v1/dead/retry", "/v1/dead/discard"):
        assert (await client.post(path, json={"ids": [job]})).json()["unknown"] == [job]
    assert (await place.rows("SELECT state FROM job"))[0]["state"] == "dead"
