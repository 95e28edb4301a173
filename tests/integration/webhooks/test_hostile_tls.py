"""TLS is verified, always: who shows a certificate that is not good gets not a byte of a delivery."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from services.webhooks.access import Access
from services.webhooks.sender import Sender
from shared.runtime.egress import AddressPolicy
from tests.integration.webhooks.certificates import Authority
from tests.integration.webhooks.receivers import http_receiver, raw_receiver, says, self_signed

LOOPBACK = AddressPolicy.from_cidrs(["127.0.0.0/8"])


class Everywhere:
    async def lookup(self, host: str, port: int) -> list[str]:
        return ["127.0.0.1"]


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))  # the machine trusts it
    return made


@pytest.fixture
async def sender(authority: Authority) -> AsyncIterator[Sender]:
    async with Sender(LOOPBACK, resolver=Everywhere()) as started:
        yield started


came: list[str] = []


async def take(request: web.BaseRequest) -> web.Response:
    certificate = request.transport.get_extra_info("peercert") if request.transport else None
    came.append(str((certificate or {}).get("subject", "nobody")))
    return web.Response(text="in")


@pytest.fixture(autouse=True)
def _nobody_came() -> None:
    came.clear()


async def test_a_good_certificate_of_a_trusted_authority(sender: Sender, authority: Authority) -> None:
    async with http_receiver(take, authority.server()) as port:
        assert (await sender.send(f"https://hook.example:{port}/", b"{}", {}, 5)).body == "in"
        assert (await sender.send(f"https://HOOK.example.:{port}/", b"{}", {}, 5)).body == "in"


@pytest.mark.parametrize(
    ("names", "days", "words"),
    [
        (("other.example",), 1, "Hostname mismatch"),
        (("*.hook.example",), 1, "Hostname mismatch"),
        (("127.0.0.1",), 1, "Hostname mismatch"),
        (("hook.example",), -1, "certificate has expired"),
    ],
)
async def test_a_wrong_or_expired_certificate(
    sender: Sender, authority: Authority, names: tuple[str, ...], days: int, words: str
) -> None:
    async with http_receiver(take, authority.server(names, days=days)) as port:
        answer = await sender.send(f"https://hook.example:{port}/", b"{}", {}, 5)
    assert (answer.status, answer.error, came) == (None, "tls", [])
    assert words in (answer.message or "")


async def test_a_certificate_that_signed_itself(sender: Sender, tmp_path: Path) -> None:
    async with http_receiver(take, self_signed(tmp_path)[0]) as port:
        answer = await sender.send(f"https://hook.example:{port}/", b"{}", {}, 5)
    assert (answer.status, answer.error, came) == (None, "tls", [])


async def test_a_server_that_speaks_no_tls(sender: Sender) -> None:
    async with raw_receiver(says(b"HTTP/1.1 200 OK\r\n\r\n")) as port:
        answer = await sender.send(f"https://hook.example:{port}/", b"{}", {}, 2)
    assert answer.status is None


async def test_old_protocols_are_not_spoken(sender: Sender, authority: Authority) -> None:
    context = authority.server()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with http_receiver(take, context) as port:
        answer = await sender.send(f"https://hook.example:{port}/", b"{}", {}, 5)
    assert (answer.status, came) == (None, [])
    assert answer.error in ("tls", "connect")  # whichever side hangs up first


async def test_a_client_certificate_is_shown_to_who_asks_and_has_connections_of_its_own(
    sender: Sender, authority: Authority
) -> None:
    access = [Access(authority.issue([name])) for name in ("first.client", "second.client")]
    async with http_receiver(take, authority.server(clients=True)) as port:
        url = f"https://hook.example:{port}/"
        for one in (*access, access[0]):
            assert (await sender.send(url, b"{}", {}, 5, access=one)).status == 200
        without = await sender.send(url, b"{}", {}, 5)
    assert ["first.client" in subject for subject in came] == [True, False, True]
    assert ["second.client" in subject for subject in came] == [False, True, False]
    assert without.status is None


async def test_a_client_certificate_does_not_stop_the_server_from_being_verified(
    sender: Sender, authority: Authority
) -> None:
    access = Access(authority.issue(["first.client"]))
    async with http_receiver(take, authority.server(["other.example"])) as port:
        answer = await sender.send(f"https://hook.example:{port}/", b"{}", {}, 5, access=access)
    assert (answer.status, answer.error, came) == (None, "tls", [])
