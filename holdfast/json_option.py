"""Options whose value is a JSON object."""

import json
from typing import Any

from shared.kernel.errors import Misconfigured


def json_object(text: str, option: str, what: str = "") -> dict[str, Any]:
    """`what` it holds, for people. Raises Misconfigured, which names the option."""
    try:
        found = json.loads(text)
    except ValueError as wrong:
        raise Misconfigured(f"{option} is not JSON: {wrong}") from None
    if not isinstance(found, dict):
        raise Misconfigured(f"{option} must be a JSON object{what and f': {what}'}")
    return found
