"""Client certificates and OAuth2 of endpoints: judged when given, sealed, shown without their secrets, and used."""

import asyncio
import gc
import ssl
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from services.webhooks import clients
from services.webhooks.access import Access, open_access
from services.webhooks.sender import Sender
from services.webhooks.tokens import Grant
from shared.runtime.egress import AddressPolicy
from tests.integration.webhooks.certificates import Authority
from tests.integration.webhooks.office import Office
from tests.integration.webhooks.receivers import http_receiver, raw_receiver, says
from tests.stalls import within

P256 = bytes.fromhex("06082a8648ce3d030107")
LOOPBACK = AddressPolicy.from_cidrs(["127.0.0.0/8"])


@dataclass
class Issuer:
    """A token endpoint: `token-1`, `token-2`, … each for `lives_s` seconds; `refuses` is the receiver's beside it."""

    lives_s: Any = 3600
    answer: Callable[[], web.Response] | None = None
    asked: list[tuple[dict[str, str], str]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)
    url: str = ""
    hook: str = ""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/hook":
            token = request.headers.get("authorization", "none").removeprefix("Bearer ")
            self.seen.append(token)
            return web.Response(status=401 if token in self.refuses else 204)
        self.asked.append(({k.lower(): v for k, v in request.headers.items()}, await request.text()))
        await asyncio.sleep(0.02)
        if self.answer is not None:
            return self.answer()
        token = f"token-{len(self.asked)}"
        return web.json_response({"access_token": token, "token_type": "bearer", "expires_in": self.lives_s})


@asynccontextmanager
async def issuing(**given: Any) -> AsyncIterator[Issuer]:
    issuer = Issuer(**given)
    async with http_receiver(issuer.handle) as port:
        issuer.url, issuer.hook = f"http://127.0.0.1:{port}/token", f"http://127.0.0.1:{port}/hook"
        yield issuer


def access(issuer: Issuer, **more: Any) -> Access:
    return Access(grant=Grant("key", issuer.url, "me&you", "s3cret?", **more))


async def test_a_token_is_fetched_once_for_many_and_kept() -> None:
    async with issuing() as issuer, Sender(LOOPBACK) as sender:
        one = access(issuer, scope="hooks:write other", audience="them")
        sent = [sender.send(issuer.hook, b"{}", {}, 5, access=one) for _ in range(20)]
        assert {answer.status for answer in await asyncio.gather(*sent)} == {204}
        assert (await sender.send(issuer.hook, b"{}", {}, 5, access=one)).status == 204
    assert set(issuer.seen) == {"token-1"}
    ((headers, form),) = issuer.asked
    assert form == "grant_type=client_credentials&scope=hooks%3Awrite+other&audience=them"
    assert headers["authorization"] == "Basic bWUlMjZ5b3U6czNjcmV0JTNG"  # me%26you:s3cret%3F
    assert headers["content-type"] == "application/x-www-form-urlencoded"


async def test_the_secret_goes_into_the_body_when_that_is_asked_for() -> None:
    async with issuing() as issuer, Sender(LOOPBACK) as sender:
        await sender.send(issuer.hook, b"{}", {}, 5, access=access(issuer, auth="body"))
    headers, form = issuer.asked[0]
    assert form == "grant_type=client_credentials&client_id=me%26you&client_secret=s3cret%3F"
    assert "authorization" not in headers


async def test_a_refused_token_is_replaced_once() -> None:
    async with issuing(refuses={"token-1"}) as issuer, Sender(LOOPBACK) as sender:
        one = access(issuer)
        assert (await sender.send(issuer.hook, b"{}", {}, 5, access=one)).status == 204
        assert issuer.seen == ["token-1", "token-2"]
        issuer.refuses |= {"token-2", "token-3", "token-4"}
        assert (await sender.send(issuer.hook, b"{}", {}, 5, access=one)).status == 401
        assert issuer.seen[2:] == ["token-2", "token-3"]


