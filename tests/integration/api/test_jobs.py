"""Jobs as people see them, retried and cancelled."""

import asyncio
import re

import httpx
import pytest
from redis.asyncio import Redis

from shared.contracts.commands import api, media, webhooks
from shared.contracts.commands.api import SendWelcomeEmail
from shared.contracts.commands.media import DeleteFiles
from shared.db.tx import open_tx
from shared.kernel.clock import SECOND_US
from shared.kernel.ids import new_id
from shared.ledger.audit import audit
from shared.ledger.store_accept import new_job
from shared.runtime.pages import encode
from shared.transport.enqueue import enqueue_all
from shared.transport.family import enqueue_family
from shared.transport.names import control_channel, wake_channel
from tests.integration.http.places import Place, expect_problem, on_one_database, pointers

RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")


async def make(place: Place, count: int = 1, *, delay_s: float = 0, tenant: str = "acme") -> list[str]:
    async with open_tx(place.database) as tx:
        run_at = tx.now_us + round(delay_s * SECOND_US)
        command = SendWelcomeEmail(user_id="user_1", email="a@b.cd", name="Ada")
        jobs = [new_job(command, tenant=tenant, now_us=tx.now_us, run_at=run_at) for _ in range(count)]
        await enqueue_all(tx, jobs)
    return [job.id for job in jobs]


async def test_a_job_is_shown_through_its_life(place: Place, client: httpx.AsyncClient) -> None:
    (job,) = await make(place)
    shown = (await client.get(f"/v1/jobs/{job}")).json()
    assert (shown["id"], shown["task"], shown["queue"], shown["state"]) == (job, "email.send_welcome", "api", "queued")
    assert shown["args"] == {"user_id": "user_1", "email": "a@b.cd", "name": "Ada"}
    assert (shown["tenant"], shown["attempts"], shown["result"], shown["error"]) == ("acme", [], None, None)
    assert (shown["progress"], shown["crashes"]) == (None, 0)
    assert (shown["lane"], shown["waiting_for"]) == (None, {"kind": "no_worker"})
    assert RFC3339.match(shown["created_at"])
    assert RFC3339.match(shown["run_at"])

    await place.end([job], "running")
    running = (await client.get(f"/v1/jobs/{job}")).json()
    assert (running["state"], running["waiting_for"]) == ("running", None)
    assert [(a["number"], a["finished_at"], a["outcome"]) for a in running["attempts"]] == [(1, None, None)]

    (other,) = await make(place)
    await place.end([other], "completed")
    done = (await client.get(f"/v1/jobs/{other}")).json()
    assert (done["state"], done["result"]) == ("completed", {"ok": True})
    (attempt,) = done["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["error"]) == (1, "completed", None)
    assert RFC3339.match(attempt["started_at"])
    assert RFC3339.match(attempt["finished_at"])


async def test_a_scheduled_job_says_what_it_waits_for(place: Place, client: httpx.AsyncClient) -> None:
    (job,) = await make(place, delay_s=60)
    shown = (await client.get(f"/v1/jobs/{job}")).json()
    assert shown["state"] == "scheduled"
    assert shown["waiting_for"] == {"kind": "future", "until": shown["run_at"]}


async def test_lists_page_newest_first_and_filter(place: Place, client: httpx.AsyncClient) -> None:
    jobs = await make(place, 7)
    later = await make(place, 2, delay_s=60)
    await place.end(jobs[:2])
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get("/v1/jobs", params={"limit": "4", **cursor})).json()
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == sorted(jobs + later, reverse=True)

    async def ids(**params: str) -> set[str]:
        answer = await client.get("/v1/jobs", params=params)
        assert answer.status_code == 200, answer.text
        return {item["id"] for item in answer.json()["items"]}

    assert await ids(state="dead") == set(jobs[:2])
    assert await ids(state="scheduled") == set(later)
    assert await ids(state="queued") == set(jobs[2:])
    assert await ids(state="retrying") == await ids(state="running") == await ids(state="completed") == set()
    assert await ids(queue="api", task="email.send_welcome") == set(jobs + later)
    assert await ids(queue="media") == await ids(task="no.such") == set()
    for params in (
        {"state": "asleep"},
        {"limit": "0"},
        {"limit": "101"},
        {"cursor": "x"},
        {"cursor": "AAAA"},
        {"cursor": encode(new_id("ep"))},
        {"queue": "a\x00"},
    ):
        document = expect_problem(await client.get("/v1/jobs", params=params), 422, "invalid")
        assert document["errors"][0]["in"] == "query"
        assert document["errors"][0]["pointer"] == "/" + next(iter(params))


