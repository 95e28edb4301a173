"""The golden files: one for each published message, `golden/<name>.json`.

`published` says what stands on the class and what its fields are; `messages` are payloads as they were really written,
oldest first, one for each shape that was ever published. To publish a change on purpose: add the new payload to
`messages`, keep the old ones, run `python -m tests.contracts.golden`, and read the difference before it is committed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from shared.contracts.command import Command
from shared.contracts.commands import ALL
from shared.contracts.events import EVENTS

FOLDER = Path(__file__).parent / "golden"
MESSAGES: dict[str, type[BaseModel]] = {**ALL, **EVENTS}
_PROSE = ("title", "description")


def golden(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def published(name: str) -> dict[str, Any]:
    """What the code says now, in the shape of a golden file."""
    kind = MESSAGES[name]
    fields = _without_prose(kind.model_json_schema(mode="serialization"))
    if not issubclass(kind, Command):
        return {"event": name, "fields": fields}
    policy = {"timeout_s": kind.timeout_s, "retry": json.loads(kind.retry.model_dump_json()), "priority": kind.priority}
    lanes = kind.lanes.model_dump(exclude_defaults=True)
    return {"command": name, "queue": kind.queue, **policy, **({"lanes": lanes} if lanes else {}), "fields": fields}


def _without_prose(schema: Any) -> Any:
    """A schema's shape: a reworded docstring is no change of a message."""
    if isinstance(schema, dict):
        fields = schema.get("properties", {})
        kept = {key: _without_prose(value) for key, value in schema.items() if key not in _PROSE}
        return {**kept, "properties": {key: _without_prose(value) for key, value in fields.items()}} if fields else kept
    return [_without_prose(item) for item in schema] if isinstance(schema, list) else schema


def write(name: str) -> None:
    file = FOLDER / f"{name}.json"
    messages = golden(name)["messages"] if file.exists() else []
    document = {"published": published(name), "messages": messages}
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    for message in MESSAGES:
        write(message)
