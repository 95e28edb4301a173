"""Uploads by URL: only from where the guard allows at the very connection, bounded, and told on the asset."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from services.media import aftermath, fetching
from services.media.fetching import FetchBroken
from services.media.places import AGAIN_MOST_S, HELD_S, NoPlace, again_s
from shared.contracts.commands.media import BRINGS_MOST
from shared.kernel.clock import SECOND_US
from shared.runtime.addresses import AddressPolicy
from shared.runtime.egress import SystemResolver
from shared.testing.dispatching import dispatch_due
from tests.integration.http.places import Place, expect_problem, on_one_database
from tests.integration.media.ingesting import (
    Service,
    bucket,
    jpeg,
    on_a_directory,
    place,
    s3_server,
    serving,
    storage,
)
from tests.integration.webhooks.receivers import raw_receiver
from tests.stalls import within

__all__ = ["bucket", "place", "s3_server", "storage"]


@dataclass
class Remote:
    """A server of somebody's, on loopback; `asked` are the paths that reached it."""

    port: int
    asked: list[str] = field(default_factory=list)
    served: int = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        kind, _, rest = request.path.lstrip("/").partition("/")
        if kind == "photo":
            return web.Response(body=jpeg(300_000), content_type="text/plain")
        if kind == "status":
            return web.Response(status=int(rest), body=jpeg(100))
        if kind in ("to", "loop", "slow"):
            await asyncio.sleep(0.4 if kind == "slow" else 0)
            target = "/slow" if kind == "slow" else "/loop" if kind == "loop" else request.query.get("url")
            return web.Response(status=302, headers={"Location": target} if target else {})
        if kind == "gzip":
            return web.Response(body=jpeg(100), headers={"Content-Encoding": "gzip"})
        if kind == "page":
            return web.Response(body=b"<!doctype html><html>" + bytes(5_000))
        return await self.odd(request, kind)

    async def odd(self, request: web.Request, kind: str) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "500000"} if kind == "short" else {})
        await answer.prepare(request)
        await answer.write(jpeg(50_000))
        if kind == "endless":
            while True:
                await answer.write(bytes(50_000))
                self.served += 50_000
        while kind == "drip":
            await asyncio.sleep(0.1)
            await answer.write(bytes(10))
        if kind == "silent":
            await asyncio.Event().wait()
        if kind == "short":
            assert request.transport is not None
            request.transport.close()
        return answer


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    found = Remote(0)
    app = web.Application()
    app.router.add_get("/{path:.*}", found.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


@pytest.fixture
async def service(place: Place, storage: str) -> AsyncIterator[Service]:
    async with serving(
        place, storage, {"egress_allow": ("127.0.0.1/32",)}, fetch_limit_s=5.0, upload_limit_bytes=400_000
    ) as opened:
        yield opened


async def ask(service: Service, url: str, **more: str) -> str:
    answer = await service.client.post("/v1/media/from-url", json={"url": url, **more})
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/media/{answer.json()['id']}"
    return str(answer.json()["id"])


async def shown(service: Service, asset: str) -> dict:
    return dict((await service.client.get(f"/v1/media/{asset}")).json())


async def failed(service: Service, url: str) -> dict:
    """What the asset of a fetch says that is refused for good: at its first attempt, with nothing left behind."""
    asset = await ask(service, url)
    ended = await service.run("media.fetch_asset")
    assert ended["state"] == "dead"
    document = await shown(service, asset)
    assert document["state"] == "failed"
    assert await service.keys() == []
    return dict(document["error"])


async def test_what_a_url_names_becomes_an_asset(service: Service, remote: Remote) -> None:
    asset = await ask(service, remote.url("/photo"), priority="bulk")
    first = await shown(service, asset)
    assert (first["state"], first["kind"], first["priority"]) == ("fetching", None, "bulk")
    ended = await service.run("media.fetch_asset")
    assert ended["state"] == "completed"
    second = await shown(service, asset)
    assert (second["state"], second["kind"], second["size_bytes"]) == ("accepted", "image", 300_000)
    assert second["job"] != first["job"]
    (key,) = await service.keys()
    assert await service.read(key) == jpeg(300_000)
    events = await service.place.rows("SELECT args FROM job WHERE task = 'webhooks.publish_event'")
    assert ["media.asset.accepted.v1" in row["args"] for row in events] == [True]


@on_one_database
@on_a_directory
async def test_redirects_are_followed_and_each_is_judged_anew(service: Service, remote: Remote) -> None:
    await ask(service, remote.url(f"/to/a?url={remote.url('/to/b?url=/photo')}"))
    assert (await service.run("media.fetch_asset"))["state"] == "completed"
    assert remote.asked == ["/to/a", "/to/b", "/photo"]
    await service.delete((await service.client.get("/v1/media")).json()["items"][0]["id"])
    for target, reason in (
        ("http://169.254.169.254/latest/meta-data/", "link_local"), ("http://10.0.0.1/", "private"),
        ("http://[::1]/", "loopback"), ("file:///etc/passwd", "scheme"), ("http://127.1/", "loopback"),
        ("http://0x7f000001/", "loopback"), ("//127.0.0.2/x", "loopback"),
    ):  # fmt: skip
        error = await failed(service, remote.url(f"/to/x?url={target}"))
        assert error["code"] == "egress_refused", error
        assert error["reason"] in (reason, "ambiguous_address"), error
    error = await failed(service, remote.url("/loop"))
    assert (error["code"], error["limit"]) == ("fetch_refused", fetching.REDIRECTS_MOST)
    error = await failed(service, remote.url("/to/nowhere"))
    assert "without saying where" in error["message"]


@on_one_database
@on_a_directory
async def test_a_name_that_leads_inside_is_refused_when_it_is_connected_to(
    service: Service, remote: Remote, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also one that was public a moment ago: what is vetted is what the socket goes to."""
    answers = iter([["10.1.2.3"], ["169.254.169.254"], ["127.0.0.2"]])

    async def lookup(self, host, port):
        return next(answers)

    monkeypatch.setattr(SystemResolver, "lookup", lookup)
    for address in ("10.1.2.3", "169.254.169.254", "127.0.0.2"):
        error = await failed(service, remote.url("/photo", "rebinding.example"))
        assert (error["code"], error["host"]) == ("egress_refused", "rebinding.example")
        assert error["reason"] in error["message"]
        told = [
            *await service.place.rows("SELECT error FROM media_assets"),
            *await service.place.rows("SELECT * FROM job"),
        ]
        assert address not in repr((error, told)), "a tenant was told what a name leads to inside"
        assert address in capfd.readouterr().err, "the operator is told"
    assert remote.asked == []


@on_one_database
@on_a_directory
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://10.0.0.1/a.jpg", "private"),
        ("http://user:pw@example.com/", "userinfo"),
        ("ftp://example.com/", "scheme"),
        ("http://localhost:1/", None),
        ("http://[fd00::1]/", "private"),
        ("http://exa mple.com/", "characters"),
    ],
)
async def test_a_url_that_says_it_itself_is_refused_at_once(service: Service, url: str, reason: str | None) -> None:
    answer = await service.client.post("/v1/media/from-url", json={"url": url})
    if reason is None:  # loopback is allowed here
        assert answer.status_code == 202
        return
    document = expect_problem(answer, 422, "url_refused")
    assert (document["reason"], document["errors"][0]["pointer"]) == (reason, "/url")
    assert await service.place.rows("SELECT id FROM media_assets") == []


@on_one_database
@on_a_directory
async def test_what_cannot_be_used_is_said_on_the_asset(service: Service, remote: Remote) -> None:
    for path, code, words in (
        ("/status/404", "fetch_refused", "answered 404"), ("/status/206", "fetch_refused", "200 is needed"),
        ("/gzip", "fetch_refused", "compressed"), ("/page", "unsupported_format", "taken are JPEG"),
        ("/status/204", "fetch_refused", "200 is needed"),
    ):  # fmt: skip
        error = await failed(service, remote.url(path))
        assert error["code"] == code, error
        assert words in error["message"]


@on_one_database
@on_a_directory
@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"302 Found\r\nLocation: http://a\xffb.example/", "redirects to what is no URL"),
        (b"302 Found\r\nLocation: /caf\xe9.jpg", "redirects to what is no URL"),
        (b"302 Found\r\nLocation: http://[\xff", "redirects to what is no URL"),
        (b"302 Found\r\nLocation: http://[", "redirects to what is no URL"),
        (b"200 OK\r\nContent-Encoding: \xff", "compressed"),
    ],
)
async def test_a_head_of_bytes_that_are_no_text_is_refused_at_once(service: Service, head: bytes, words: str) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 " + head + b"\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with raw_receiver(talk) as port:
        error = await failed(service, f"http://127.0.0.1:{port}/")
    assert error["code"] == "fetch_refused", error
    assert words in error["message"]
    assert error["found"].isprintable()


@on_one_database
async def test_what_is_too_large_is_not_read_to_its_end(service: Service, remote: Remote) -> None:
    error = await failed(service, remote.url("/endless"))
    assert (error["code"], error["limit_bytes"]) == ("body_too_large", 400_000)
    assert remote.served < 20_000_000
    error = await failed(service, remote.url("/short"))
    assert (error["code"], error["found_bytes"]) == ("body_too_large", 500_000), "its declared length was enough"


@on_one_database
@on_a_directory
async def test_what_may_be_better_later_is_tried_again_and_told_at_the_last(
    place: Place, storage: str, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "SILENCE_S", 0.3)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()[1]
    allowed = {"egress_allow": ("127.0.0.1/32",)}
    async with serving(place, storage, allowed, fetch_limit_s=1.0) as service:
        for path, words in (
            ("/status/503", "answered 503"), ("/status/429", "answered 429"), ("/silent", "took too long"),
            ("/short", "before all of it had come"), (None, "could not be asked"),
        ):  # fmt: skip
            asset = await ask(service, remote.url(path) if path else f"http://127.0.0.1:{nobody}/")
            with pytest.raises(FetchBroken, match=words):
                await service.run("media.fetch_asset")
            assert await service.keys() == []
            assert (await shown(service, asset))["state"] == "fetching"
            await service.delete(asset)
            await service.place.rows("DELETE FROM job WHERE task = 'media.fetch_asset'")
        asset = await ask(service, remote.url("/status/500"))
        await service.place.rows("UPDATE job SET max_attempts = 1 WHERE task = 'media.fetch_asset'")
        assert (await service.run("media.fetch_asset"))["state"] == "dead"
        document = await shown(service, asset)
        assert (document["state"], document["error"]["code"]) == ("failed", "fetch_broken")
        assert "media.asset.failed.v1" in str(await service.jobs("webhooks.publish_event"))


@on_one_database
@on_a_directory
async def test_an_asset_that_was_deleted_meanwhile_gets_nothing(service: Service, remote: Remote) -> None:
    from shared.transport.attempt import Discard

    await ask(service, remote.url("/photo"))
    await service.place.rows("DELETE FROM media_assets")  # as a delete does, while its job runs already
    with pytest.raises(Discard):
        await service.run("media.fetch_asset")
    assert await service.keys() == []
    assert await service.place.rows("SELECT id FROM media_sources") == []


@on_one_database
@on_a_directory
async def test_what_never_came_cannot_be_processed_again(service: Service, remote: Remote) -> None:
    asset = await ask(service, remote.url("/status/404"))
    await service.run("media.fetch_asset")
    document = expect_problem(await service.client.post(f"/v1/media/{asset}/reprocess"), 409, "conflict")
    assert "retried" in document["detail"]
    expect_problem(await service.client.get(f"/v1/media/{asset}/source"), 404, "not_found")


async def test_https_is_not_left_for_http(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer:
        status, headers = 302, {"Location": "http://example.com/a"}

        def close(self) -> None:
            pass

    async def ask_once(session, url):
        return Answer()

    monkeypatch.setattr(fetching, "_ask", ask_once)
    with pytest.raises(fetching.FetchRefused, match="from https to http"):
        async with fetching.fetched("https://example.com/", AddressPolicy(), within_s=1):
            pass


@on_one_database
@on_a_directory
async def test_a_redirect_to_what_is_no_url_is_refused(service: Service, remote: Remote) -> None:
    error = await failed(service, remote.url("/to/x?url=http://%5Bx"))
    assert (error["code"], error["found"]) == ("fetch_refused", "http://[x")


async def test_the_limit_of_time_is_for_all_redirects_together(remote: Remote) -> None:
    policy = AddressPolicy.from_cidrs(["127.0.0.1/32"])
    async with within(1.5):  # five redirects of 0.4 s each
        with pytest.raises(FetchBroken, match="took too long"):
            await fetching.fetched(remote.url("/slow"), policy, within_s=0.7).__aenter__()
    assert 1 <= len(remote.asked) <= 2


async def test_a_body_that_drips_ends_with_the_limit_of_time(place: Place, storage: str, remote: Remote) -> None:
    async with serving(place, storage, {"egress_allow": ("127.0.0.1/32",)}, fetch_limit_s=1.0) as service:
        await ask(service, remote.url("/drip"))
        with pytest.raises(FetchBroken, match="took too long"):
            await service.run("media.fetch_asset")
        assert await service.keys() == []


@on_a_directory
async def test_a_fetch_that_the_ledger_ended_is_told_of(
    service: Service, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aftermath, "SETTLE_S", -60.0)
    asset = await ask(service, remote.url("/photo"))
    (job,) = await service.jobs("media.fetch_asset")
    await service.place.end([job["id"]], "dead")
    assert await aftermath.tell_of_dead(service.app.state.resources, 0) == 1
    document = await shown(service, asset)
    assert (document["state"], document["error"]["code"]) == ("failed", "Boom")
    assert "media.asset.failed.v1" in str(await service.jobs("webhooks.publish_event"))


@on_a_directory
async def test_of_all_tenants_together_a_process_brings_few_at_once(service: Service, remote: Remote) -> None:
    """One more is put off, no attempt is spent, and its tenant's lane is held for a moment."""
    places = service.app.state.places
    await ask(service, remote.url("/photo"))
    async with AsyncExitStack() as others:
        for _ in range(BRINGS_MOST):
            await others.enter_async_context(places.one(None, service.app.state.resources))
        before_us = service.place.database.clock.now_us()
        with pytest.raises(NoPlace) as put_off:
            await service.run("media.fetch_asset")
        assert 0 < put_off.value.after_s <= 2 * HELD_S
        (lane,) = await service.place.rows("SELECT tenant, name, held_until, held_why FROM lane WHERE queue = 'media'")
        assert (lane["tenant"], lane["name"], lane["held_why"]) == ("acme", "bring:acme", "no_place")
        assert lane["held_until"] >= before_us + HELD_S * SECOND_US
    assert remote.asked == []
    assert [again_s(releases) <= AGAIN_MOST_S for releases in range(30)] == [True] * 30


@on_one_database
@on_a_directory
async def test_one_tenant_has_fewer_at_once_than_a_process_has_places(service: Service, remote: Remote) -> None:
    for number in range(BRINGS_MOST + 1):
        await ask(service, remote.url(f"/photo/{number}"))
    database = service.place.database
    await dispatch_due(database, "media", database.clock.now_us() + 1)
    states = [job["state"] for job in await service.jobs("media.fetch_asset")]
    assert 0 < states.count("dispatched") < BRINGS_MOST
