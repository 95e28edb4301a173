"""The welcome email against a real SMTP server: what goes out, what is refused, what is tried again."""

import asyncio
import email
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

from services.api.mail import Mailer, MailRefused, compose
from services.api.settings import ApiSettings
from services.api.tasks import send_welcome
from shared.contracts.commands.api import SendWelcomeEmail
from shared.kernel.errors import BadInput
from shared.ledger.states import Claim
from shared.testing.servers import free_port
from shared.transport.attempt import Attempt, Dead, Retry
from tests.integration.http.places import Place, on_one_database
from tests.stalls import within

JOB = "job_" + "0" * 26


class Inbox:
    """Keeps what it is sent; answers as it is told, at the recipient or at the data."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.rcpt = "250 OK"
        self.data = "250 kept"
        self.delay_s = 0.0

    async def handle_RCPT(  # noqa: N802 - aiosmtpd looks for this name
        self, server: SMTP, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if self.rcpt.startswith("2"):
            envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802 - as above
        await asyncio.sleep(self.delay_s)
        if self.data.startswith("2"):
            self.recipients += envelope.rcpt_tos
            self.messages.append(email.message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
        return self.data


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, ApiSettings]]:
    inbox = Inbox()
    server = Controller(inbox, hostname="127.0.0.1", port=free_port())
    server.start()
    url = f"smtp://127.0.0.1:{server.port}"
    yield inbox, ApiSettings(smtp_url=url, mail_from="Holdfast <hi@hold.example>", smtp_total_s=0.5)  # type: ignore[arg-type]
    server.stop()


def attempt(place: Place) -> Attempt:
    claim = Claim(
        id=JOB, task="email.send_welcome", args="{}", tenant="acme", queue="api", fence=1, incarnation="inc_1",
        attempt=0, max_attempts=12, crashes=0, releases=0, timeout_s=30, created_at=0, claimed_at=0,
    )  # fmt: skip
    return Attempt(claim, place.database, lambda _: None)


def command(to: str = "ada@example.com", name: str = "Ada Lovelace") -> SendWelcomeEmail:
    return SendWelcomeEmail(user_id="user_1", email=to, name=name)


@on_one_database
async def test_the_message_goes_out_once_and_is_known_by_its_job(place: Place, inbox: Any) -> None:
    box, settings = inbox
    result = await send_welcome(command(name="Ada {name} Ünlü"), attempt(place), Mailer(settings))
    (message,) = box.messages
    assert message["Message-ID"] == f"<{JOB}@hold.example>" == result["message_id"]
    assert message["From"] == "Holdfast <hi@hold.example>"
    assert message["To"].addresses[0].display_name == "Ada {name} Ünlü"
    assert message["Subject"] == "Welcome, Ada {name} Ünlü"
    assert "Hello Ada {name} Ünlü," in message.get_content()
    assert box.recipients == ["ada@example.com"]
    again = await send_welcome(command(), attempt(place), Mailer(settings))
    assert again["message_id"] == result["message_id"]


@on_one_database
@pytest.mark.parametrize("where", ["rcpt", "data"])
async def test_a_refusal_for_good_is_dead_and_one_for_now_is_tried_again(place: Place, inbox: Any, where: str) -> None:
    box, settings = inbox
    setattr(box, where, "550 no such mailbox")
    with pytest.raises(Dead, match="550"):
        await send_welcome(command(), attempt(place), Mailer(settings))
    setattr(box, where, "451 come back later")
    with pytest.raises(Retry, match="451") as later:
        await send_welcome(command(), attempt(place), Mailer(settings))
    assert 0 <= later.value.after_s <= 2
    assert box.messages == []


@on_one_database
async def test_a_server_that_stalls_or_is_away_is_an_ordinary_failure(place: Place, inbox: Any) -> None:
    box, settings = inbox
    box.delay_s = 5
    async with within(3):
        with pytest.raises(TimeoutError):
            await send_welcome(command(), attempt(place), Mailer(settings))
    away = ApiSettings(smtp_url="smtp://127.0.0.1:9")  # type: ignore[arg-type]
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        await send_welcome(command(), attempt(place), Mailer(away))


@pytest.mark.parametrize(
    ("to", "name"),
    [
        ("ada@example.com", "Ada\r\nBcc: eve@b.cd"),
        ("ada@example.com\r\nBcc: eve@b.cd", "Ada"),
        ("ada", "Ada"),
        ("", ""),
    ],
)
def test_no_header_is_smuggled_in(to: str, name: str) -> None:
    with pytest.raises(BadInput):
        compose(ApiSettings(), job_id=JOB, to=to, name=name, subject=f"Welcome, {name}", text="Hello\r\nBcc: x")


@on_one_database
async def test_a_command_that_cannot_be_sent_is_dead(place: Place, inbox: Any) -> None:
    with pytest.raises(Dead):
        await send_welcome(command(to="no address"), attempt(place), Mailer(inbox[1]))


def test_which_refusals_are_for_good() -> None:
    assert [MailRefused(code, "").permanent for code in (421, 450, 452, 500, 550, 554)] == [False] * 3 + [True] * 3
