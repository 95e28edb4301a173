"""Getting an endpoint to work: test sends and challenges, each a job of its own that is no delivery.

The invariants: a probe is sent by a worker, under the rules of every delivery (vetted addresses, one deadline, the
same signature); it counts for nothing in the endpoint's health, sequence or history, and is never retried. A challenge
that was met enables an endpoint that waited for it, if it is still reached at the same address.
"""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any, Final

import orjson

from services.webhooks.answers import classify
from services.webhooks.deps import TheirDesk, ThisAttempt
from services.webhooks.models import Endpoint
from services.webhooks.payload import encode_body
from services.webhooks.probe import BODY_MAX_BYTES, CHALLENGE_TYPE, challenge_met, probe_result, shown_probe
from services.webhooks.store_endpoints import lock_endpoint, set_verified
from shared.contracts.commands.webhooks import ProbeEndpoint
from shared.db.engine import Database
from shared.db.tx import Tx
from shared.kernel.clock import SECOND_US, rfc3339
from shared.kernel.errors import Conflict, TooLarge
from shared.kernel.ids import new_id
from shared.ledger.states import shown_state
from shared.ledger.store_read import read_job
from shared.transport.attempt import Dead
from shared.transport.enqueue import enqueue

LIMIT_S: Final = 60.0
LOOK_S: Final = 0.05
LOOK_MOST_S: Final = 0.5
_waiting: Final = asyncio.Semaphore(50)  # requests that look, again and again, whether a probe has ended
LANE: Final = "probes"  # of each tenant: a receiver that hangs holds few slots, however many tests are asked for
ENDED: Final = ("completed", "dead", "cancelled")


async def challenge(tx: Tx, endpoint: Endpoint) -> tuple[str, str]:
    """Send one, in the caller's transaction; (event id, job id). Raises Conflict for a kind that cannot answer."""
    if endpoint.kind != "http":
        raise Conflict(f"an endpoint of kind {endpoint.kind} has nobody who answers a challenge", code="not_verifiable")
    word = secrets.token_urlsafe(32)
    return await probe(tx, endpoint, CHALLENGE_TYPE, {"endpoint_id": endpoint.id, "challenge": word}, word)


async def probe(
    tx: Tx, endpoint: Endpoint, event_type: str, data: Mapping[str, Any], word: str | None = None
) -> tuple[str, str]:
    """(event id, job id). Raises TooLarge past BODY_MAX_BYTES, which keeps what is shown of it whole."""
    event_id = new_id("evt")
    body = encode_body(event_type, str(rfc3339(tx.now_us)), data, ours=True)
    size = len(body.encode())
    if size > BODY_MAX_BYTES:
        raise TooLarge(
            f"the payload of a test is {size} bytes, the limit is {BODY_MAX_BYTES}",
            code="payload_too_large", limit_bytes=BODY_MAX_BYTES, found_bytes=size,
        )  # fmt: skip
    command = ProbeEndpoint(endpoint_id=endpoint.id, event_id=event_id, body=body, challenge=word)
    return event_id, await enqueue(tx, command, tenant=endpoint.tenant, lane=LANE)


async def probe_endpoint(command: ProbeEndpoint, attempt: ThisAttempt, desk: TheirDesk) -> dict[str, Any] | None:
    desk.targets.forget(command.endpoint_id)  # who probes has just changed something
    target = await desk.targets.get(command.endpoint_id)
    if target is None or target.tenant != attempt.tenant:
        raise Dead("the endpoint has been deleted", kind="deleted")
    if target.fault is not None:
        raise Dead(target.fault, kind="fault")
    body = command.body.encode()
    signed = desk.signed(target, command.event_id, body)
    answer = await desk.send_signed(target, command.event_id, body, signed, min(target.timeout_s, LIMIT_S))
    result = probe_result(target, body, signed, answer, classify(answer, now_s=attempt.started_at / SECOND_US))
    if command.challenge is None:
        return result
    met = challenge_met(answer, command.challenge, target.signing(attempt.started_at))
    result["verdict"] = {**result["verdict"], "verified": met}
    if not met:
        if result["verdict"]["ok"]:
            hint = "the answer must be the challenge itself, or JSON with it as challenge, or its signature"
            result["verdict"] = {**result["verdict"], "ok": False, "outcome": "unverified", "hint": hint}
        return result
    async with attempt.tx() as tx:
        attempt.result = result
        if await lock_endpoint(tx, target.id, target.tenant):
            await set_verified(tx, target.id, target.tenant, target.url)
        tx.after_commit(lambda: desk.changed(target.tenant, target.id))
    return None


async def read_probe(database: Database, job_id: str, endpoint_id: str | None, tenant: str) -> dict[str, Any] | None:
    """Its document; None when it is no probe of this endpoint and tenant."""
    job = await read_job(database, job_id, tenant)
    if job is None or job["task"] != ProbeEndpoint.task:
        return None
    args = orjson.loads(job["args"])
    if endpoint_id is not None and args["endpoint_id"] != endpoint_id:
        return None
    result = orjson.loads(job["result"]) if job["result"] else None
    state = shown_state(job["state"], job["run_at"], job["attempt"], database.clock.now_us())
    times = {"created_at": rfc3339(job["created_at"]), "finished_at": rfc3339(job["finished_at"])}
    return {"id": job_id, "state": state, **times, **shown_probe(job, args, result)}


async def await_probe(database: Database, job_id: str, tenant: str, wait_s: float) -> dict[str, Any] | None:
    """As `read_probe`, once it has ended; None when it has not within `wait_s`, or too many wait in this process."""
    if _waiting.locked():
        return None
    look_s = LOOK_S
    try:
        async with _waiting, asyncio.timeout(wait_s):
            while True:
                found = await read_probe(database, job_id, None, tenant)
                if found is None or found["state"] in ENDED:
                    return found
                await asyncio.sleep(look_s)
                look_s = min(2 * look_s, LOOK_MOST_S)
    except TimeoutError:
        return None
