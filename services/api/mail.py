"""Mail: one message by SMTP, under one total deadline, recognisable when it is sent twice.

The Message-ID is the job's id, so every attempt of a job sends the same message. A server's 5xx is a refusal for good,
its 4xx and everything about the connection may pass. Refuses line breaks in headers, and addresses that are none.
"""

import asyncio
import contextlib
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Any
from urllib.parse import unquote, urlsplit

import aiosmtplib
from aiosmtplib.errors import SMTPRecipientsRefused, SMTPResponseException

from services.api.settings import ApiSettings
from shared.kernel.errors import BadInput

ADDRESS_LIMIT_CHARS = 254  # RFC 5321 §4.5.3.1.3
LOCAL_LIMIT_CHARS = 64
FAREWELL_S = 1.0
_PERMANENT = 500
_LOCAL_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~.")
_LABEL_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")


class MailRefused(Exception):
    """The server answered, and said no; `permanent` when it will say so again."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(f"SMTP {code}: {words}")
        self.permanent = code >= _PERMANENT


def check_address(text: str) -> str:
    """A plain ASCII address, unquoted, as nearly all are; ValueError says what is wrong with any other."""
    local, at, domain = text.rpartition("@")
    labels = domain.split(".")
    if not at or len(text) > ADDRESS_LIMIT_CHARS or not 1 <= len(local) <= LOCAL_LIMIT_CHARS:
        raise ValueError("must be an email address: name@domain, at most 254 characters")
    if not set(local) <= _LOCAL_CHARS or local[0] == "." or local[-1] == "." or ".." in local:
        raise ValueError("must be an email address: the part before @ holds characters that it may not")
    if len(labels) < 2 or not all(_is_label(label) for label in labels):
        raise ValueError("must be an email address: the part after @ is no domain (write it in punycode)")
    return text


def _is_label(label: str) -> bool:
    return 1 <= len(label) <= 63 and set(label) <= _LABEL_CHARS and label[0] != "-" and label[-1] != "-"


def compose(settings: ApiSettings, *, job_id: str, to: str, name: str, subject: str, text: str) -> EmailMessage:
    """Raises BadInput for what no message may hold: a line break in a header, an address that is none."""
    sender_name, sender = parseaddr(settings.mail_from)
    message = EmailMessage()
    try:
        message["Message-ID"] = f"<{job_id}@{sender.rpartition('@')[2]}>"
        message["Date"] = format_datetime(datetime.now(UTC))
        message["From"] = Address(display_name=sender_name, addr_spec=sender)
        message["To"] = Address(display_name=name, addr_spec=check_address(to))
        message["Subject"] = subject
        message["Auto-Submitted"] = "auto-generated"
    except (ValueError, IndexError) as error:
        raise BadInput(f"this message cannot be sent: {error}") from None
    message.set_content(text)
    return message


class Mailer:
    def __init__(self, settings: ApiSettings) -> None:
        self.settings = settings
        url = urlsplit(settings.smtp_url.get_secret_value())
        secure = url.scheme == "smtps"
        self._server: dict[str, Any] = {
            "hostname": url.hostname,
            "port": url.port or (465 if secure else 25),
            "use_tls": secure,
            "username": unquote(url.username) if url.username else None,
            "password": unquote(url.password) if url.password else None,
            "timeout": settings.smtp_connect_s,
        }

    async def send(self, message: EmailMessage) -> str:
        """The server's last word. Raises MailRefused; TimeoutError and connection errors as they come."""
        client = aiosmtplib.SMTP(**self._server)
        try:
            async with asyncio.timeout(self.settings.smtp_total_s):
                await client.connect()
                _, words = await client.send_message(message)
        except SMTPResponseException as refusal:
            raise MailRefused(refusal.code, refusal.message) from None
        except SMTPRecipientsRefused as refusal:
            first = refusal.recipients[0]
            raise MailRefused(first.code, first.message) from None
        else:
            with contextlib.suppress(Exception):  # it has taken the message: what comes after changes nothing
                async with asyncio.timeout(FAREWELL_S):
                    await client.quit()
            return words
        finally:
            client.close()  # at once: the library's own context manager would wait for a farewell past the deadline
