"""What stands in front of every route: the key, the schema, the bounds; and the answer to what goes wrong behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from shared.db.tx import open_tx
from shared.kernel.clock import ManualClock
from shared.kernel.errors import Misconfigured, Overloaded
from shared.ledger.schema import LEDGER
from shared.runtime import bodies
from shared.runtime.bodies import Body, Line
from shared.runtime.callers import Callers, require, revoke_key
from shared.runtime.health import Check
from shared.runtime.http import HttpSettings, build_app
from shared.runtime.idempotency import Idempotent, IdempotentStream
from shared.runtime.json_bodies import JsonRoute
from shared.runtime.resources import Resources
from tests.integration.http.places import Place, bearer, client_of, expect_problem, on_one_database, pointers

router = APIRouter(dependencies=[Depends(require("jobs:read"))], route_class=JsonRoute)


class Part(Body):
    size: int


class Whole(Body):
    name: Line
    parts: list[Part] = []  # noqa: RUF012 - pydantic copies it
    api_secret: int = 0


@router.post("/whole")
async def whole(body: Whole, once: Idempotent) -> Response:
    async with once.tx():
        return once.answer(200, body.model_dump())


@router.post("/large")
async def large(request: Request, once: IdempotentStream) -> Response:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    async with once.tx(body_hash=str(size)):
        return once.answer(200, {"size": size})


@router.get("/broken")
async def broken() -> None:
    raise RuntimeError("internals: the password is hunter2")


@router.get("/full")
async def full() -> None:
    raise Overloaded("the queue is full", retry_after_s=7)


@router.get("/things/{number}")
async def thing(number: int, colour: Annotated[str, Depends(lambda: "red")]) -> dict[str, Any]:
    return {"number": number, "colour": colour}


UNREADABLE = [
    (b"\xff", "is not UTF-8: byte 0 is 0xff"),
    ('{"name": "x"}'.encode("utf-16"), "is not UTF-8: byte 0 is 0xff"),
    ('{"name": "x"}'.encode("utf-16-le"), "UTF-16"),
    ('{"name": "x"}'.encode("utf-32-be"), "UTF-32"),
    (b'\xef\xbb\xbf{"name": "x"}', "byte order mark"),
    (b'{"name": ' + b"1" * 4_301 + b"}", "a number of more than 4300 digits"),
    (b'{"name": ' + b"[" * 1_900, "nested deeper than 200 levels"),
    (b'{"name": ' + b"[" * 200 + b"]" * 200 + b"}", "nested deeper than 200 levels"),
    (b'{"name": NaN}', "NaN is not a JSON number"),
    (b'{"name": -1e999}', "-1e999 is too large for a number"),
    (b'{"name": "x", "parts": [{"size": 1, "size": 2}]}', 'the member "size" comes twice in one object'),
]


@asynccontextmanager
async def gated(place: Place, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(
        "gate", place.settings, [router], owners=[LEDGER], body_limits={"/v1/large": 9_000},
        http=HttpSettings(body_limit_bytes=5_000), **options,
    )  # fmt: skip
    async with client_of(app) as client:
        yield client


PATHS = ("/v1/full", "/v1/nothing", "/metrics", "/openapi.json", "/docs", "/", "/healthz/x")


@on_one_database
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer hf_short"},
        {"Authorization": "Bearer hf_" + "A" * 43},
        {"Authorization": "Basic hf_" + "A" * 43},
        {"Authorization": b"Bearer \xff\xfe"},
    ],
)
async def test_nothing_but_health_answers_without_a_key(place: Place, headers: Any) -> None:
    async with gated(place) as client:
        for path in PATHS:
            for method in ("GET", "POST", "DELETE", "OPTIONS"):
                answer = await client.request(method, path, headers=headers, content=b"{not json")
                expect_problem(answer, 401, "unauthenticated")
                assert answer.headers["www-authenticate"].startswith("Bearer")
        assert (await client.get("/healthz", headers=headers)).json() == {"status": "alive"}
        assert (await client.get("/readyz", headers=headers)).status_code == 200


@on_one_database
async def test_a_key_does_what_its_scopes_say(place: Place) -> None:
    narrow, metrics = bearer(await place.key("jobs:write")), bearer(await place.key("metrics:read"))
    async with gated(place) as client:
        assert expect_problem(await client.get("/v1/full", headers=narrow), 403, "not_allowed")["missing_scope"] == (
            "jobs:read"
        )
        expect_problem(await client.get("/metrics", headers=narrow), 403, "not_allowed")
        shown = await client.get("/metrics", headers=metrics)
        assert shown.status_code == 200
        assert "holdfast_jobs_total" in shown.text or "holdfast_jobs" in shown.text
        everything = bearer(await place.key("*"))
        assert (await client.get("/openapi.json", headers=everything)).json()["security"] == [{"api_key": []}]


@on_one_database
async def test_metrics_open_by_setting(place: Place) -> None:
    app = build_app("gate", place.settings, [], owners=[LEDGER], http=HttpSettings(metrics_open=True))
    async with client_of(app) as client:
        assert (await client.get("/metrics")).status_code == 200
        expect_problem(await client.get("/openapi.json"), 401, "unauthenticated")


async def test_a_revoked_key_is_refused_once_it_is_forgotten(place: Place) -> None:
    place.database.clock = clock = ManualClock()
    callers = Callers(place.database)
    key = await place.key("jobs:read")
    caller = await callers.identify(f"Bearer {key}")
    async with open_tx(place.database) as tx:
        assert await revoke_key(tx, caller.key_id)
        assert not await revoke_key(tx, caller.key_id)
    assert (await callers.identify(f"bearer  {key}")).key_id == caller.key_id
    clock.advance(5.1)
    with pytest.raises(Exception, match="revoked"):
        await callers.identify(f"Bearer {key}")


async def test_requests_that_miss_one_key_share_one_read(place: Place) -> None:
    callers = Callers(place.database)
    key = await place.key("jobs:read")
    reads = 0
    read = callers._read

    async def counted(digest: str) -> Any:
        nonlocal reads
        reads += 1
        return await read(digest)

    callers._read = counted  # type: ignore[method-assign]
    found = await asyncio.gather(*(callers.identify(f"Bearer {key}") for _ in range(30)))
    assert len({caller.key_id for caller in found}) == 1
    assert reads == 1


async def test_a_schema_of_other_code_stops_everything_but_health(place: Place) -> None:
    headers = bearer(await place.key())
    await place.rows("UPDATE ledger_version SET version_num = '0999'")
    async with gated(place) as client:
        document = expect_problem(await client.get("/v1/full", headers=headers), 503, "schema_mismatch")
        assert "0999" in document["detail"]
        assert "newer" in document["detail"]
        expect_problem(await client.get("/metrics", headers=headers), 503, "schema_mismatch")
        assert (await client.get("/healthz")).status_code == 200
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        assert [item["check"] for item in ready.json()["missing"]] == ["schema"]


async def test_a_schema_that_comes_right_is_noticed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.runtime.schema.FRESH_S", 0.0)
    headers = bearer(await place.key())
    await place.rows("UPDATE ledger_version SET version_num = '0999'")
    async with gated(place) as client:
        expect_problem(await client.get("/v1/full", headers=headers), 503, "schema_mismatch")
        await place.rows("UPDATE ledger_version SET version_num = :head", head=f"{LEDGER.newest:04d}")
        expect_problem(await client.get("/v1/full", headers=headers), 429, "overloaded")


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
async def test_a_database_that_is_away_is_503_and_named(place: Place) -> None:
    key = await place.key()
    lost = place.settings.model_copy(update={"database_url": "postgresql://postgres@127.0.0.1:9/postgres"})
    async with gated(Place(lost, place.database)) as client:
        answer = await client.get("/v1/full", headers=bearer(key))
        expect_problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        ready = (await client.get("/readyz")).json()
        assert ready["status"] == "not_ready"
        assert {"database", "schema"} <= {item["check"] for item in ready["missing"]}
        assert (await client.get("/healthz")).status_code == 200


@on_one_database
async def test_redis_away_degrades_and_still_serves(place: Place) -> None:
    from pydantic import SecretStr

    lost = place.settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:9/0")})
    async with gated(Place(lost, place.database)) as client:
        ready = await client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["status"] == "degraded"
        assert [item["check"] for item in ready.json()["missing"]] == ["redis"]


@on_one_database
async def test_a_service_adds_checks_of_its_own(place: Place) -> None:
    async def missing(_: Resources) -> str | None:
        return "no worker beats"

    async def slow(_: Resources) -> str | None:
        await asyncio.Event().wait()
        return None

    checks = [Check("worker", missing), Check("slow", slow, required=False)]
    async with gated(place, checks=checks) as client:
        ready = await client.get("/readyz")
    assert ready.status_code == 503
    assert {item["check"]: item["problem"] for item in ready.json()["missing"]}["worker"] == "no worker beats"
    assert ready.json()["checks"]["slow"] == "missing"


@on_one_database
async def test_bodies_are_bounded_declared_or_streamed(place: Place) -> None:
    async def chunks(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 500):
            yield b"x" * 500

    headers = bearer(await place.key())
    async with gated(place) as client:
        declared = await client.post("/v1/whole", content=b"x" * 5_001, headers=headers)
        document = expect_problem(declared, 413, "body_too_large")
        assert (document["limit_bytes"], document["found_bytes"]) == (5_000, 5_001)
        json = {**headers, "Content-Type": "application/json"}
        document = expect_problem(
            await client.post("/v1/whole", content=chunks(7_000), headers=json), 413, "body_too_large"
        )
        assert document["limit_bytes"] == 5_000 < document["found_bytes"] <= 5_500
        raised = await client.post("/v1/large", content=chunks(8_000), headers=headers)
        assert raised.json() == {"size": 8_000}
        expect_problem(await client.post("/v1/large", content=chunks(10_000), headers=headers), 413, "body_too_large")


@on_one_database
async def test_a_body_that_falls_silent_is_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    monkeypatch.setattr(bodies, "BODY_SILENCE_S", 0.05)
    headers = bearer(await place.key())
    async with gated(place) as client:
        expect_problem(await client.post("/v1/large", content=silent(), headers=headers), 408, "slow_body")


@on_one_database
async def test_heads_are_bounded(place: Place) -> None:
    headers = bearer(await place.key())
    async with gated(place) as client:
        many = {f"X-{number}": "1" for number in range(120)}
        expect_problem(await client.get("/v1/full", headers={**headers, **many}), 431, "head_too_large")
        expect_problem(await client.get("/v1/full", headers={**headers, "X": "y" * 40_000}), 431, "head_too_large")
        expect_problem(await client.get("/v1/full", params={"q": "y" * 9_000}, headers=headers), 414, "url_too_long")


@on_one_database
async def test_wrong_input_says_what_and_where(place: Place) -> None:
    headers = bearer(await place.key())
    wrong = {"name": "a\nb", "parts": [{"size": 1}, {"size": "many"}], "api_secret": "hunter2", "mispelt": {"a": 1}}
    async with gated(place) as client:
        document = expect_problem(await client.post("/v1/whole", json=wrong, headers=headers), 422, "invalid")
        assert sorted(pointers(document)) == ["/api_secret", "/mispelt", "/name", "/parts/1/size"]
        found = {error["pointer"]: error["found"] for error in document["errors"]}
        assert found["/parts/1/size"] == "many"
        assert found["/mispelt"] == "an object of 1 members"
        assert found["/api_secret"] == "***"
        assert "hunter2" not in str(document)
        json = {**headers, "Content-Type": "application/json"}
        for content in (b"{", b"", b"[]", b"\xff\xfe", b'{"name": "\\ud800"}', b"[" * 1_900, b'{"name": 1e999}'):
            document = (await client.post("/v1/whole", content=content, headers=json)).json()
            assert document["status"] == 422, content
            assert document["detail"]
        for content, words in UNREADABLE:
            document = expect_problem(await client.post("/v1/whole", content=content, headers=json), 422, "invalid")
            assert words in document["detail"]
            assert document["errors"] == [{"in": "body", "pointer": "", "message": document["detail"]}]
        for kind in ("text/plain", "application/x-www-form-urlencoded", None):
            typed = {**headers, "Content-Type": kind} if kind else headers
            answer = await client.post("/v1/whole", content=b'{"name": "x"}', headers=typed)
            document = expect_problem(answer, 415, "wrong_content_type")
            assert (document["found"], document["expected"]) == (kind, "application/json")
            assert (kind or "none") in document["detail"]
            assert answer.headers["accept"] == "application/json"
        path = expect_problem(await client.get("/v1/things/x", headers=headers), 422, "invalid")
        assert path["errors"][0]["in"] == "path"
        assert pointers(path) == ["/number"]


@on_one_database
async def test_errors_behind_the_gate_are_problems_without_internals(place: Place) -> None:
    headers = bearer(await place.key())
    async with gated(place) as client:
        answer = await client.get("/v1/broken", headers=headers)
        assert expect_problem(answer, 500, "internal")["instance"].startswith("urn:holdfast:error:err_")
        assert "hunter2" not in answer.text
        full = await client.get("/v1/full", headers=headers)
        expect_problem(full, 429, "overloaded")
        assert full.headers["retry-after"] == "7"
        expect_problem(await client.get("/v1/nothing", headers=headers), 404, "not_found")
        wrong = await client.delete("/v1/full", headers=headers)
        expect_problem(wrong, 405, "wrong_method")
        assert "GET" in wrong.headers["allow"]


@on_one_database
async def test_head_is_answered_as_get_without_a_body(place: Place) -> None:
    headers = bearer(await place.key())
    async with gated(place) as client:
        for path in ("/v1/things/7", "/v1/things/x", "/v1/full", "/v1/nothing", "/v1/broken", "/healthz", "/readyz"):
            get, head = await client.get(path, headers=headers), await client.head(path, headers=headers)
            assert (head.status_code, head.content) == (get.status_code, b""), path
            assert head.headers["content-type"] == get.headers["content-type"]
            if path != "/v1/broken":  # whose answer has an id of its own, of the same length
                assert head.headers == get.headers
        assert (await client.head("/v1/things/7")).status_code == 401
        assert (await client.head("/v1/whole", headers=headers)).status_code == 405


@on_one_database
def test_what_forgets_its_scope_or_its_key_is_not_built(place: Place) -> None:
    forgetful, nameless = APIRouter(dependencies=[Depends(require("jobs:read"))]), APIRouter()
    lenient = APIRouter(dependencies=[Depends(require("jobs:read"))])

    @forgetful.post("/x")
    async def unguarded() -> None: ...

    @nameless.get("/y")
    async def unscoped() -> None: ...

    @lenient.patch("/z")
    async def unread(_: Whole) -> None: ...

    with pytest.raises(Misconfigured, match="POST /x takes no idempotency key"):
        build_app("x", place.settings, [forgetful], owners=[LEDGER], http=HttpSettings())
    with pytest.raises(Misconfigured, match="/y names no scope"):
        build_app("y", place.settings, [nameless], owners=[LEDGER], http=HttpSettings())
    with pytest.raises(Misconfigured, match="/z reads JSON as FastAPI does"):
        build_app("z", place.settings, [lenient], owners=[LEDGER], http=HttpSettings())
