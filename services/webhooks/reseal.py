"""After a master key was put before another: what the older ones have sealed is sealed again with the newest.

Endpoints by id, in small batches, each in a transaction of its own and under the rows' locks; a run that is cut off
has lost at most one batch, and the job that goes on starts where it ended. What no key at hand opens stays as it is
and is counted: its key was taken away too early. Replaced secrets that sign no more are dropped on the way.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

import orjson

from services.webhooks.keyring import secret_context
from services.webhooks.reach import reach_context
from services.webhooks.secrets import Box, UnsealError
from services.webhooks.store_reseal import lock_sealed, write_sealed
from services.webhooks.targets import headers_context
from shared.contracts.commands.webhooks import ResealSecrets
from shared.db.tx import open_tx
from shared.runtime.resources import Resources
from shared.runtime.sweeping import ONE, SHARE
from shared.transport.attempt import Attempt
from shared.transport.enqueue import enqueue

BATCH: Final = 100
_PLACES: Final = {
    "secret": secret_context, "previous_secret": secret_context, "signing_key": secret_context,
    "headers": headers_context, "reach": reach_context,
}  # fmt: skip


async def reseal(attempt: Attempt, resources: Resources, box: Box, command: ResealSecrets) -> None:
    """End the attempt with its report: `resealed` and `unreadable` endpoints, and `more`, the job that goes on."""
    until_s = time.monotonic() + attempt.claim.timeout_s * SHARE
    after: str | None = command.after
    resealed, unreadable = 0, 0
    while after is not None and time.monotonic() < until_s and not attempt.is_stopping:
        async with open_tx(resources.database) as tx:
            rows = await lock_sealed(tx, after, BATCH)
            changed = []
            for row in rows:
                values, is_readable = sealed_again(row, box, tx.now_us)
                unreadable += not is_readable
                if any(values[name] != row[name] for name in values):
                    changed.append((row["id"], *values.values()))
            await write_sealed(tx, changed)
        resealed += len(changed)
        after = rows[-1]["id"] if len(rows) == BATCH else None
    async with attempt.tx() as tx:
        more = None
        if after is not None:
            more = await enqueue(tx, ResealSecrets(after=after), tenant=attempt.tenant, unique=ONE)
        attempt.result = {"resealed": resealed, "unreadable": unreadable, "more": more}


def sealed_again(row: Mapping[str, Any], box: Box, now_us: int) -> tuple[dict[str, Any], bool]:
    """The sealed columns as they are to be, and whether all of them could be read. Pure, but for fresh nonces."""
    is_readable = True

    def again(token: str | None, context: str) -> str | None:
        nonlocal is_readable
        if not token or not box.is_stale(token):
            return token
        try:
            return box.seal(box.open(token, context), context)
        except UnsealError:
            is_readable = False
            return token

    values: dict[str, Any] = {name: again(row[name], context(row["id"])) for name, context in _PLACES.items()}
    retired = [each for each in orjson.loads(row["retired"] or "[]") if (each[1] or 0) > now_us]
    retired = [[again(token, secret_context(row["id"])), until, public] for token, until, public in retired]
    values["retired"] = orjson.dumps(retired).decode() if retired else None
    return values, is_readable
