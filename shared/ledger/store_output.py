"""Output in the ledger: chunks of text that an attempt has written, appended under its fence, read by who follows it.

A chunk is written only while id, fence, incarnation and `running` all match: a stale attempt adds nothing. Repeating
one changes nothing. The first of an attempt takes those of older attempts away, so a job keeps one attempt's output;
`job.output_chunks` says how much of it is there, and the claim of the next attempt sets it to nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from shared.db.engine import Database
from shared.db.sql import Connection, Statement
from shared.ledger.output import Chunk
from shared.ledger.progress import Key

READ_MOST = 64  # chunks of one look

# One row for each job; it locks the job's row, so the end of the attempt comes before all of this or after it.
MARK_OUTPUT = Statement(
    "mark_output",
    """
    UPDATE job SET output_chunks = CASE WHEN i.last > output_chunks THEN i.last ELSE output_chunks END
      FROM {rows} AS i
     WHERE job.id = i.id AND job.fence = i.fence AND job.incarnation = i.incarnation AND {guard:job.state} = 'running'
    RETURNING job.id, job.fence
    """,
    rows={"id": "text", "fence": "integer", "incarnation": "text", "last": "integer"},
)
CLEAR_OLDER = Statement(
    "clear_older_output",
    "DELETE FROM job_output WHERE job_id {any:ids} AND fence < (SELECT fence FROM job WHERE id = job_id)",
)
INSERT_OUTPUT = Statement(
    "insert_output",
    """
    INSERT INTO job_output (job_id, fence, number, offset_chars, text)
    SELECT i.id, i.fence, i.number, i.offset_chars, i.text FROM {rows} AS i WHERE TRUE
        ON CONFLICT (job_id, fence, number) DO NOTHING
    """,
    rows={"id": "text", "fence": "integer", "number": "integer", "offset_chars": "integer", "text": "text"},
)
PURGE_OUTPUT = Statement("purge_output", "DELETE FROM job_output WHERE job_id {any:ids} RETURNING number")
READ_OUTPUT = Statement(
    "read_output",
    """
    SELECT number, offset_chars, text FROM job_output
     WHERE job_id = :id AND fence = :fence AND number > :after ORDER BY number LIMIT :most
    """,
)


async def write_output(connection: Connection, output: Iterable[tuple[Key, Sequence[Chunk]]]) -> set[tuple[str, int]]:
    """(id, fence) of those that were written; the others are stale, or have ended. In the caller's transaction."""
    given = [(key, chunks) for key, chunks in output if chunks]
    marks = [(*key, chunks[-1].number) for key, chunks in given]
    marked = {(row["id"], row["fence"]) for row in await connection.fetch(MARK_OUTPUT, None, marks)}
    mine = [(key, chunks) for key, chunks in given if key[:2] in marked]
    first = sorted(key[0] for key, chunks in mine if chunks[0].number == 1)
    if first:
        await connection.fetch(CLEAR_OLDER, {"ids": first})
    rows: list[tuple[Any, ...]] = [
        (*key[:2], chunk.number, chunk.offset, chunk.text) for key, chunks in mine for chunk in chunks
    ]
    if rows:
        await connection.fetch(INSERT_OUTPUT, None, rows)
    return marked


async def read_output(database: Database, job_id: str, fence: int, after: int, *, most: int = READ_MOST) -> list[Chunk]:
    """The chunks that follow number `after`, at most `most`; none when a newer attempt has taken them away."""
    values = {"id": job_id, "fence": fence, "after": after, "most": most}
    async with database.reader.connect() as connection:
        sql, bound = READ_OUTPUT.sql(database.dialect), READ_OUTPUT.bind(database.dialect, values, ())
        found = await connection.exec_driver_sql(sql, bound)
        return [Chunk(row["number"], row["offset_chars"], row["text"]) for row in found.mappings()]
