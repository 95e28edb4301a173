"""An attempt: one run of one handler for one claim, and the ways in which it can end.

Return completes the job. `Retry`, `Postpone`, `Dead` and `Discard` say otherwise; any other exception is a failure that
the command's policy judges. `Attempt.tx()` is the transaction whose effects commit together with the completion: it is
opened last, for database work only, and a stale attempt's effects roll back with it. The running attempt is found in
a contextvar, never in Taskiq's shared dependency context, which concurrent tasks overwrite for one another.
"""

import traceback
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import orjson
from pydantic import BaseModel

from shared.db.engine import Database
from shared.db.tx import Tx, open_tx
from shared.ledger import states
from shared.ledger.output import OUTPUT_LIMIT_BYTES
from shared.ledger.progress import Report, make_report, storable
from shared.ledger.states import Claim, Failure, Transition
from shared.ledger.store_read import read_children
from shared.ledger.store_record import record
from shared.transport.fingerprints import fingerprint, fingerprint_of, plain
from shared.transport.paced import OutputWriter, ProgressWriter
from shared.transport.telemetry import STALE_WRITES, jobs_ended
from shared.transport.wake import Wake

RESULT_LIMIT_BYTES = 64 * 1024
DETAIL_LIMIT_BYTES = 64 * 1024
MESSAGE_LIMIT = 2_000
TRACE_LIMIT = 8_000


class Retry(Exception):
    """Fail this attempt and run again after `after_s` seconds, if an attempt is left."""

    def __init__(self, after_s: float, reason: str = "") -> None:
        super().__init__(reason or f"retry after {after_s:g} s")
        self.after_s = after_s


class Dead(Exception):
    """Give up now: the job goes to the dead letters with this reason.

    Dead letters of one task, type and `kind` are one group; without a kind, those that were raised in one place.
    """

    def __init__(self, reason: str = "", *, kind: str = "") -> None:
        super().__init__(reason)
        self.kind = kind


class Postpone(Exception):
    """Not now: the job goes back for `after_s` seconds, and no attempt is spent, as long as it is not one too often."""

    def __init__(self, after_s: float, reason: str) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Discard(Exception):
    """The work is not wanted any more: the job ends as cancelled."""


class OutputTooLarge(Dead):
    """The attempt has written more than OUTPUT_LIMIT_BYTES; another one would as well."""

    def __init__(self, found_bytes: int) -> None:
        words = f"the output would be {found_bytes} bytes, the limit is {OUTPUT_LIMIT_BYTES}"
        super().__init__(words, kind="output_too_large")


class Stale(Exception):
    """Somebody else's decision about this job came first; nothing of this attempt may be written."""


