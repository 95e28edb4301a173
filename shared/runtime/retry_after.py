"""`Retry-After` of answers that we were given (RFC 9110 §10.2.3), pure: seconds or a date, bounded by who asks."""

from datetime import UTC
from email.utils import parsedate_to_datetime

VALUE_LIMIT_CHARS = 100


def parse_retry_after(value: str | None, *, now_s: float, max_s: float) -> float | None:
    """Seconds from now, within 0 and `max_s`; None when absent or unreadable. `now_s` is wall time, for a date."""
    if value is None or len(value) > VALUE_LIMIT_CHARS:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), max_s)
    try:
        moment = parsedate_to_datetime(text)
        at_s = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return min(max(at_s - now_s, 0.0), max_s)