@pytest.mark.parametrize(("lives_s", "asked"), [(0, 2), (-5, 2), (3600, 1), ("3600", 1), (None, 1), ("soon", 1)])
async def test_a_token_is_kept_for_as_long_as_it_lives(lives_s: Any, asked: int) -> None:
    async with issuing(lives_s=lives_s) as issuer, Sender(LOOPBACK) as sender:
        for _ in range(2):
            await sender.send(issuer.hook, b"{}", {}, 5, access=access(issuer))
    assert len(issuer.asked) == asked


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: web.json_response({"error": "invalid_client"}, status=401), "answered 401: invalid_client"),
        (lambda: web.Response(status=500, text="<html>"), "answered 500"),
        (lambda: web.Response(status=302, headers={"Location": "http://169.254.169.254/"}), "answered 302"),
        (lambda: web.Response(text="token"), "something other than a JSON object"),
        (lambda: web.json_response({"access_token": "a b"}), "without an access_token"),
        (lambda: web.json_response({"access_token": "a\r\nX-Evil: 1"}), "without an access_token"),
        (lambda: web.json_response({"access_token": "a", "token_type": "mac"}), "another type"),
        (lambda: web.Response(body=b'{"access_token": "a", "x": "' + b"y" * 30_000), "more than 20 kB"),
    ],
)
async def test_a_token_that_cannot_be_had_is_a_failed_attempt(answer: Any, words: str) -> None:
    async with issuing(answer=answer) as issuer, Sender(LOOPBACK) as sender:
        got = await sender.send(issuer.hook, b"{}", {}, 5, access=access(issuer))
    assert (got.status, got.error, issuer.seen) == (None, "oauth2", [])
    assert words in (got.message or "")
    assert "s3cret" not in (got.message or "")


async def test_the_token_endpoint_is_vetted_and_under_the_one_deadline() -> None:
    async with Sender(LOOPBACK) as sender, raw_receiver(says(hold=True)) as port:
        inside = Access(grant=Grant("a", "http://169.254.169.254/token", "me", "s"))
        got = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5, access=inside)
        assert (got.error, "refused: link_local" in (got.message or "")) == ("oauth2", True)
        hung = Access(grant=Grant("b", f"http://127.0.0.1:{port}/token", "me", "s"))
        async with within(2):
            got = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 0.3, access=hung)
        assert got.error == "timeout"


def test_a_changed_secret_is_another_grant() -> None:
    given = {"token_url": "https://a.example/", "client_id": "x", "client_secret": "one", "auth": "basic"}
    keys = [
        one.grant.key
        for secret in ("one", "two")
        if (one := open_access({"oauth2": {**given, "client_secret": secret}}, "ep_1")) and one.grant
    ]
    assert len(set(keys)) == 2
    assert not any("one" in key or "two" in key for key in keys)


async def test_an_endpoint_with_oauth2_from_registration_to_delivery(office: Office) -> None:
    async with issuing() as issuer:
        oauth2 = {"token_url": issuer.url, "client_id": "me", "client_secret": "s3cret-of-mine", "scope": "a b"}
        made = await office.endpoint(url=issuer.hook, oauth2=oauth2)
        path = f"/v1/webhooks/endpoints/{made['id']}"
        shown = {"token_url": issuer.url, "client_id": "me", "scope": "a b", "audience": None, "auth": "basic"}
        assert made["oauth2"] == (await office.ok(office.client.get(path)))["oauth2"] == shown
        stored = await office.rows("SELECT reach, url FROM webhooks_endpoints")
        assert "s3cret" not in str(stored)
        event = await office.event()
        await office.work()
        assert (await office.delivery(event))["state"] == "completed"
        issuer.answer = lambda: web.json_response({"error": "invalid_client"}, status=400)
        await office.ok(office.client.patch(path, json={"oauth2": {**oauth2, "client_secret": "another"}}))
        event = await office.event()
        await office.work_once()
        failed = await office.delivery(event)
        assert (failed["state"], failed["attempts"][0]["network_error"]["kind"]) == ("retrying", "oauth2")
        assert "invalid_client" in failed["attempts"][0]["error"]["message"]
        assert (await office.ok(office.client.patch(path, json={"oauth2": None})))["oauth2"] is None
        event = await office.event()
        await office.work_once()
        assert (await office.delivery(event))["state"] == "completed"
    assert issuer.seen == ["token-1", "none"]


