"""The handlers of the api service, and TASKS, which binds them to their commands."""

from collections.abc import Callable
from typing import Any

from services.api.canary import judge, rest_of
from services.api.completion import request_key, request_of
from services.api.deps import TheirLlm, TheirMailer, TheirResources, TheirSettings, ThisAttempt
from services.api.hours import count_hours
from services.api.inbox import retry_batches
from services.api.llm import LlmFailed, LlmRefused
from services.api.mail import MailRefused, compose
from services.api.sync import sync
from services.api.upkeep import purge
from shared.contracts.command import Command
from shared.contracts.commands.api import (
    CompletePrompt,
    CountHours,
    PurgeHistory,
    RetryRest,
    SendWelcomeEmail,
    SyncFeed,
)
from shared.kernel.errors import BadInput
from shared.ledger.store_dead import known_states
from shared.transport.attempt import Dead, Retry
from shared.transport.durable import durable

WELCOME = "Hello {name},\n\nyour account is ready.\n"


@durable(SendWelcomeEmail)
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


async def purge_history(
    command: PurgeHistory, attempt: ThisAttempt, resources: TheirResources, settings: TheirSettings
) -> None:
    await purge(attempt, resources, settings, command)


async def count(_: CountHours, resources: TheirResources, settings: TheirSettings) -> dict[str, Any]:
    return await count_hours(resources.database, settings.keep_finished_s)


async def read_feed(
    _: SyncFeed, attempt: ThisAttempt, resources: TheirResources, settings: TheirSettings
) -> dict[str, Any] | None:
    return await sync(attempt, resources, settings)


async def retry_rest(command: RetryRest, attempt: ThisAttempt, resources: TheirResources) -> dict[str, Any]:
    """Polls by `Retry`: between two looks nothing is held, and a deploy or a crash in between changes nothing."""
    states = await known_states(resources.database, attempt.tenant, command.canaries)
    found = judge(
        command, states, now_us=resources.database.clock.now_us(), number=attempt.number, last=attempt.is_last
    )
    if found.wait_s is not None:
        raise Retry(found.wait_s, found.words)
    if found.outcome != "retried":
        return found.result()
    retried, more = await retry_batches(resources, attempt.tenant, rest_of(command), by=attempt.job_id)
    if more:
        raise Retry(0.1, f"{retried} retried in this attempt, and there are more")
    return {**found.result(), "retried": retried}


class PromptRefused(Dead):
    """The model's server would refuse the same prompt again."""


class PromptFailed(Retry):
    """One call failed, and another one follows."""


async def complete_prompt(command: CompletePrompt, attempt: ThisAttempt, llm: TheirLlm) -> dict[str, Any]:
    """Each piece of the answer is the attempt's output as soon as it comes; the answer is the result."""
    if llm is None:  # accepted by a process that has one
        raise PromptFailed(command.retry.delay_s(attempt.number), "this worker has no HOLDFAST_API_LLM_URL")
    body = request_of(command, llm.model)
    try:
        found = await llm.complete(body, key=request_key(attempt.job_id, body), say=attempt.write)
    except LlmRefused as refused:
        raise PromptRefused(str(refused), kind=refused.kind) from None
    except LlmFailed as failed:
        raise PromptFailed(max(command.retry.delay_s(attempt.number), failed.wish_s or 0.0), str(failed)) from None
    return found.result()


TASKS: dict[type[Command], Callable[..., Any]] = {
    SendWelcomeEmail: send_welcome,
    PurgeHistory: purge_history,
    CountHours: count,
    SyncFeed: read_feed,
    RetryRest: retry_rest,
    CompletePrompt: complete_prompt,
}
