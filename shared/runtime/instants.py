"""Instants in a query, as people write them there."""

from shared.kernel.clock import from_rfc3339
from shared.kernel.errors import BadInput


def instant_in_query(name: str, text: str) -> int:
    """In µs. A blank stands for a `+` that nobody escaped. Raises BadInput for what is no instant with an offset."""
    try:
        return from_rfc3339(text.replace(" ", "+"))
    except (ValueError, OverflowError) as wrong:
        words = f"{name} must be an instant, as 2026-01-31T12:00:00Z: {wrong}"
        raise BadInput(words, place="query", pointer=f"/{name}", found=text) from None