class Attempt:
    def __init__(
        self,
        claim: Claim,
        database: Database,
        wake: Wake,
        writer: ProgressWriter | None = None,
        stopping: Callable[[], bool] = lambda: False,
        output: OutputWriter | None = None,
    ) -> None:
        self.claim = claim
        self.started_at = database.clock.now_us()
        self.result: Any = None
        self.detail: Any = None  # kept with the attempt, whatever its outcome: JSON, at most DETAIL_LIMIT_BYTES
        self.ended = False  # recorded by its own transaction
        self.over = False  # the handler has returned: what it left running may not report any more
        self.reported: Report | None = None
        self.written_bytes = 0  # of output
        self._writer = writer
        self._output = output
        self._database = database
        self._wake = wake
        self._stopping = stopping

    @property
    def job_id(self) -> str:
        return self.claim.id

    @property
    def tenant(self) -> str:
        return self.claim.tenant

    @property
    def number(self) -> int:
        """From 1."""
        return self.claim.attempt + 1

    @property
    def is_last(self) -> bool:
        return self.number >= self.claim.max_attempts

    @property
    def is_stopping(self) -> bool:
        """The process drains: who can end well within seconds should, rather than be cut off at the drain's limit."""
        return self._stopping()

    def progress(self, fraction: float, note: str = "") -> None:
        """Report how far this attempt is: 0 to 1, what lies outside is brought there; a note of 200 characters is kept.

        Costs little and may be called as often as one likes, on the handler's event loop: one in half a second is
        written, and the last one always. The next attempt starts anew. Raises ValueError for NaN; a database that
        does not take the report is no error.
        """
        if self.over or self.ended:
            return
        self.reported = make_report(fraction, note, self._database.clock.now_us(), self.reported)
        if self._writer is not None:
            self._writer.put(self.claim.key, self.reported)

    def write(self, text: str) -> None:
        """Append to the attempt's output, which whoever follows the job reads as it comes.

        Returns at once, and may be called for every token, on the handler's event loop: what was written in a fifth of
        a second reaches the ledger together, and all of it is there when the attempt's end is. NUL and lone surrogates
        are not kept. The next attempt starts anew. Raises OutputTooLarge, which ends the job unless it is caught, when
        the whole would pass OUTPUT_LIMIT_BYTES (as UTF-8); then nothing of `text` is kept.
        """
        if self.over or self.ended:
            return
        kept = storable(text)
        size = self.written_bytes + len(kept.encode())
        if size > OUTPUT_LIMIT_BYTES:
            raise OutputTooLarge(size)
        self.written_bytes = size
        if self._output is not None:
            self._output.put(self.claim.key, kept)

    async def children(self) -> Sequence[Mapping[str, Any]]:
        """The jobs that this one waited for: id, task, state, result (of JSON), error_type, error_message; by id.

        Read at once, outside any transaction: what a person retries meanwhile is seen as it is now.
        """
        return await read_children(self._database, self.claim.id)

    @asynccontextmanager
    async def tx(self, *, dead: str | None = None, failing: Retry | Dead | None = None) -> AsyncIterator[Tx]:
        """Commit the block's effects together with this job's completion (or its death, with `dead` as the reason, or
        with what raising `failing` would have come to: another attempt, or none).

        Set `attempt.result` before the block ends. Nothing that the handler does afterwards changes the outcome.
        Raises Stale, and rolls everything back, when this attempt is no longer the one that counts.
        """
        async with open_tx(self._database, wake=self._wake) as tx:
            yield tx
            ending = self._ending(dead) if failing is None else self._failing(failing)
            if self._writer is not None and (report := self._writer.unwritten(self.claim.key)) is not None:
                ending = replace(ending, progress=report)
            if self._output is not None:
                ending = replace(ending, output=self._output.unwritten(self.claim.key))
            recorded = await record(tx, [ending], sqlite=self._database.dialect == "sqlite", freed=tx.touched)
            if recorded != ["recorded"]:
                STALE_WRITES.labels(queue=self.claim.queue).inc()
                raise Stale(self.claim.id)
            if self.claim.lane is not None:
                tx.touched.add(self.claim.queue)  # the relay may wait for the lane
            if ending.state == "ready":
                tx.touched.add(self.claim.queue)  # the relay sleeps until the next `run_at` that it knows
        self.ended = True
        jobs_ended(self.claim.task, str(ending.outcome)).inc()

    def _failing(self, raised: Retry | Dead) -> Transition:
        now_us, delay_s = self._database.clock.now_us(), raised.after_s if isinstance(raised, Retry) else None
        failure = describe(self.claim.task, raised)
        return states.failed(
            self.claim, now_us, failure, started_at=self.started_at, delay_s=delay_s, detail=encode_detail(self.detail)
        )

    def _ending(self, dead: str | None) -> Transition:
        now_us = self._database.clock.now_us()
        detail = encode_detail(self.detail)
        if dead is not None:
            failure = Failure("Dead", dead, fingerprint(self.claim.task, "Dead", plain(dead)))
            return states.dead(self.claim, now_us, failure, started_at=self.started_at, detail=detail)
        try:
            result = encode_result(self.result)
        except (TypeError, ValueError) as error:
            raise Dead(f"unrecordable: {error}") from None
        return states.completed(self.claim, now_us, started_at=self.started_at, result=result, detail=detail)


def describe(task: str, raised: BaseException) -> Failure:
    """Type, bounded message, the end of the traceback, and the fingerprint that puts it with its like."""
    said = isinstance(raised, (Dead, Retry, Discard, Postpone))
    trace = None if said else "".join(traceback.format_exception(raised))[-TRACE_LIMIT:]
    kind = type(raised).__name__  # Dead, Retry and Discard show as such
    alike = raised.kind if isinstance(raised, Dead) else ""
    found = fingerprint(task, kind, alike) if alike else fingerprint_of(task, raised)
    return Failure(kind, str(raised)[:MESSAGE_LIMIT], found, trace)


current_attempt: ContextVar[Attempt] = ContextVar("holdfast_attempt")


def get_attempt() -> Attempt:
    """The running attempt, as a dependency of handlers; LookupError outside one."""
    return current_attempt.get()


def encode_result(value: Any) -> str | None:
    """JSON of a handler's return value; raises ValueError past RESULT_LIMIT_BYTES, TypeError when it is not JSON."""
    if value is None:
        return None
    encoded = value.model_dump_json().encode() if isinstance(value, BaseModel) else orjson.dumps(value)
    if len(encoded) > RESULT_LIMIT_BYTES:
        raise ValueError(f"the result is {len(encoded)} bytes, the limit is {RESULT_LIMIT_BYTES}")
    return encoded.decode()


def encode_detail(value: Any) -> str | None:
    """What is kept beside the outcome; it must never change the outcome, so what is no JSON is kept as its words."""
    if value is None:
        return None
    try:
        plain = isinstance(value, BaseModel)
        options = orjson.OPT_NON_STR_KEYS
        encoded = value.model_dump_json().encode() if plain else orjson.dumps(value, default=str, option=options)
    except (TypeError, ValueError) as error:
        encoded = orjson.dumps({"unreadable": f"{error}"[:200]})
    return encoded.decode() if len(encoded) <= DETAIL_LIMIT_BYTES else '{"cut": "the detail was too large to keep"}'
