"""Structured logs: one JSON object a line, secrets masked before they can be written."""

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
        if _SECRET_NAME.search(name):
            event[name] = "***"
        elif isinstance(value, str):
            event[name] = masked(value)
    return event


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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
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
    return orjson.dumps(value, default=str).decode()


def get_logger(name: str) -> Any:
    return structlog.get_logger(name)
