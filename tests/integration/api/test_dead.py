"""The dead-letter inbox: grouped, retried and discarded in bulk, bounded, and never past the tenant."""

from datetime import datetime
from typing import Annotated

import httpx
import orjson
import pytest
from pydantic import Field

from shared.db.tx import open_tx
from shared.ledger import store_dead
from shared.ledger.audit import audit
from shared.ledger.store_accept import new_job
from shared.ledger.store_served import serve_tasks
from shared.transport.durable import durable, durable_of
from shared.transport.enqueue import enqueue_all
from tests.integration.api.test_jobs import make
from tests.integration.http.places import Place, expect_problem, on_one_database


async def test_dead_letters_are_listed_and_grouped_by_what_failed_alike(
    place: Place, client: httpx.AsyncClient
) -> None:
    jobs = await make(place, 5)
    await place.end(jobs[:3], place="here")
    await place.end(jobs[3:4], place="there")
    shown = (await client.get("/v1/dead")).json()
    assert [item["id"] for item in shown["items"]] == sorted(jobs[:4], reverse=True)
    assert [(group["group"], group["count"]) for group in shown["groups"]] == [
        ("email.send_welcome:here", 3),
        ("email.send_welcome:there", 1),
    ]
    group = shown["groups"][0]
    assert (group["task"], group["queue"]) == ("email.send_welcome", "api")
    assert group["error"] == {"type": "Boom", "message": "it broke"}
    assert group["first_seen"] <= group["last_seen"]
    one = (await client.get("/v1/dead", params={"group": "email.send_welcome:there"})).json()
    assert [item["id"] for item in one["items"]] == [jobs[3]]
    page = (await client.get("/v1/dead", params={"limit": "3"})).json()
    rest = (await client.get("/v1/dead", params={"cursor": page["next_cursor"]})).json()
    assert len(page["items"] + rest["items"]) == 4


async def test_ids_are_retried_and_the_others_named(place: Place, client: httpx.AsyncClient) -> None:
    jobs = await make(place, 3)
    theirs = await make(place, tenant="globex")
    await place.end([*jobs[:2], *theirs])
    unknown = "job_" + "0" * 26
    answer = await client.post("/v1/dead/retry", json={"ids": [*jobs, jobs[0], unknown, theirs[0], "nonsense"]})
    assert answer.status_code == 200
    assert answer.json() == {
        "retried": 2, "more": False, "unknown": [unknown, theirs[0], "nonsense"], "not_dead": [jobs[2]],
    }  # fmt: skip
    states = {row["id"]: row["state"] for row in await place.rows("SELECT id, state FROM job")}
    assert [states[job] for job in jobs[:2]] == ["ready", "ready"]
    assert states[theirs[0]] == "dead"
    assert (await audit(place.database)).ok


async def test_a_group_and_a_filter_take_what_they_name(place: Place, client: httpx.AsyncClient) -> None:
    jobs = await make(place, 6)
    await place.end(jobs[:2], place="here")
    await place.end(jobs[2:4], place="there")
    by_group = await client.post("/v1/dead/retry", json={"group": "email.send_welcome:here"})
    assert by_group.json() == {"retried": 2, "more": False, "unknown": [], "not_dead": []}
    assert (await client.post("/v1/dead/retry", json={"filter": {"queue": "media"}})).json()["retried"] == 0
    by_filter = await client.post("/v1/dead/discard", json={"filter": {"task": "email.send_welcome", "queue": "api"}})
    assert by_filter.json() == {"discarded": 2, "more": False, "unknown": [], "not_dead": []}
    discarded = (await client.get(f"/v1/jobs/{jobs[2]}")).json()
    assert discarded["state"] == "cancelled"
    assert discarded["error"] == {"type": "Discarded", "message": "it had died of Boom: it broke"}
    assert (await client.get("/v1/dead")).json()["items"] == []
    assert (await client.post("/v1/dead/discard", json={"filter": {}})).json()["discarded"] == 0
    assert (await audit(place.database)).ok


