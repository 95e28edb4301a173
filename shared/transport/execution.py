"""Running one claimed job: find the task, read the command, resolve dependencies, call the handler, judge the end.

Taskiq's middlewares and dependency graphs are used as they are, with a fresh context for every attempt. Whatever
happens becomes a `Transition`; nothing raised by a handler gets past here, and nothing is decided twice.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from taskiq import Context, TaskiqMessage, TaskiqResult, TaskiqState
from taskiq.abc.middleware import TaskiqMiddleware
from taskiq.utils import maybe_awaitable

from shared.contracts.command import Command
from shared.db.engine import Database
from shared.kernel.clock import SECOND_US
from shared.ledger import states
from shared.ledger.states import Claim, Failure, Transition
from shared.transport.attempt import (
    Attempt,
    Dead,
    Discard,
    Postpone,
    Retry,
    Stale,
    current_attempt,
    describe,
    encode_detail,
    encode_result,
)
from shared.transport.broker import HoldfastBroker
from shared.transport.fingerprints import fingerprint
from shared.transport.injection import Injection
from shared.transport.paced import output_writer, progress_writer
from shared.transport.wake import Wake

_UNKNOWN_TASK_DELAYS_S = (5.0, 10.0, 20.0, 40.0)


class Executor:
    """Runs claims of one broker; holds what can be prepared once for each task."""

    def __init__(self, broker: HoldfastBroker, database: Database, wake: Wake, unknown_task_patience_s: float) -> None:
        self._broker = broker
        self._database = database
        self._wake = wake
        self._patience_s = unknown_task_patience_s
        self.progress = progress_writer(database)
        self.stopping = False  # the process drains
        self.output = output_writer(database)
        self._injections: dict[str, Injection] = {}
        self._overrides: dict[Any, Any] = {}

    async def run(self, claim: Claim) -> Transition | None:
        """The transition to record; None when the attempt has recorded its own end, or turned out stale.

        CancelledError passes through: who cancels says what becomes of the job.
        """
        now_us = self._database.clock.now_us()
        task = self._broker.find_task(claim.task)
        kind = self._broker.commands.get(claim.task)
        if task is None or kind is None:
            return unknown_task(claim, now_us, self._patience_s)
        try:
            command = kind.model_validate_json(claim.args)
        except ValidationError as unreadable:
            words = "; ".join(f"{_pointer(e['loc'])}: {e['msg']}" for e in unreadable.errors()[:5])
            failure = Failure("unreadable_args", words, fingerprint(claim.task, "unreadable_args", ""))
            return states.dead(claim, now_us, failure, started_at=now_us)
        attempt = Attempt(claim, self._database, self._wake, self.progress, lambda: self.stopping, self.output)
        token = current_attempt.set(attempt)
        try:
            return await self._attempt(attempt, task.original_func, command)
        finally:
            current_attempt.reset(token)
            attempt.over = True
            await self.progress.settle(claim.key)
            await self.output.settle(claim.key)

    def failed_on_its_own(self, claim: Claim, started_at: int) -> Transition:
        """The handler ended by a CancelledError that nobody of ours sent: a failure like any other."""
        kind = self._broker.commands.get(claim.task)
        delay_s = kind.retry.delay_s(claim.attempt + 1) if kind else None
        failure = Failure(
            "CancelledError", "the handler cancelled itself", fingerprint(claim.task, "CancelledError", "")
        )
        return states.failed(claim, self._database.clock.now_us(), failure, started_at=started_at, delay_s=delay_s)

    async def _attempt(self, attempt: Attempt, handler: Callable[..., Any], command: Command) -> Transition | None:
        claim = attempt.claim
        limit = asyncio.timeout(claim.timeout_s)
        try:
            async with limit:
                returned = await self._through_middlewares(attempt, handler, command)
        except Stale:
            return None
        except Exception as raised:
            if attempt.ended:
                return None
            if limit.expired() and isinstance(raised, TimeoutError):
                words = f"the handler ran past its {claim.timeout_s:g} s"
                failure = Failure("TimedOut", words, fingerprint(claim.task, "TimedOut", ""))
                return self._failed(attempt, command, failure, outcome="timed_out")
            return self._judge(attempt, command, raised)
        if attempt.ended:
            return None
        return self._completed(attempt, returned)

    async def _through_middlewares(self, attempt: Attempt, handler: Callable[..., Any], command: Command) -> Any:
        middlewares = self._broker.middlewares
        injection = self._injection(attempt.claim.task, handler)
        if not middlewares and not injection.needs_context:
            return await self._call(injection, handler, command, None)
        claim = attempt.claim
        message = TaskiqMessage(task_id=claim.id, task_name=claim.task, labels={}, args=[command], kwargs={})
        for middleware in middlewares:
            if _overrides(middleware, "pre_execute"):
                message = await maybe_awaitable(middleware.pre_execute(message))
        error: BaseException | None = None
        returned: Any = None
        try:
            returned = await self._call(injection, handler, command, message)
        except Exception as raised:
            error = raised
        result: TaskiqResult[Any] = TaskiqResult(
            is_err=error is not None,
            return_value=returned,
            execution_time=(self._database.clock.now_us() - attempt.started_at) / SECOND_US,
            error=error,
            labels=message.labels,
        )
        for middleware in reversed(middlewares):
            if error is not None and _overrides(middleware, "on_error"):
                await maybe_awaitable(middleware.on_error(message, result, error))
            if _overrides(middleware, "post_execute"):
                await maybe_awaitable(middleware.post_execute(message, result))
        if error is not None:
            raise error
        return returned

    async def _call(
        self, injection: Injection, handler: Callable[..., Any], command: Command, message: TaskiqMessage | None
    ) -> Any:
        if injection.is_empty:
            return await handler(command)
        values: dict[Any, Any] = self._broker.custom_dependency_context
        if message is not None:
            values = {**values, Context: Context(message, self._broker), TaskiqState: self._broker.state}
        flat = injection.flat(values)
        if flat is not None:
            return await handler(command, **flat)
        async with injection.resolved(values) as given:
            return await handler(command, **given)

    def _injection(self, name: str, handler: Callable[..., Any]) -> Injection:
        if self._overrides != self._broker.dependency_overrides:  # the app has started, or a test has replaced some
            self._overrides = dict(self._broker.dependency_overrides)
            self._injections.clear()
        found = self._injections.get(name)
        if found is None:
            found = self._injections[name] = Injection(handler, self._overrides)
        return found

    def _completed(self, attempt: Attempt, returned: Any) -> Transition:
        now_us = self._database.clock.now_us()
        try:
            result = encode_result(returned)
        except (TypeError, ValueError) as error:
            failure = Failure("unrecordable", str(error), fingerprint(attempt.claim.task, "unrecordable", ""))
            return states.dead(attempt.claim, now_us, failure, started_at=attempt.started_at)
        detail = encode_detail(attempt.detail)
        return states.completed(attempt.claim, now_us, started_at=attempt.started_at, result=result, detail=detail)

    def _judge(self, attempt: Attempt, command: Command, raised: Exception) -> Transition:
        now_us = self._database.clock.now_us()
        claim, started_at, detail = attempt.claim, attempt.started_at, encode_detail(attempt.detail)
        if isinstance(raised, Postpone):
            return states.released(claim, now_us, str(raised), delay_s=raised.after_s)
        failure = describe(claim.task, raised)
        if isinstance(raised, Discard):
            return states.discarded(claim, now_us, failure, started_at=started_at, detail=detail)
        if isinstance(raised, Dead):
            return states.dead(claim, now_us, failure, started_at=started_at, detail=detail)
        delay_s = raised.after_s if isinstance(raised, Retry) else None
        return self._failed(attempt, command, failure, delay_s=delay_s)

    def _failed(
        self,
        attempt: Attempt,
        command: Command,
        failure: Failure,
        *,
        delay_s: float | None = None,
        outcome: states.Outcome = "failed",
    ) -> Transition:
        wait_s = command.retry.delay_s(attempt.number) if delay_s is None else delay_s
        return states.failed(
            attempt.claim,
            self._database.clock.now_us(),
            failure,
            started_at=attempt.started_at,
            delay_s=wait_s,
            outcome=outcome,
            detail=encode_detail(attempt.detail),
        )


def unknown_task(claim: Claim, now_us: int, patience_s: float) -> Transition:
    """During a rolling deploy another worker may know the task: give it back, with growing pauses, for a while."""
    waited_s = sum(_UNKNOWN_TASK_DELAYS_S[: claim.releases]) + 60.0 * max(
        0, claim.releases - len(_UNKNOWN_TASK_DELAYS_S)
    )
    if waited_s >= patience_s or claim.releases >= states.MAX_RELEASES:
        words = f"no worker of queue {claim.queue} knows the task {claim.task!r}; it was given back for {waited_s:g} s"
        failure = Failure("unknown_task", words, fingerprint(claim.task, "unknown_task", ""))
        return states.dead(claim, now_us, failure, started_at=now_us)
    delay_s = _UNKNOWN_TASK_DELAYS_S[claim.releases] if claim.releases < len(_UNKNOWN_TASK_DELAYS_S) else 60.0
    return states.released(claim, now_us, f"unknown task {claim.task!r}", started_at=now_us, delay_s=delay_s)


def _pointer(location: tuple[int | str, ...]) -> str:
    return "/" + "/".join(str(part) for part in location)


def _overrides(middleware: TaskiqMiddleware, name: str) -> bool:
    return getattr(type(middleware), name) is not getattr(TaskiqMiddleware, name)
