"""Ids from outside: what cannot be the id of such a thing is 404, as one that is not there, and costs no query.

EventId = Annotated[str, id_of("evt", "event")]
"""

from pydantic import AfterValidator

from shared.kernel.errors import NotFound
from shared.kernel.ids import is_id

_SHOWN_CHARS = 100


def id_of(prefix: str, noun: str) -> AfterValidator:
    """For a path parameter, or a member of a body. NotFound is no ValueError, so it passes through the validation."""

    def check(text: str) -> str:
        if not is_id(text, prefix):
            raise NotFound(f"there is no {noun} {text[:_SHOWN_CHARS]}")
        return text

    return AfterValidator(check)
