"""What a language model answers, pure: the events of a `chat/completions` stream put together, and bounded.

Every shape that is not the API's is `Malformed`, an error that the model's server tells in the stream `Interrupted`.
The text is never larger than its limit: what comes after is cut off, and says so. Text is kept as it is stored: halves
of a character that came apart are joined, NUL is dropped.
"""

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import orjson

from shared.contracts.commands.api import CompletePrompt
from shared.ledger.progress import storable
from shared.transport.attempt import RESULT_LIMIT_BYTES

DONE = "[DONE]"
CUT = "size_limit"  # the finish_reason of what passed our limit
NAME_LIMIT_CHARS = 200
WORDS_LIMIT_CHARS = 300
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_COUNT_MOST = 1 << 53
_HIGH = range(0xD800, 0xDC00)  # the first half of a character beyond 16 bits


class Malformed(Exception):
    """What came is not the API's."""


class Interrupted(Exception):
    """The model's server said within the stream that it cannot go on."""


class Completion:
    """One answer as it comes. `done`: whole; `cut`: as large as it may be."""

    def __init__(self, limit_bytes: int) -> None:
        self.model: str | None = None
        self.finish_reason: str | None = None
        self.usage: dict[str, int] | None = None
        self.done = False
        self.cut = False
        self._room = limit_bytes
        self._half = ""
        self._parts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def take(self, data: str) -> str:
        """The text that one event adds. Raises Malformed, Interrupted."""
        if data.strip() == DONE:
            self.done = True
            return self._kept(self._half, last=True)
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            raise Malformed("an event of the stream is not JSON") from None
        if not isinstance(event, dict):
            raise Malformed("an event of the stream is no object")
        if event.get("error"):
            raise Interrupted(words_of(event["error"]) or "the server broke the answer off")
        self._note(event)
        choices = event.get("choices") or []
        if not isinstance(choices, list):
            raise Malformed("choices is no list")
        return self._kept("".join(self._choice(one) for one in choices))

    def _note(self, event: Mapping[str, Any]) -> None:
        if isinstance(event.get("model"), str):
            self.model = _name(event["model"])
        usage = event.get("usage")
        if isinstance(usage, dict):
            self.usage = {name: int(usage[name]) for name in _COUNTS if is_count(usage.get(name))}

    def _choice(self, choice: Any) -> str:
        if not isinstance(choice, dict) or not isinstance(choice.get("delta") or {}, dict):
            raise Malformed("a choice is no object with a delta")
        if choice.get("index", 0) != 0:  # one was asked for
            return ""
        if isinstance(choice.get("finish_reason"), str):
            self.finish_reason = _name(choice["finish_reason"])
        content = (choice.get("delta") or {}).get("content")
        if content is not None and not isinstance(content, str):
            raise Malformed("the content of a delta is no text")
        return content or ""

    def _kept(self, piece: str, *, last: bool = False) -> str:
        whole = piece if last else self._half + piece
        self._half = ""
        if whole and not last and ord(whole[-1]) in _HIGH:
            whole, self._half = whole[:-1], whole[-1]
        text = storable(whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        encoded = text.encode()
        if len(encoded) > self._room:
            self.cut, self.finish_reason = True, CUT
            encoded = encoded[: self._room]
            text = encoded.decode("utf-8", "ignore")
        self._room -= len(encoded)
        self._parts.append(text)
        return text

    def result(self) -> dict[str, Any]:
        """JSON within RESULT_LIMIT_BYTES: of a larger text its beginning, and `truncated`. The output has it all."""
        text = self.text
        found = {
            "text": text,
            "text_bytes": len(text.encode()),
            "truncated": False,
            "model": self.model,
            "finish_reason": self.finish_reason,
            "usage": self.usage,
        }
        while (size := len(orjson.dumps(found))) > RESULT_LIMIT_BYTES:
            kept = str(found["text"])
            fewer = min(int(len(kept) * RESULT_LIMIT_BYTES / size), len(kept) - 1)
            found |= {"text": kept[:fewer], "truncated": True}
        return found


def request_of(command: CompletePrompt, model: str) -> bytes:
    """The request's body: the same bytes for the same command and model."""
    messages = [{"role": "system", "content": command.system}] if command.system is not None else []
    messages.append({"role": "user", "content": command.prompt})
    body: dict[str, Any] = {"messages": messages, "stream": True, "stream_options": {"include_usage": True}}
    chosen = {"model": model or None, "max_tokens": command.max_tokens, "temperature": command.temperature}
    return orjson.dumps(body | {name: value for name, value in chosen.items() if value is not None})


def request_key(job_id: str, body: bytes) -> str:
    """The Idempotency-Key of every attempt of a job; another one if a person has edited its arguments."""
    return f"{job_id}-{blake2b(body, digest_size=8).hexdigest()}"


def words_of(error: Any) -> str:
    """What an error of the API says, on one bounded line; empty when it says nothing."""
    said = error.get("message") if isinstance(error, dict) else error
    return " ".join(storable(said).split())[:WORDS_LIMIT_CHARS] if isinstance(said, str) else ""


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _COUNT_MOST


def _name(text: str) -> str:
    return storable(text)[:NAME_LIMIT_CHARS]