async def test_a_decision_is_bounded_and_says_that_there_are_more(
    place: Place, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.end(await make(place, 5))
    monkeypatch.setattr(store_dead, "DECIDE_LIMIT", 3)
    first = (await client.post("/v1/dead/retry", json={"filter": {}})).json()
    second = (await client.post("/v1/dead/retry", json={"filter": {}})).json()
    assert [(a["retried"], a["more"]) for a in (first, second)] == [(3, True), (2, False)]


async def test_the_largest_decision_fits_its_transaction(place: Place, client: httpx.AsyncClient) -> None:
    jobs = await make(place, store_dead.DECIDE_LIMIT)
    await place.end(jobs)
    answer = await client.post("/v1/dead/retry", json={"ids": jobs}, headers={"Idempotency-Key": "all"})
    assert answer.json()["retried"] == store_dead.DECIDE_LIMIT
    assert (await audit(place.database)).ok


@on_one_database
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"ids": ["job_1"], "group": "a:b"}, ""),
        ({"ids": []}, "/ids"),
        ({"ids": ["x"] * 1001}, "/ids"),
        ({"ids": ["a b"]}, "/ids/0"),
        ({"filter": {"colour": "red"}}, "/filter/colour"),
        ([], ""),
    ],
)
async def test_what_names_nothing_is_refused(client: httpx.AsyncClient, body: object, pointer: str) -> None:
    for path in ("/v1/dead/retry", "/v1/dead/discard"):
        document = expect_problem(await client.post(path, json=body), 422, "invalid")
        assert document["errors"][0]["pointer"] == pointer


@on_one_database
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"group": "a:b", "args": {}}, ""),
        ({"filter": {}, "args": {}}, ""),
        ({"ids": ["x"], "args": {}, "canary": 1}, ""),
        ({"ids": ["x"] * 21, "args": {}}, ""),
        ({"filter": {}, "canary": 0}, "/canary"),
        ({"filter": {}, "canary": 101}, "/canary"),
        ({"filter": {}, "canary": True}, "/canary"),
    ],
)
async def test_what_does_not_go_together_is_refused(client: httpx.AsyncClient, body: object, pointer: str) -> None:
    document = expect_problem(await client.post("/v1/dead/retry", json=body), 422, "invalid")
    assert document["errors"][0]["pointer"] == pointer


EDITED = {"user_id": "user_2", "email": "eve@example.com", "name": "Eve"}


async def test_edited_arguments_are_what_runs_and_the_old_ones_are_kept(
    place: Place, client: httpx.AsyncClient
) -> None:
    dead, waiting = await make(place, 2)
    (theirs,) = await make(place, tenant="globex")
    await place.end([dead, theirs])
    answer = await client.post("/v1/dead/retry", json={"ids": [dead, waiting, theirs], "args": EDITED})
    assert answer.json() == {"retried": 1, "more": False, "unknown": [theirs], "not_dead": [waiting]}
    args = {row["id"]: orjson.loads(row["args"])["name"] for row in await place.rows("SELECT id, args FROM job")}
    assert args == {dead: "Eve", waiting: "Ada", theirs: "Ada"}
    (action,) = (await client.get("/v1/actions")).json()["items"]
    assert (action["job"], action["outcome"]["ids"]) == (dead, [dead])
    assert action["outcome"]["edited"]["args"] == EDITED
    assert action["outcome"]["edited"]["args_before"][dead]["name"] == "Ada"


@pytest.mark.parametrize(
    ("args", "pointer"),
    [
        ({**EDITED, "name": 5}, "/args/name"),
        ({"user_id": "user_2", "email": "eve@example.com"}, "/args/name"),
        ({**EDITED, "nmae": "Eve"}, "/args/nmae"),
    ],
)
async def test_arguments_that_the_command_does_not_take_change_nothing(
    place: Place, client: httpx.AsyncClient, args: object, pointer: str
) -> None:
    jobs = await make(place, 2)
    await place.end(jobs)
    before = await place.rows("SELECT * FROM job ORDER BY id")
    document = expect_problem(await client.post("/v1/dead/retry", json={"ids": jobs, "args": args}), 422, "invalid")
    assert document["errors"][0]["pointer"] == pointer
    assert await place.rows("SELECT * FROM job ORDER BY id") == before
    assert (await client.get("/v1/actions")).json()["items"] == []


@pytest.mark.parametrize("value", [str(2**70), "1" + "0" * 400, r'"\ud800"', r'{"\ud800": 1}'])
async def test_arguments_that_the_ledger_cannot_hold_are_refused(
    place: Place, client: httpx.AsyncClient, value: str
) -> None:
    dead, waiting = await make(place, 2)
    await place.end([dead])
    args = f'{{"user_id": "user_2", "email": "eve@example.com", "name": {value}}}'
    for path, body in (
        (f"/v1/jobs/{dead}/retry", f'{{"args": {args}}}'),
        ("/v1/dead/retry", f'{{"ids": ["{dead}"], "args": {args}}}'),
    ):
        answer = await client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert expect_problem(answer, 422, "invalid")["errors"][0]["pointer"] == "/args"
    body = f'{{"ids": ["{waiting}"], "args": {args}}}'
    answer = await client.post("/v1/dead/retry", content=body, headers={"Content-Type": "application/json"})
    assert answer.json()["not_dead"] == [waiting]
    assert (await place.rows("SELECT state FROM job WHERE id = :id", id=dead))[0]["state"] == "dead"


