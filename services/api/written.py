"""A job's output as plain text: one answer holds all that is missing, and says where the next one goes on.

A place in the output is `fence-chunks`, made from the ledger alone: whose output was read, and how many of its chunks.
Of an attempt that another one has taken over from nothing is left, so its reader gets all that the new one has written.
"""

from collections.abc import Mapping
from typing import Any

from shared.db.engine import Database
from shared.ledger.output import OUTPUT_LIMIT_BYTES
from shared.ledger.states import shown_state
from shared.ledger.store_output import read_output
from shared.ledger.store_read import SHOWN_STATES

NEXT, STATE = "Holdfast-Output-Next", "Holdfast-Job-State"
PLACE_PATTERN = "^[0-9]{1,10}-[0-9]{1,10}$"
READ_CHUNKS = 1_000
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": f"what the newest attempt has written, at most {OUTPUT_LIMIT_BYTES // 1024} KiB",
        "content": {"text/plain": {"schema": {"type": "string"}, "example": "Once upon a time"}},
        "headers": {
            NEXT: {"description": "`after` of the next request", "schema": {"type": "string", "example": "1-3"}},
            STATE: {
                "description": "the job's; when it has ended and nothing is left to read, there is nothing to come",
                "schema": {"type": "string", "enum": list(SHOWN_STATES)},
            },
        },
    },
}


def parse_place(after: str | None) -> tuple[int, int]:
    """(fence, chunks); of what has the pattern."""
    fence, _, chunks = (after or "0-0").partition("-")
    return int(fence), int(chunks)


async def read_written(
    database: Database, row: Mapping[str, Any], after: tuple[int, int]
) -> tuple[str, dict[str, str]]:
    """The text after that place, of the attempt that `row` knows, and the answer's headers."""
    fence, upto = int(row["fence"]), int(row["output_chunks"])
    number = min(after[1], upto) if after[0] == fence else 0
    texts: list[str] = []
    while number < upto:
        chunks = await read_output(database, row["id"], fence, number, most=min(READ_CHUNKS, upto - number))
        if not chunks:  # a newer attempt has taken them away: the next answer is of that one
            break
        texts += [chunk.text for chunk in chunks]
        number = chunks[-1].number
    state = shown_state(row["state"], row["run_at"], row["attempt"], database.clock.now_us())
    return "".join(texts), {NEXT: f"{fence}-{number}", STATE: state, "X-Content-Type-Options": "nosniff"}
