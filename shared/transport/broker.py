"""`HoldfastBroker`: a Taskiq broker whose `kiq` is a durable enqueue and whose result backend is the ledger.

Taskiq's decorators, dependency injection, middlewares and command line work as they do elsewhere. What differs: a
message is a command (one pydantic argument), it becomes a row of the ledger before `kiq` returns, inside the open `Tx`
when there is one, and the stream carries its id only. Entries are read by `HoldfastReceiver`, by nothing else.
"""

import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import orjson
from taskiq import AckableMessage, BrokerMessage
from taskiq.abc.result_backend import AsyncResultBackend
from taskiq.depends.progress_tracker import TaskProgress
from taskiq.result import TaskiqResult
from taskiq_redis import RedisStreamBroker

from shared.contracts.command import Command
from shared.db.tx import current_tx
from shared.kernel.errors import HoldfastError, Misconfigured
from shared.kernel.ids import new_id
from shared.kernel.settings import CoreSettings
from shared.ledger.states import TERMINAL
from shared.ledger.store_accept import new_job
from shared.ledger.store_read import read_outcome
from shared.transport.attempt import Attempt, current_attempt
from shared.transport.enqueue import Accepted, Acceptor, enqueue_all
from shared.transport.names import GROUP, stream
from shared.transport.progress import from_taskiq, to_taskiq

DEFAULT_TENANT = "default"


class JobFailed(HoldfastError):
    """What `wait_result` reports of a job that ended dead or cancelled."""

    code = "job_failed"


class HoldfastBroker(RedisStreamBroker):
    def __init__(self, settings: CoreSettings, queue: str, commands: Mapping[str, type[Command]]) -> None:
        super().__init__(
            url=settings.redis_url.get_secret_value(),
            queue_name=stream(queue),
            consumer_group_name=GROUP,
            consumer_id="0",
        )
        self.settings = settings
        self.queue = queue
        self.commands = commands
        self.acceptor: Acceptor | None = None
        self.process_factory: Callable[[int], Any] | None = None
        self.id_generator = lambda: new_id("job")
        self.result_backend: LedgerResults = LedgerResults()

    def attach(self, acceptor: Acceptor) -> None:
        """Give `kiq` and `wait_result` the process's acceptor; done by the app's lifespan."""
        self.acceptor = self.result_backend.acceptor = acceptor

    def bind(self, tasks: Mapping[type[Command], Callable[..., Any]]) -> "HoldfastBroker":
        """Register a service's TASKS: one handler for each command class."""
        for command, handler in tasks.items():
            if not inspect.iscoroutinefunction(handler):
                raise Misconfigured(f"{command.task}: handlers are async; CPU work belongs in the media pool")
            self.register_task(handler, task_name=command.task)
        return self

    async def startup(self) -> None:
        """Taskiq's own, and no more: RedisStreamBroker would ask Redis for its group, and a worker that starts while
        Redis is away would end. The pump asks, and goes on asking.
        """
        await super(RedisStreamBroker, self).startup()

    async def kick(self, message: BrokerMessage) -> None:
        """Accept the command durably; raises the acceptor's error when the database does not answer."""
        labels = message.labels
        content = orjson.loads(message.message)
        command_type = self.commands.get(message.task_name)
        if command_type is None:
            raise Misconfigured(
                f"no command is named {message.task_name}: define its class in shared/contracts/commands"
            )
        if len(content["args"]) != 1 or content["kwargs"]:
            raise Misconfigured(f"{message.task_name} takes one {command_type.__name__}, positionally")
        command = command_type.model_validate(content["args"][0])
        tx = current_tx()
        now_us = self._accept().database.clock.now_us() if tx is None else tx.now_us
        job = new_job(
            command,
            tenant=str(labels.get("tenant", DEFAULT_TENANT)),
            now_us=now_us,
            run_at=int(labels["run_at"]) if "run_at" in labels else None,
            id=message.task_id,
        )
        if tx is not None:
            await enqueue_all(tx, [job])
        else:
            await self._accept().submit(Accepted([job]))

    def listen(self) -> AsyncGenerator[AckableMessage, None]:
        raise Misconfigured(
            "start this worker with --receiver shared.transport.receiver:HoldfastReceiver: "
            "the stream holds job ids, not messages"
        )

    def _accept(self) -> Acceptor:
        if self.acceptor is None:
            raise Misconfigured("the broker has no resources yet: start the app's lifespan before kiq")
        return self.acceptor


class LedgerResults(AsyncResultBackend[Any]):
    """Reads how a job ended from the ledger. Writing is the receiver's: a result commits with the job's completion."""

    def __init__(self) -> None:
        self.acceptor: Acceptor | None = None

    async def set_result(self, task_id: str, result: TaskiqResult[Any]) -> None:
        """Nothing to do: the completion that this would report has been recorded, under its fence."""

    async def is_result_ready(self, task_id: str) -> bool:
        return (await self._read(task_id))["state"] in TERMINAL

    async def get_result(self, task_id: str, with_logs: bool = False) -> TaskiqResult[Any]:  # noqa: ARG002 - Taskiq's
        row = await self._read(task_id)
        if row["state"] not in TERMINAL:
            raise JobFailed(f"{task_id} is {row['state']}: it has no result yet")
        failed = row["state"] != "completed"
        return TaskiqResult(
            is_err=failed,
            return_value=orjson.loads(row["result"]) if row["result"] else None,
            execution_time=((row["finished_at"] or 0) - (row["claimed_at"] or 0)) / 1e6,
            error=JobFailed(f"{row['error_type']}: {row['error_message']}") if failed else None,
        )

    async def set_progress(self, task_id: str, progress: TaskProgress[Any]) -> None:
        """Taskiq's ProgressTracker, in a handler: the same as `Attempt.progress`, see `from_taskiq`."""
        attempt = _running(task_id)
        if attempt is None:
            raise Misconfigured(f"only the handler of {task_id} reports its progress, while it runs")
        attempt.progress(*from_taskiq(progress, attempt.reported))

    async def get_progress(self, task_id: str) -> TaskProgress[Any] | None:
        """What was reported last, `meta` being `{fraction, note}`; None when nothing was."""
        attempt = _running(task_id)
        if attempt is None:
            return to_taskiq(await self._read(task_id))
        last = attempt.reported
        known = {"progress": last.fraction, "progress_note": last.note, "progress_at": last.at} if last else {}
        return to_taskiq({"state": "running", "progress_at": None, **known})

    async def _read(self, task_id: str) -> Mapping[str, Any]:
        if current_tx() is not None:
            raise JobFailed("waiting for a result inside an open Tx would wait for a job that is not committed yet")
        if self.acceptor is None:
            raise Misconfigured("the broker has no resources yet: start the app's lifespan first")
        row = await read_outcome(self.acceptor.database, task_id)
        if row is None:
            raise JobFailed(f"there is no job {task_id}")
        return row


def _running(task_id: str) -> Attempt | None:
    attempt = current_attempt.get(None)
    return attempt if attempt is not None and attempt.job_id == task_id else None