@durable(task="shop.receipt", queue="api")
async def receipt(order: int, email: Annotated[str, Field(max_length=20)], due: datetime | None = None) -> None: ...


async def dead_receipt(place: Place) -> str:
    """Of a task that only its worker knows."""
    async with open_tx(place.database) as tx:
        job = new_job(durable_of(receipt).command_of(1, "a@b.cd"), tenant="acme", now_us=tx.now_us)
        await enqueue_all(tx, [job])
    await place.end([job.id])
    return job.id


@pytest.mark.parametrize(
    ("args", "pointers"),
    [
        ({"order": "one", "email": "a@b.cd"}, ["/args/order"]),
        ({"order": 1}, ["/args"]),
        ({"order": 1, "email": "a" * 21, "emial": "b"}, ["/args/emial", "/args/email"]),
        ({"order": 1, "email": "a@b.cd", "due": "soon"}, ["/args/due"]),
    ],
)
async def test_arguments_of_a_task_without_a_class_are_checked_as_its_worker_said(
    place: Place, client: httpx.AsyncClient, args: dict[str, object], pointers: list[str]
) -> None:
    made, job_id = durable_of(receipt), await dead_receipt(place)
    again = f"/v1/jobs/{job_id}/retry"
    good = {"order": 2, "email": "c@d.ef", "due": "2026-01-31T12:00:00Z"}
    unknown = expect_problem(await client.post(again, json={"args": good}), 409, "conflict")
    assert "no worker has served it" in unknown["detail"]
    await serve_tasks(place.database, [made.command], 1)
    refused = expect_problem(await client.post(again, json={"args": args}), 422, "invalid")
    assert [error["pointer"] for error in refused["errors"]] == pointers
    assert (await client.post("/v1/dead/retry", json={"ids": [job_id], "args": good})).json()["retried"] == 1
    (row,) = await place.rows("SELECT args FROM job")
    assert made.command.model_validate_json(row["args"]) == made.command(**good)


async def test_arguments_that_a_worker_keeps_to_itself_are_nobodys_to_change(
    place: Place, client: httpx.AsyncClient
) -> None:
    made, job_id = durable_of(receipt), await dead_receipt(place)
    kept = type(made.command.__name__, (made.command,), {"editable": False, "__annotations__": {}})
    await serve_tasks(place.database, [kept], 1)
    answer = await client.post(f"/v1/jobs/{job_id}/retry", json={"args": {"order": 2, "email": "c@d.ef"}})
    expect_problem(answer, 409, "not_editable")


async def test_every_decision_is_kept_with_its_caller(place: Place, client: httpx.AsyncClient) -> None:
    jobs = await make(place, 30)
    await place.end(jobs)
    await client.post("/v1/dead/retry", json={"ids": jobs[:2]})
    await client.post("/v1/dead/discard", json={"group": "email.send_welcome:here"}, headers={"Idempotency-Key": "k"})
    await client.post("/v1/dead/discard", json={"group": "email.send_welcome:here"}, headers={"Idempotency-Key": "k"})
    (key,) = await place.rows("SELECT id FROM api_key")
    page = (await client.get("/v1/actions", params={"limit": "1"})).json()
    (discard,) = page["items"]
    rest = (await client.get("/v1/actions", params={"cursor": page["next_cursor"]})).json()
    (retry,) = rest["items"]
    assert rest["next_cursor"] is None
    assert (retry["action"], retry["caller"], retry["job"]) == ("retry", key["id"], None)
    assert retry["target"] == {"ids": jobs[:2]}
    assert retry["outcome"] == {"count": 2, "ids": sorted(jobs[:2]), "more": False}
    assert (discard["action"], discard["target"]) == ("discard", {"group": "email.send_welcome:here"})
    assert (discard["outcome"]["count"], len(discard["outcome"]["ids"]), discard["outcome"]["ids_left_out"]) == (
        28,
        20,
        8,
    )
    whole = (await client.get(f"/v1/actions/{discard['id']}")).json()
    assert whole["outcome"]["ids"] == sorted(jobs[2:])
    for path in ("/v1/actions/act_" + "0" * 26, "/v1/actions/nothing"):
        expect_problem(await client.get(path), 404, "not_found")
