"""Names in Redis: the stream, its one consumer group, an entry's one field, the channels of a queue:
one wakes its relay, one tells its workers which jobs somebody wants cancelled.
"""

from collections.abc import Mapping

GROUP = "holdfast"
JOB = "j"  # the field of an entry, whose value is the job's id
SOLO = "s"  # the same, of a job that must run alone in its process


def job_of(fields: Mapping[bytes, bytes] | None) -> tuple[str, bool]:
    """(job id, whether it runs alone) of an entry; the empty id is a stray that is not ours."""
    for name, solo in ((JOB, False), (SOLO, True)):
        value = (fields or {}).get(name.encode())
        if value is not None:
            # A NUL cannot be asked of PostgreSQL: one such entry would fail the claim of its whole batch, for ever.
            return ("" if b"\0" in value else value.decode(errors="replace")), solo
    return "", False


def stream(queue: str) -> str:
    return f"holdfast:{queue}"


def wake_channel(queue: str) -> str:
    return f"holdfast:wake:{queue}"


def control_channel(queue: str) -> str:
    return f"holdfast:control:{queue}"
