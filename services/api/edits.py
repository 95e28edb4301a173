"""Arguments that a person gives a job anew: they must be what its command takes, as a handler will read them.

By the command's class where the api has it, else by the schema that the task's worker has published (`store_served`):
what a class checks beyond its schema, its own validators, is the worker's to refuse then. Stricter than a worker, which
ignores members that a newer sender may have added: here a misspelt one is told.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import jsonschema_rs
import orjson
from pydantic import ValidationError

from shared.contracts.command import Command
from shared.contracts.commands import ALL
from shared.db.sql import Connection
from shared.kernel.errors import BadInput, Conflict, TooLarge
from shared.ledger.store_accept import ARGS_LIMIT_BYTES
from shared.ledger.store_served import served_tasks
from shared.runtime.problems import pointer, shown

ERRORS_MOST = 50


async def checked_args(connection: Connection, task: str, args: dict[str, Any]) -> str:
    """As the ledger keeps them. Raises BadInput with a pointer to each thing that is wrong, Conflict (also for what
    nobody may edit), TooLarge.
    """
    plain, kind = _plain(args), ALL.get(task)
    if kind is not None:
        _check_editable(task, kind.editable)
        packed, errors = _by_class(kind, args, plain)
    else:
        served = (await served_tasks(connection, [task])).get(task)
        if served is None:
            words = f"nobody here knows the task {task}, and no worker has served it: its arguments cannot be checked"
            raise Conflict(words, task=task)
        _check_editable(task, not served.args_schema.get("readOnly"))
        packed, errors = plain.decode(), _by_schema(task, served.args_schema, args)
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        words = f"body {errors[0]['pointer']}: {errors[0]['message']}{more}"
        raise BadInput(words, errors=errors[:ERRORS_MOST])
    if len(packed) > ARGS_LIMIT_BYTES:
        raise TooLarge(f"{task}: arguments are {len(packed)} bytes, the limit is {ARGS_LIMIT_BYTES}")
    return packed


def _check_editable(task: str, editable: bool) -> None:
    if not editable:
        words = f"arguments of {task} name things of its service's own: run it again as it is, or not at all"
        raise Conflict(words, code="not_editable", task=task)


def _plain(args: dict[str, Any]) -> bytes:
    """Their JSON. Raises BadInput for what a body can say and the ledger's JSON cannot: see the words."""
    try:
        json.dumps(args, allow_nan=False)  # orjson writes an infinity as null
        return orjson.dumps(args)
    except (TypeError, ValueError) as wrong:
        words = f"arguments are JSON without infinities, integers above 64 bits and halves of characters: {wrong}"
        raise BadInput(words, pointer="/args") from None


def _by_class(kind: type[Command], args: dict[str, Any], plain: bytes) -> tuple[str, list[dict[str, Any]]]:
    """How it would be kept, and what is wrong with it."""
    errors = list(_unknown(kind.task, kind.model_fields, args))
    packed = ""
    try:
        packed = kind.model_validate_json(plain).model_dump_json()
    except ValidationError as wrong:
        errors += [_error([*item["loc"]], item["msg"]) for item in wrong.errors()]
    return packed, errors


def _by_schema(task: str, schema: Mapping[str, Any], args: dict[str, Any]) -> list[dict[str, Any]]:
    errors = list(_unknown(task, schema.get("properties", {}), args))
    try:
        validator = jsonschema_rs.Draft202012Validator(dict(schema), validate_formats=True)
    except ValueError as unreadable:
        raise Conflict(f"what a worker said of {task} is no schema here: {unreadable}", task=task) from None
    wrongs = islice(validator.iter_errors(args), ERRORS_MOST)
    return errors + [_error(list(wrong.instance_path), wrong.message) for wrong in wrongs]


def _unknown(task: str, known: Mapping[str, Any], args: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in (name for name in args if name not in known):
        yield {**_error([name], f"{task} has no such field"), "found": shown(args[name])}


def _error(path: list[Any], message: str) -> dict[str, Any]:
    return {"in": "body", "pointer": pointer(["args", *path]), "message": message}
