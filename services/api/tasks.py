"""The handlers of the api service, and TASKS, which binds them to their commands."""

from collections.abc import Callable
from typing import Any

from services.api.deps import TheirMailer, TheirResources, TheirSettings, ThisAttempt
from services.api.mail import MailRefused, compose
from services.api.upkeep import purge
from shared.contracts.command import Command
from shared.contracts.commands.api import PurgeHistory, SendWelcomeEmail
from shared.kernel.errors import BadInput
from shared.transport.attempt import Dead, Retry

WELCOME = "Hello {name},\n\nyour account is ready.\n"


async def send_welcome(command: SendWelcomeEmail, attempt: ThisAttempt, mailer: TheirMailer) -> dict[str, Any]:
    try:
        message = compose(
            mailer.settings, job_id=attempt.job_id, to=command.email, name=command.name,
            subject=f"Welcome, {command.name}", text=WELCOME.format(name=command.name),
        )  # fmt: skip
        answer = await mailer.send(message)
    except BadInput as wrong:
        raise Dead(wrong.message) from None
    except MailRefused as refusal:
        if refusal.permanent:
            raise Dead(str(refusal)) from None
        raise Retry(command.retry.delay_s(attempt.number), str(refusal)) from None
    return {"message_id": message["Message-ID"], "answer": answer[:200]}


async def purge_history(_: PurgeHistory, resources: TheirResources, settings: TheirSettings) -> dict[str, int]:
    return (await purge(resources, settings)).as_result()


TASKS: dict[type[Command], Callable[..., Any]] = {SendWelcomeEmail: send_welcome, PurgeHistory: purge_history}