async def test_a_dead_job_starts_over_and_keeps_its_attempts(place: Place, client: httpx.AsyncClient) -> None:
    (job,) = await make(place)
    await place.end([job])
    dead = (await client.get(f"/v1/jobs/{job}")).json()
    assert dead["state"] == "dead"
    assert dead["error"] == {"type": "Boom", "message": "it broke"}
    assert dead["attempts"][0]["error"] == {"type": "Boom", "message": "it broke", "trace": "Traceback: …"}

    answer = await client.post(f"/v1/jobs/{job}/retry")
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job}"
    again = (await client.get(f"/v1/jobs/{job}")).json()
    assert (again["state"], again["attempt"], again["crashes"], again["error"]) == ("queued", 0, 0, None)
    assert (again["finished_at"], len(again["attempts"])) == (None, 1)
    assert (await audit(place.database)).ok

    await place.end([job], "completed")
    done = (await client.get(f"/v1/jobs/{job}")).json()
    assert [(a["number"], a["outcome"]) for a in done["attempts"]] == [(1, "failed"), (2, "completed")]
    assert (await audit(place.database)).ok
    document = expect_problem(await client.post(f"/v1/jobs/{job}/retry"), 409, "conflict")
    assert document["state"] == "completed"


async def test_what_cannot_be_retried_is_called_by_the_state_that_is_shown(
    place: Place, client: httpx.AsyncClient
) -> None:
    for job, state in zip(await make(place) + await make(place, delay_s=60), ("queued", "scheduled"), strict=True):
        document = expect_problem(await client.post(f"/v1/jobs/{job}/retry"), 409, "conflict")
        assert document["state"] == state == (await client.get(f"/v1/jobs/{job}")).json()["state"]
        assert f"is {state}:" in document["detail"]


async def test_a_retry_wakes_the_relay(place: Place, client: httpx.AsyncClient) -> None:
    (job,) = await make(place)
    await place.end([job])
    redis = Redis.from_url(place.settings.redis_url.get_secret_value())
    async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
        await subscription.subscribe(wake_channel("api"))
        while await subscription.get_message(timeout=0.1) is not None:
            pass
        await client.post(f"/v1/jobs/{job}/retry")
        woken = None
        for _ in range(50):
            woken = woken or await subscription.get_message(timeout=0.1)
    await redis.aclose()
    assert woken is not None


async def test_cancelling_waiting_running_and_ended_jobs(place: Place, client: httpx.AsyncClient) -> None:
    waiting, running, dead = await make(place, 3)
    answer = await client.post(f"/v1/jobs/{waiting}/cancel")
    assert (answer.status_code, answer.json()["state"], answer.json()["requested"]) == (202, "cancelled", False)
    await place.end([running], "running")
    answer = await client.post(f"/v1/jobs/{running}/cancel")
    assert (answer.status_code, answer.json()["state"], answer.json()["requested"]) == (202, "running", True)
    asked = (await client.get(f"/v1/jobs/{running}")).json()
    assert RFC3339.match(asked["cancel_requested_at"])
    await place.end([dead])
    for job in (waiting, dead):
        expect_problem(await client.post(f"/v1/jobs/{job}/cancel"), 409, "conflict")
    assert (await audit(place.database)).ok

    assert (await client.post(f"/v1/jobs/{waiting}/retry")).status_code == 202
    shown = (await client.get(f"/v1/jobs/{waiting}")).json()
    assert (shown["state"], shown["cancel_requested_at"]) == ("queued", None)
    assert (await audit(place.database)).ok


async def test_a_retry_with_a_key_is_one_retry(place: Place, client: httpx.AsyncClient) -> None:
    (job,) = await make(place)
    await place.end([job])
    headers = {"Idempotency-Key": "again"}
    first = await client.post(f"/v1/jobs/{job}/retry", headers=headers)
    second = await client.post(f"/v1/jobs/{job}/retry", headers=headers)
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.headers["idempotent-replay"] == "true"
    assert second.headers["location"] == first.headers["location"]


async def test_what_is_no_job_is_not_found(client: httpx.AsyncClient) -> None:
    for path in ("/v1/jobs/nothing", "/v1/jobs/job_" + "0" * 26, "/v1/jobs/%00", "/v1/jobs/" + "x" * 3000):
        expect_problem(await client.get(path), 404, "not_found")
        expect_problem(await client.post(path + "/retry"), 404, "not_found")
        expect_problem(await client.post(path + "/cancel", headers={"Idempotency-Key": "k"}), 404, "not_found")


