"""Structured logs: one JSON object a line on standard error, secrets masked before they can be written.

Writing a line never fails: a full disk, a closed pipe or text that is no Unicode must not end the loop that reports it.
"""

import contextlib
import json
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_SECRET_NAME = re.compile(r"secret|password|token|authorization|api_key|master_key", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"(whsec_|whsk_|hf_)[A-Za-z0-9+/=_-]{8,}|(://[^/\s:@]*:)[^@\s/]+@")


def masked(text: str) -> str:
    """Keys, signing secrets and the passwords in URLs, starred out."""
    return _SECRET_TEXT.sub(lambda m: f"{m[1]}***" if m[1] else f"{m[2]}***@", text)


def mask(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide values whose name or shape says secret: keys, signing secrets, passwords in URLs."""
    for name, value in event.items():
        event[name] = "***" if _SECRET_NAME.search(name) else _masked_value(value)
    return event


def _masked_value(value: Any) -> Any:
    match value:
        case str():
            return masked(value)
        case dict():
            return {str(k): "***" if _SECRET_NAME.search(str(k)) else _masked_value(v) for k, v in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked_value(one) for one in value]
        case None | bool() | int() | float():
            return value
        case _:
            return masked(str(value))


def configure(level: str = "INFO") -> None:
    """Send structlog and the standard library's loggers to standard error as JSON lines."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_dumps)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=_Lines,
        cache_logger_on_first_use=True,
    )
    handler = _LinesHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_dumps),
            ],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(level)
    for noisy in ("taskiq", "httpx", "aiosqlite", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _dumps(value: Any, **_: Any) -> str:
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError:  # half a character, an integer beyond 64 bits: the slower library writes them
        return json.dumps(value, default=str)


def _write(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # ValueError: closed. There is nobody left to tell
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class _Lines:
    """What structlog writes to: whatever standard error is at that moment."""

    def __init__(self, *_: Any) -> None: ...

    def msg(self, line: str) -> None:
        _write(line)

    debug = info = warning = error = critical = msg


class _LinesHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _write(self.format(record))


def get_logger(name: str) -> Any:
    return structlog.get_logger(name)
