"""Signup: the user and the email's job, together or not at all."""

import asyncio

import httpx
import orjson
import pytest

from shared.ledger.audit import audit
from tests.integration.http.places import Place, bearer, expect_problem, on_one_database, pointers


async def test_a_signup_makes_a_user_and_a_job(place: Place, client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/users", json={"email": "Ada@Example.com", "name": "  Ada Lovelace "})
    assert made.status_code == 201
    user, job = made.json()["id"], made.json()["job"]
    assert made.headers["location"] == f"/v1/users/{user}"
    shown = (await client.get(made.headers["location"])).json()
    assert (shown["id"], shown["email"], shown["name"]) == (user, "Ada@Example.com", "Ada Lovelace")
    row = (await place.rows("SELECT * FROM job"))[0]
    assert (row["id"], row["task"], row["queue"], row["tenant"]) == (job, "email.send_welcome", "api", "acme")
    assert orjson.loads(row["args"]) == {"user_id": user, "email": "Ada@Example.com", "name": "Ada Lovelace"}
    assert (await audit(place.database)).ok


async def test_an_address_is_taken_once_in_a_tenant_whatever_its_case(place: Place, client: httpx.AsyncClient) -> None:
    body = {"email": "ada@example.com", "name": "Ada"}
    answers = await asyncio.gather(*(client.post("/v1/users", json=body) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    expect_problem(await client.post("/v1/users", json={**body, "email": "ADA@example.COM"}), 409, "email_taken")
    theirs = bearer(await place.key(tenant="globex"))
    assert (await client.post("/v1/users", json=body, headers=theirs)).status_code == 201
    assert len(await place.rows("SELECT * FROM job")) == 2
    assert (await audit(place.database)).ok


async def test_twenty_duplicates_with_a_key_are_one_signup(place: Place, client: httpx.AsyncClient) -> None:
    body, headers = {"email": "ada@example.com", "name": "Ada"}, {"Idempotency-Key": "signup-1"}
    answers = await asyncio.gather(*(client.post("/v1/users", json=body, headers=headers) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({(answer.content, answer.headers["location"]) for answer in answers}) == 1
    assert len(await place.rows("SELECT * FROM api_users")) == len(await place.rows("SELECT * FROM job")) == 1


@on_one_database
@pytest.mark.parametrize(
    "email",
    [
        "", "ada", "@b.cd", "ada@", "ada@localhost", "a b@c.de", "ada@b..cd", ".a@b.cd", "a..b@c.de", "ada@-b.cd",
        "ada@b.cd\r\nBcc: x@y.zz", "ada@b.cd, eve@b.cd", "<ada@b.cd>", '"a"@b.cd', "ad\u00e4@b.cd",
        "a@" + "b." * 130 + "cd", "x" * 65 + "@b.cd", None, 7,
    ],
)  # fmt: skip
async def test_an_address_that_is_none_is_refused_and_leaves_nothing(
    place: Place, client: httpx.AsyncClient, email: object
) -> None:
    document = expect_problem(await client.post("/v1/users", json={"email": email, "name": "Ada"}), 422, "invalid")
    assert pointers(document) == ["/email"]
    assert await place.rows("SELECT * FROM job") == []


@on_one_database
@pytest.mark.parametrize(
    "name", ["", "   ", "a\r\nBcc: eve@b.cd", "a\x00b", "a\x85b", "a\u2028b", "a\u2029b", "x" * 201, None]
)
async def test_a_name_that_is_none_is_refused(client: httpx.AsyncClient, name: object) -> None:
    document = expect_problem(await client.post("/v1/users", json={"email": "a@b.cd", "name": name}), 422, "invalid")
    assert pointers(document) == ["/name"]