async def test_a_waiting_job_takes_another_priority_or_time(place: Place, client: httpx.AsyncClient) -> None:
    (job,) = await make(place)
    answer = await client.patch(f"/v1/jobs/{job}", json={"priority": 0})
    assert (answer.status_code, answer.json()["priority"], answer.json()["state"]) == (200, 0, "queued")
    answer = await client.patch(f"/v1/jobs/{job}", json={"run_at": "2096-01-31T13:00:00.5+01:00"})
    assert (answer.json()["run_at"], answer.json()["state"]) == ("2096-01-31T12:00:00.500000Z", "scheduled")
    answer = await client.patch(f"/v1/jobs/{job}", json={"run_at": "2001-01-31T12:00:00Z", "priority": 9})
    shown = (await client.get(f"/v1/jobs/{job}")).json()
    assert (shown["state"], shown["priority"], shown["run_at"]) == ("queued", 9, answer.json()["run_at"])
    assert shown["run_at"] >= shown["created_at"], "what has passed is now"
    assert [(one["action"], one["outcome"]) for one in shown["actions"]] == [
        ("change", {"priority": 0}),
        ("change", {"run_at": "2096-01-31T13:00:00.5+01:00"}),
        ("change", {"priority": 9, "run_at": "2001-01-31T12:00:00Z"}),
    ]
    assert shown["actions"][0]["caller"].startswith("key_")
    assert (await audit(place.database)).ok


async def test_what_does_not_wait_is_not_changed(place: Place, client: httpx.AsyncClient) -> None:
    running, dead, other = (await make(place))[0], (await make(place))[0], (await make(place, tenant="globex"))[0]
    await place.end([running], "running")
    await place.end([dead])
    for job, state in ((running, "running"), (dead, "dead")):
        document = expect_problem(await client.patch(f"/v1/jobs/{job}", json={"priority": 1}), 409, "conflict")
        assert document["state"] == state
    expect_problem(await client.patch(f"/v1/jobs/{other}", json={"priority": 1}), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({}, ""),
        ({"priority": 10}, "/priority"),
        ({"priority": -1}, "/priority"),
        ({"priority": "1"}, "/priority"),
        ({"priority": True}, "/priority"),
        ({"run_at": "tomorrow"}, "/run_at"),
        ({"run_at": "2026-01-31T12:00:00"}, "/run_at"),
        ({"run_at": "2026-01-31"}, "/run_at"),
        ({"run_at": "1960-01-31T12:00:00Z"}, "/run_at"),
        ({"run_at": 5}, "/run_at"),
        ({"state": "dead"}, "/state"),
    ],
)
@on_one_database
async def test_changes_that_make_no_sense_are_told_where(
    place: Place, client: httpx.AsyncClient, body: dict[str, object], at: str
) -> None:
    (job,) = await make(place)
    document = expect_problem(await client.patch(f"/v1/jobs/{job}", json=body), 422, "invalid")
    assert pointers(document) == [at]


async def test_a_dead_job_is_run_again_with_other_arguments(place: Place, client: httpx.AsyncClient) -> None:
    (job,) = await make(place)
    await place.end([job])
    right = {"user_id": "user_1", "email": "ada@example.com", "name": "Ada"}
    assert (await client.post(f"/v1/jobs/{job}/retry", json={"args": right})).status_code == 202
    shown = (await client.get(f"/v1/jobs/{job}")).json()
    assert (shown["args"], shown["state"]) == (right, "queued")
    (action,) = shown["actions"]
    assert action["action"] == "retry"
    assert action["outcome"] == {"args_before": {**right, "email": "a@b.cd"}, "args": right}
    expect_problem(await client.post(f"/v1/jobs/{job}/retry", json={"args": right}), 409, "conflict")
    assert (await audit(place.database)).ok


