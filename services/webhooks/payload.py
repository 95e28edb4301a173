"""The body of a delivery, as Standard Webhooks shapes it: `{"type", "timestamp", "data"}`, serialised once.

Pure. The invariant: what is stored is what is sent is what is signed. Numbers keep their digits: integers of any
size pass, and what JSON cannot say (NaN, the infinities) is refused rather than turned into null.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from services.webhooks.patterns import OPERATIONAL, TYPE_MAX_CHARS, is_event_type
from shared.kernel.errors import BadInput, TooLarge

PAYLOAD_MAX_BYTES: Final = 256 * 1024
# Not orjson: it writes an infinity as null, and has no integers above 64 bits.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode_body(event_type: str, timestamp: str, data: Mapping[str, Any], *, ours: bool = False) -> str:
    """The body as text. Raises TooLarge past PAYLOAD_MAX_BYTES of UTF-8, BadInput for what is not JSON.

    Operational events are `ours`: nobody else may say that an endpoint was disabled.
    """
    if event_type in OPERATIONAL and not ours:
        words = f"{event_type} is the type of an operational event: nobody publishes it"
        raise BadInput(words, code="reserved_event_type", pointer="/type", found=event_type)
    document = {"type": event_type, "timestamp": timestamp, "data": data}
    try:
        body = _ENCODER.encode(document)
        size = len(body) if body.isascii() else len(body.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"data is not JSON: {error}", pointer="/data") from error
    if size > PAYLOAD_MAX_BYTES:
        raise TooLarge(
            f"the payload is {size} bytes, the limit is {PAYLOAD_MAX_BYTES}",
            code="payload_too_large", limit_bytes=PAYLOAD_MAX_BYTES, found_bytes=size,
        )  # fmt: skip
    return body


def check_type(event_type: str) -> str:
    if not is_event_type(event_type):
        raise BadInput(
            f"an event type is segments of letters, digits, _ and - parted by dots, at most {TYPE_MAX_CHARS}",
            pointer="/type", found=event_type,
        )  # fmt: skip
    return event_type


def check_instant(text: str) -> str:
    """RFC 3339 with an offset, in any of its spellings, as UTC ending in Z. Raises BadInput."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadInput("an instant is RFC 3339 with an offset", pointer="/occurred_at", found=text)
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
