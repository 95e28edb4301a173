"""Served tasks: what workers say of the tasks that they handle, for those who have not their commands' classes.

A row for each task that a worker has ever begun to serve: its queue, the JSON Schema of its arguments, its retry policy
as data. A command's class, where it is known, says more; the row is for `@durable` functions and other people's
commands. The worker that began last is right.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import TypeAdapter

from shared.contracts.command import Command
from shared.contracts.retry import RetryPolicy
from shared.db.sql import Connection, Row, Statement
from shared.kernel.logs import get_logger

log = get_logger(__name__)
_POLICY: TypeAdapter[RetryPolicy] = TypeAdapter(RetryPolicy)

SERVE = Statement(
    "serve_tasks",
    """
    INSERT INTO served_task (task, queue, args_schema, retry, updated_at)
    SELECT i.task, i.queue, i.args_schema, i.retry, i.at FROM {rows} AS i WHERE TRUE ORDER BY i.task
        ON CONFLICT (task) DO UPDATE SET queue = excluded.queue, args_schema = excluded.args_schema,
           retry = excluded.retry, updated_at = excluded.updated_at
    """,
    rows={"task": "text", "queue": "text", "args_schema": "text", "retry": "text", "at": "bigint"},
)
SERVED = Statement("served_tasks", "SELECT task, args_schema, retry FROM served_task WHERE task {any:tasks}")

QUEUES = Statement("served_queues", "SELECT DISTINCT queue FROM served_task")


@dataclass(frozen=True, slots=True)
class ServedTask:
    """`args_schema` is JSON Schema 2020-12 of an object, `readOnly` where the command is not editable."""

    args_schema: Mapping[str, Any]
    retry: RetryPolicy


async def serve_tasks(connection: Connection, commands: Iterable[type[Command]], now_us: int) -> None:
    rows = [(one.task, one.queue, _schema_of(one), one.retry.model_dump_json(), now_us) for one in commands]
    if rows:
        await connection.fetch(SERVE, None, rows)


def _schema_of(command: type[Command]) -> str:
    kept = {} if command.editable else {"readOnly": True}
    return orjson.dumps({**command.model_json_schema(), **kept}).decode()


async def served_tasks(connection: Connection, tasks: Iterable[str]) -> dict[str, ServedTask]:
    """By task; those that no worker has ever served are left out, and those that newer code has written.

    Raises nothing for them: a rescue takes back the jobs of all tasks at once.
    """
    names = sorted(set(tasks))
    found = await connection.fetch(SERVED, {"tasks": names}) if names else []
    return {row["task"]: told for row in found if (told := _read(row)) is not None}


async def served_queues(connection: Connection) -> list[str]:
    """The queues of the tasks that workers have ever served."""
    return [row["queue"] for row in await connection.fetch(QUEUES)]


def _read(row: Row) -> ServedTask | None:
    try:
        return ServedTask(orjson.loads(row["args_schema"]), _POLICY.validate_json(row["retry"]))
    except ValueError as error:
        log.warning("served_task_unreadable", task=row["task"], error=str(error)[:300])
        return None