@pytest.mark.parametrize("state", ["dead", "cancelled"])
async def test_arguments_that_name_a_services_own_things_are_nobodys_to_change(
    place: Place, client: httpx.AsyncClient, state: str
) -> None:
    """A key of a tenant's must not choose which files are deleted."""
    command = DeleteFiles(asset_id="ast_1", folders=("sources/mine",))
    async with open_tx(place.database) as tx:
        job = new_job(command, tenant="acme", now_us=tx.now_us)
        await enqueue_all(tx, [job])
    if state == "dead":
        await place.end([job.id])
    else:
        assert (await client.post(f"/v1/jobs/{job.id}/cancel")).status_code == 202
    for args in ({"asset_id": "x", "folders": ["assets", "sources"]}, {"asset_id": "ast_1"}, {"no": "such"}):
        expect_problem(await client.post(f"/v1/jobs/{job.id}/retry", json={"args": args}), 409, "not_editable")
        if state == "dead":
            answer = await client.post("/v1/dead/retry", json={"ids": [job.id], "args": args})
            expect_problem(answer, 409, "not_editable")
    (row,) = await place.rows("SELECT state, args FROM job")
    assert (row["state"], DeleteFiles.model_validate_json(row["args"])) == (state, command)
    assert (await client.post(f"/v1/jobs/{job.id}/retry")).status_code == 202, "as it is, it may"


def test_who_may_be_edited_is_known() -> None:
    """Their handlers ask of each thing that is named whether it is the tenant's."""
    ours = [*api.COMMANDS.values(), *media.COMMANDS.values(), *webhooks.COMMANDS.values()]
    assert {command for command in ours if command.editable and command.model_fields} == {
        api.SendWelcomeEmail, api.CompletePrompt, webhooks.PublishEvent, webhooks.DeliverWebhook,
    }  # fmt: skip


async def test_arguments_that_the_handler_would_not_take_are_refused_and_change_nothing(
    place: Place, client: httpx.AsyncClient
) -> None:
    (job,) = await make(place)
    await place.end([job])
    wrong = {"user_id": 7, "emial": "ada@example.com", "name": "Ada"}
    document = expect_problem(await client.post(f"/v1/jobs/{job}/retry", json={"args": wrong}), 422, "invalid")
    assert sorted(pointers(document)) == ["/args/email", "/args/emial", "/args/user_id"]
    huge = {"user_id": "u", "email": "a@b.cd", "name": "x" * 400_000}
    assert (await client.post(f"/v1/jobs/{job}/retry", json={"args": huge})).status_code == 202
    assert (await client.post(f"/v1/jobs/{job}/cancel")).status_code == 202
    await place.rows("UPDATE job SET task = 'gone.task' RETURNING id")
    expect_problem(await client.post(f"/v1/jobs/{job}/retry", json={"args": wrong}), 409, "conflict")
    shown = (await client.get(f"/v1/jobs/{job}")).json()
    assert (shown["state"], shown["args"]["user_id"]) == ("cancelled", "u")
    assert [one["action"] for one in shown["actions"]] == ["retry", "cancel"]
    for body in ({"args": []}, {"args": {}, "more": 1}, {"arguments": {}}):
        expect_problem(await client.post(f"/v1/jobs/{job}/retry", json=body), 422, "invalid")


async def test_a_cancel_request_is_told_to_the_workers_after_the_commit(
    place: Place, client: httpx.AsyncClient
) -> None:
    (job,) = await make(place)
    await place.end([job], "running")
    redis = Redis.from_url(place.settings.redis_url.get_secret_value())
    async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
        await subscription.subscribe(control_channel("api"))
        while await subscription.get_message(timeout=0.1) is not None:
            pass
        await client.post(f"/v1/jobs/{job}/cancel")
        message = None
        async with asyncio.timeout(5):
            while message is None:
                message = await subscription.get_message(timeout=1.0)
    await redis.aclose()
    assert message["data"] == job.encode()


async def test_a_family_is_shown(place: Place, client: httpx.AsyncClient) -> None:
    command = SendWelcomeEmail(user_id="user_1", email="a@b.cd", name="Ada")
    async with open_tx(place.database) as tx:
        made = await enqueue_family(tx, then=command, children=[command] * 3, tenant="acme")
    await place.end(made.children[:1], "completed")
    await place.end(made.children[1:2], "dead")
    shown = (await client.get(f"/v1/jobs/{made.id}")).json()
    assert shown["children"] == {"total": 3, "waits_for": 2, "states": {"completed": 1, "dead": 1, "dispatched": 1}}
    assert shown["waiting_for"] == {"kind": "children", "left": 2}
    child = (await client.get(f"/v1/jobs/{made.children[0]}")).json()
    assert (child["parent"], child["children"], shown["parent"]) == (made.id, None, None)
    expect_problem(await client.post(f"/v1/jobs/{made.id}/retry"), 409, "conflict")
    await client.post("/v1/dead/discard", json={"ids": [made.children[1]]})
    await client.post(f"/v1/jobs/{made.children[2]}/cancel")
    assert (await client.get(f"/v1/jobs/{made.id}")).json()["children"]["waits_for"] == 0
    assert (await audit(place.database)).ok
