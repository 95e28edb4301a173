"""What Taskiq promises its users and this broker keeps: middlewares, dependency injection, and its receiver refused."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from taskiq import Context, InMemoryBroker, TaskiqDepends, TaskiqMessage, TaskiqMiddleware, TaskiqResult
from taskiq.receiver import Receiver

from shared.kernel.errors import Misconfigured
from shared.runtime.resources import Resources, get_resources
from shared.transport.attempt import Attempt, current_attempt, get_attempt
from shared.transport.receiver import HoldfastReceiver
from tests.integration.engine.engine import Again, Do, Engine

ThisAttempt = Annotated[Attempt, TaskiqDepends(get_attempt)]


class Diary(TaskiqMiddleware):
    def __init__(self, name: str = "diary") -> None:
        super().__init__()
        self.name = name
        self.lines: list[tuple[str, ...]] = []

    async def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        self.lines.append(("pre", message.task_name, message.task_id))
        return message

    async def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        self.lines.append(("post", message.task_id, str(result.is_err), str(result.return_value)))

    def on_error(self, message: TaskiqMessage, result: TaskiqResult[Any], exception: BaseException) -> None:
        self.lines.append(("error", message.task_id, repr(exception)))


async def test_middlewares_see_every_attempt(engine: Engine) -> None:
    async def fails_once(command: Do, attempt: ThisAttempt) -> int:
        if attempt.number == 1:
            raise LookupError("once")
        return command.number

    diary = Diary()
    engine.broker.add_middlewares(diary)
    engine.handle(Again, fails_once)
    row = await engine.run(Again(number=7))
    assert (row["state"], row["result"]) == ("completed", "7")
    assert diary.lines == [
        ("pre", "lab.again", row["id"]),
        ("error", row["id"], "LookupError('once')"),
        ("post", row["id"], "True", "None"),
        ("pre", "lab.again", row["id"]),
        ("post", row["id"], "False", "7"),
    ]


async def test_middlewares_see_what_is_sent(engine: Engine) -> None:
    sent = []

    class Sent(TaskiqMiddleware):
        def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
            sent.append(("pre", message.task_id))
            return message

        async def post_send(self, message: TaskiqMessage) -> None:
            sent.append(("post", message.task_id))

    async def nothing(_: Do) -> None: ...

    engine.broker.add_middlewares(Sent())
    engine.handle(Do, nothing)
    task = await engine.kiq(Do())
    assert sent == [("pre", task.task_id), ("post", task.task_id)]


async def test_a_middleware_that_fails_is_a_failed_attempt(engine: Engine) -> None:
    class Broken(TaskiqMiddleware):
        def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
            raise RuntimeError("the middleware is broken")

    async def nothing(_: Do) -> None: ...

    engine.broker.add_middlewares(Broken())
    engine.handle(Do, nothing)
    row = await engine.run(Do())
    assert (row["state"], row["error_message"]) == ("dead", "the middleware is broken")


async def test_each_of_twenty_concurrent_jobs_has_its_own_attempt(engine: Engine) -> None:
    """Taskiq's shared dependency context gave 19 of 20 concurrent tasks another one's."""
    together = asyncio.Barrier(20)

    async def job_of_context(context: Annotated[Context, TaskiqDepends()]) -> str:
        await asyncio.sleep(0)
        return context.message.task_id

    async def work(
        command: Do,
        attempt: ThisAttempt,
        resources: Annotated[Resources, TaskiqDepends(get_resources)],
        of_context: Annotated[str, TaskiqDepends(job_of_context)],
    ) -> dict[str, Any]:
        await together.wait()
        assert resources is engine.resources
        return {
            "seen": [attempt.job_id, of_context, current_attempt.get().job_id, get_attempt().job_id],
            "n": command.number,
        }

    engine.handle(Do, work)
    ids = await engine.enqueue(*(Do(number=number) for number in range(20)))
    await engine.start()
    for number, row in enumerate(await engine.ended(*ids)):
        assert row["state"] == "completed", row["error_message"]
        seen = '","'.join([row["id"]] * 4)
        assert row["result"] == f'{{"seen":["{seen}"],"n":{number}}}'
    assert current_attempt.get(None) is None


async def test_dependencies_are_closed_with_what_the_handler_raised(engine: Engine) -> None:
    closed: list[str] = []

    async def session() -> AsyncIterator[str]:
        try:
            yield "open"
        except LookupError as error:
            closed.append(repr(error))
            raise
        finally:
            closed.append("closed")

    async def fails(_: Do, given: Annotated[str, TaskiqDepends(session)]) -> None:
        raise LookupError(given)

    engine.handle(Do, fails)
    row = await engine.run(Do())
    assert (row["error_type"], row["error_message"]) == ("LookupError", "open")
    assert closed == ["LookupError('open')", "closed"]


async def test_a_dependency_that_fails_is_a_failed_attempt(engine: Engine) -> None:
    async def broken() -> str:
        raise LookupError("no such thing")

    async def never(_: Do, given: Annotated[str, TaskiqDepends(broken)]) -> None:
        raise AssertionError(given)

    engine.handle(Do, never)
    row = await engine.run(Do())
    assert (row["state"], row["error_type"]) == ("dead", "LookupError")


async def test_dependencies_can_be_overridden(engine: Engine) -> None:
    def real() -> str:
        return "real"

    async def work(_: Do, given: Annotated[str, TaskiqDepends(real)]) -> str:
        return given

    engine.handle(Do, work)
    assert (await engine.run(Do()))["result"] == '"real"'
    engine.broker.dependency_overrides[real] = lambda: "fake"
    assert (await engine.run(Do()))["result"] == '"fake"'


async def test_taskiqs_own_receiver_is_told_what_to_use(engine: Engine) -> None:
    with pytest.raises((Misconfigured, ExceptionGroup)) as refused:
        await Receiver(engine.broker, run_startup=False).listen(asyncio.Event())
    error: BaseException = refused.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Misconfigured)
    assert "--receiver shared.transport.receiver:HoldfastReceiver" in str(error)


@pytest.mark.parametrize("foreign", [True, False])
async def test_our_receiver_refuses_a_broker_that_is_not_made_for_it(engine: Engine, foreign: bool) -> None:
    broker = InMemoryBroker() if foreign else engine.broker
    with pytest.raises(Misconfigured, match="make_broker"):
        await HoldfastReceiver(broker, run_startup=False).listen(asyncio.Event())
