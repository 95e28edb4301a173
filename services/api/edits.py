"""Arguments that a person gives a job anew: they must be what its command's class takes, as a handler will read them.

Stricter than a worker, which ignores members that a newer sender may have added: here a misspelt one is told.
"""

from typing import Any

import orjson
from pydantic import ValidationError

from shared.contracts.commands import ALL
from shared.kernel.errors import BadInput, Conflict, TooLarge
from shared.ledger.store_accept import ARGS_LIMIT_BYTES
from shared.runtime.problems import pointer, shown

ERRORS_MOST = 50


def checked_args(task: str, args: dict[str, Any]) -> str:
    """As the ledger keeps them. Raises BadInput with a pointer to each thing that is wrong, Conflict, TooLarge."""
    kind = ALL.get(task)
    if kind is None:
        raise Conflict(f"nobody here knows the task {task}: its arguments cannot be checked", task=task)
    errors = [
        {
            "in": "body",
            "pointer": pointer(["args", name]),
            "message": f"{task} has no such field",
            "found": shown(value),
        }
        for name, value in args.items()
        if name not in kind.model_fields
    ]
    try:
        command = kind.model_validate_json(orjson.dumps(args))
    except ValidationError as wrong:
        errors += [
            {"in": "body", "pointer": pointer(["args", *item["loc"]]), "message": item["msg"]}
            for item in wrong.errors()
        ]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        words = f"body {errors[0]['pointer']}: {errors[0]['message']}{more}"
        raise BadInput(words, errors=errors[:ERRORS_MOST])
    packed = command.model_dump_json()
    if len(packed) > ARGS_LIMIT_BYTES:
        raise TooLarge(f"{task}: arguments are {len(packed)} bytes, the limit is {ARGS_LIMIT_BYTES}")
    return packed
