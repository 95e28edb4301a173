"""The same POST twice, and twenty times at once: one effect, one answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from shared.contracts.commands.api import SendWelcomeEmail
from shared.kernel.errors import Conflict
from shared.ledger.schema import LEDGER
from shared.ledger.store_accept import new_job
from shared.runtime import idempotency
from shared.runtime.bodies import Body
from shared.runtime.callers import Caller, require
from shared.runtime.http import HttpSettings, build_app
from shared.runtime.idempotency import REPLAYED, Idempotent, IdempotentStream
from shared.runtime.json_bodies import JsonRoute
from shared.runtime.resources import get_resources
from shared.transport.enqueue import Accepted, enqueue
from tests.integration.http.places import Place, bearer, client_of, expect_problem, on_one_database

router = APIRouter(route_class=JsonRoute)
May = Annotated[Caller, Depends(require("users:write"))]


class Thing(Body):
    name: str
    fail: bool = False


class Mirror:
    """A vault that anybody could read, and that shows what it was bound to."""

    def seal(self, plaintext: str, context: str) -> str:
        return f"{context}|{plaintext[::-1]}"

    def open(self, token: str, context: str) -> str:
        bound, _, sealed = token.partition("|")
        assert bound == context
        return sealed[::-1]


def command(name: str) -> SendWelcomeEmail:
    return SendWelcomeEmail(user_id="user_1", email="a@b.cd", name=name)


@router.post("/things")
async def make(body: Thing, caller: May, once: Idempotent) -> Response:
    async with once.tx() as tx:
        job = await enqueue(tx, command(body.name), tenant=caller.tenant)
        await asyncio.sleep(0.02)
        if body.fail:
            raise Conflict("failed after its effect")
        return once.answer(201, {"job": job}, {"Location": f"/things/{job}"})


@router.post("/secrets")
async def make_secret(caller: May, once: Idempotent) -> Response:
    async with once.tx(vault=Mirror()) as tx:
        await enqueue(tx, command("secret"), tenant=caller.tenant)
        return once.answer(201, {"secret": "whsec_abc"})


@router.post("/streams")
async def stream(request: Request, caller: May, once: IdempotentStream) -> Response:
    digest = sha256()
    async for chunk in request.stream():
        digest.update(chunk)
    async with once.tx(body_hash=digest.hexdigest()) as tx:
        await enqueue(tx, command("stream"), tenant=caller.tenant)
        return once.answer(202, {"sha256": digest.hexdigest()})


@router.post("/hot")
async def hot(body: Thing, request: Request, caller: May, once: Idempotent) -> Response:
    now_us = get_resources(request).database.clock.now_us()
    job = new_job(command(body.name), tenant=caller.tenant, now_us=now_us)
    return await once.accept(Accepted([job]), 202, {"job": job.id})


@router.post("/forgetful")
async def forgetful(caller: May, once: Idempotent) -> Response:
    async with once.tx():
        pass
    return Response()


@asynccontextmanager
async def things(place: Place) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app("things", place.settings, [router], owners=[LEDGER], http=HttpSettings())
    async with client_of(app, await place.key("users:write")) as client:
        yield client


async def count(place: Place) -> int:
    return int((await place.rows("SELECT count(*) AS n FROM job"))[0]["n"])


@pytest.mark.parametrize("path", ["/v1/things", "/v1/hot"])
async def test_twenty_at_once_have_one_effect_and_one_answer(place: Place, path: str) -> None:
    async with things(place) as client:
        headers = {"Idempotency-Key": "one"}
        answers = await asyncio.gather(*(client.post(path, json={"name": "a"}, headers=headers) for _ in range(20)))
    assert {answer.status_code for answer in answers} <= {201, 202}
    assert len({answer.content for answer in answers}) == 1
    assert len({answer.headers.get("location") for answer in answers}) == 1
    assert sum(REPLAYED not in answer.headers for answer in answers) == 1
    assert await count(place) == 1


@pytest.mark.parametrize("path", ["/v1/things", "/v1/hot"])
async def test_without_a_key_each_has_its_effect(place: Place, path: str) -> None:
    async with things(place) as client:
        answers = await asyncio.gather(*(client.post(path, json={"name": "a"}) for _ in range(5)))
    assert len({answer.json()["job"] for answer in answers}) == 5
    assert await count(place) == 5


async def test_another_body_is_refused(place: Place) -> None:
    async with things(place) as client:
        headers = {"Idempotency-Key": "one"}
        await client.post("/v1/things", json={"name": "a"}, headers=headers)
        document = expect_problem(
            await client.post("/v1/things", json={"name": "b"}, headers=headers), 422, "idempotency_key_reused"
        )
        assert document["errors"][0]["pointer"] == "/Idempotency-Key"
        assert expect_problem(
            await client.post("/v1/things?x=1", json={"name": "a"}, headers=headers), 422, "idempotency_key_reused"
        )
    assert await count(place) == 1


async def test_keys_of_tenants_and_of_paths_are_apart(place: Place) -> None:
    other = await place.key("users:write", tenant="globex")
    async with things(place) as client:
        headers = {"Idempotency-Key": "one"}
        first = await client.post("/v1/things", json={"name": "a"}, headers=headers)
        theirs = await client.post("/v1/things", json={"name": "b"}, headers={**headers, **bearer(other)})
        elsewhere = await client.post("/v1/hot", json={"name": "c"}, headers=headers)
    assert [first.status_code, theirs.status_code, elsewhere.status_code] == [201, 201, 202]
    assert await count(place) == 3


async def test_what_failed_left_nothing_and_may_be_sent_again(place: Place) -> None:
    async with things(place) as client:
        headers = {"Idempotency-Key": "one"}
        expect_problem(
            await client.post("/v1/things", json={"name": "a", "fail": True}, headers=headers), 409, "conflict"
        )
        assert await count(place) == 0
        assert (await client.post("/v1/things", json={"name": "a"}, headers=headers)).status_code == 201
    assert await count(place) == 1


async def test_an_expired_key_is_new(place: Place) -> None:
    async with things(place) as client:
        headers = {"Idempotency-Key": "one"}
        await client.post("/v1/things", json={"name": "a"}, headers=headers)
        await place.rows("UPDATE dedup SET expires_at = 1")
        again = await client.post("/v1/things", json={"name": "b"}, headers=headers)
    assert again.status_code == 201
    assert REPLAYED not in again.headers
    assert await count(place) == 2


async def test_a_streamed_body_is_known_by_its_hash(place: Place) -> None:
    async def body(text: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(text), 3):
            yield text[start : start + 3]

    async with things(place) as client:
        headers = {"Idempotency-Key": "one"}
        first = await client.post("/v1/streams", content=body(b"0123456789"), headers=headers)
        second = await client.post("/v1/streams", content=body(b"0123456789"), headers=headers)
        third = await client.post("/v1/streams", content=body(b"9876543210"), headers=headers)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.content == second.content
    assert second.headers[REPLAYED] == "true"
    expect_problem(third, 422, "idempotency_key_reused")
    assert await count(place) == 1


async def test_a_secret_answer_is_kept_sealed(place: Place) -> None:
    async with things(place) as client:
        headers = {"Idempotency-Key": "one"}
        first = await client.post("/v1/secrets", headers=headers)
        second = await client.post("/v1/secrets", headers=headers)
    assert first.json() == second.json() == {"secret": "whsec_abc"}
    stored = (await place.rows("SELECT body FROM dedup"))[0]["body"]
    assert "whsec_abc" not in stored


async def test_one_that_does_not_end_in_time_is_still_running(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite nobody can look at a key that is not committed: its writer holds the only turn."""
    if place.database.dialect == "sqlite":
        await place.rows(
            "INSERT INTO dedup (scope, key, fingerprint, created_at, expires_at) VALUES (:s, 'one', 'f', 1, :e)",
            s="acme POST /v1/secrets", e=1 << 60,
        )  # fmt: skip
        async with things(place) as client:
            answer = await client.post("/v1/secrets", headers={"Idempotency-Key": "one"})
    else:
        monkeypatch.setattr(idempotency, "WAIT_S", 0.2)
        async with things(place) as client, place.database.transaction() as first:
            values: dict[str, Any] = {"scope": "acme POST /v1/secrets", "key": "one", "fingerprint": "f"}
            await first.fetch(idempotency._BEGIN, {**values, "now": 1, "expires": 1 << 60})
            answer = await client.post("/v1/secrets", headers={"Idempotency-Key": "one"})
    expect_problem(answer, 409, "idempotency_key_in_use")
    assert answer.headers["retry-after"] == "1"
    assert await count(place) == 0


@on_one_database
@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9", "a\tb"])
async def test_a_key_that_is_none_is_refused(place: Place, key: str) -> None:
    async with things(place) as client:
        answer = await client.post(
            "/v1/things", json={"name": "a"}, headers=[(b"Idempotency-Key", key.encode("latin-1"))]
        )
    assert expect_problem(answer, 422, "invalid")["errors"][0]["in"] == "header"
    assert await count(place) == 0


async def test_a_block_without_an_answer_is_a_defect_that_commits_nothing(place: Place) -> None:
    async with things(place) as client:
        expect_problem(await client.post("/v1/forgetful", headers={"Idempotency-Key": "k"}), 500, "internal")
        expect_problem(await client.post("/v1/forgetful"), 500, "internal")
    assert await place.rows("SELECT * FROM dedup") == []