async def test_an_endpoint_with_a_client_certificate(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    certificate, key = authority.issue(["first.client"])
    given = {"certificate": certificate, "private_key": key}
    subjects: list[str] = []

    async def take(request: web.BaseRequest) -> web.Response:
        subjects.append(str(request.transport.get_extra_info("peercert")["subject"]) if request.transport else "")
        return web.Response()

    async with http_receiver(take, authority.server(["127.0.0.1"], clients=True)) as port:
        made = await office.endpoint(url=f"https://127.0.0.1:{port}/", client_certificate=given)
        shown = made["client_certificate"]
        assert (shown["subject"], shown["expired"]) == ("CN=first.client", False)
        assert shown["expires_at"].endswith("Z")
        assert "PRIVATE KEY" not in str(made)
        assert "BEGIN" not in str(await office.rows("SELECT * FROM webhooks_endpoints"))
        event = await office.event()
        await office.work()
        assert (await office.delivery(event))["state"] == "completed", await office.delivery(event)
        sent = await office.client.post(f"/v1/webhooks/endpoints/{made['id']}/test")
        await office.work()
        tested = await office.ok(office.client.get(sent.headers["Location"]))
        assert tested["verdict"]["ok"] is True
    assert ["first.client" in subject for subject in subjects] == [True, True]
    path = f"/v1/webhooks/endpoints/{made['id']}"
    kept = await office.ok(office.client.patch(path, json={"description": "x"}))
    assert kept["client_certificate"] == shown
    refused = await office.client.patch(path, json={"url": "http://127.0.0.1:80/"})
    assert (refused.status_code, refused.json()["code"]) == (422, "client_certificate_refused")
    gone = await office.ok(office.client.patch(path, json={"client_certificate": None}))
    assert gone["client_certificate"] is None


@pytest.mark.parametrize(
    ("change", "pointer", "words"),
    [
        ({"certificate": "no certificate"}, "certificate", "no certificate in PEM"),
        ({"private_key": "no key"}, "private_key", "no private key in PEM"),
        ({"private_key": "other"}, "private_key", "does not belong"),
        ({"certificate": "expired"}, "certificate", "expired at"),
        ({"certificate": "strange"}, "certificate", "cannot be read"),
    ],
)
async def test_certificates_that_do_not_fit_are_refused(
    office: Office, tmp_path: Path, change: dict[str, str], pointer: str, words: str
) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue(["first.client"])
    given = {"certificate": certificate, "private_key": key, **change}
    if change.get("private_key") == "other":
        given["private_key"] = authority.issue(["second.client"])[1]
    if change.get("certificate") == "expired":
        given["certificate"], given["private_key"] = authority.issue(["first.client"], days=-1)
    if change.get("certificate") == "strange":  # its key lies on a curve that nobody knows
        der = ssl.PEM_cert_to_DER_cert(certificate).replace(P256, P256[:-1] + b"\x63")
        given["certificate"] = ssl.DER_cert_to_PEM_cert(der)
    body = {"url": "https://127.0.0.1/", "event_types": ["*"], "client_certificate": given}
    refused = await office.client.post("/v1/webhooks/endpoints", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "client_certificate_refused")
    (error,) = refused.json()["errors"]
    assert error["pointer"] == f"/client_certificate/{pointer}"
    assert words in error["message"]
    assert "PRIVATE KEY" not in refused.text


async def test_a_token_url_inside_is_refused(office: Office) -> None:
    oauth2 = {"token_url": "http://169.254.169.254/token", "client_id": "me", "client_secret": "s"}
    body = {"url": "https://127.0.0.1/", "event_types": ["*"], "oauth2": oauth2}
    refused = await office.client.post("/v1/webhooks/endpoints", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "url_refused")
    assert refused.json()["errors"][0]["pointer"] == "/oauth2/token_url"


async def test_who_forgets_a_certificate_forgets_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context holds a private key, and about a megabyte of authorities: nothing else may keep it."""
    monkeypatch.setattr(clients, "KEPT", 2)
    authority = Authority(tmp_path)
    made: list[weakref.ref[ssl.SSLContext]] = []

    def make() -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(authority.file))
        made.append(weakref.ref(context))
        return context

    async def take(_: web.BaseRequest) -> web.Response:
        return web.Response(headers={"Connection": "close"})

    async with http_receiver(take, authority.server(["127.0.0.1"], clients=True)) as port, Sender(LOOPBACK) as sender:
        monkeypatch.setattr(sender, "_contexts", clients.ClientContexts(make))
        for number in range(6):
            access = Access(pair=authority.issue([f"client{number}"]))
            assert (await sender.send(f"https://127.0.0.1:{port}/", b"{}", {}, 5, access=access)).status == 200
        async with asyncio.timeout(10):
            while gc.collect() >= 0 and sum(one() is not None for one in made) > 2:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
    assert len(made) == 6


async def test_deliveries_at_once_make_one_context_of_a_certificate(tmp_path: Path) -> None:
    made: list[ssl.SSLContext] = []

    def make() -> ssl.SSLContext:
        made.append(ssl.create_default_context())
        return made[-1]

    contexts = clients.ClientContexts(make)
    pair = Authority(tmp_path).issue(["first.client"])
    assert await asyncio.gather(*(contexts.of(*pair) for _ in range(20))) == made * 20
    results = await asyncio.gather(*(contexts.of(pair[0], "no key") for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in results] == [ssl.SSLError] * 3
    assert (await contexts.of(*pair), len(made)) == (made[0], 2)
