"""Getting an endpoint to work: test sends with everything that was signed, sent and answered, and the challenge."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AfterValidator, Field
from starlette.responses import JSONResponse, Response

from services.webhooks import store_endpoints as store
from services.webhooks.deps import EndpointId, Held, MayRead, MayWrite, TestId
from services.webhooks.models import Endpoint
from services.webhooks.onboarding import await_probe, challenge, probe, read_probe
from services.webhooks.patterns import is_event_type
from services.webhooks.probe import TEST_TYPE
from services.webhooks.probe_examples import RESULT, TESTED, VERIFIED
from services.webhooks.reach import check_verified
from shared.db.tx import Tx
from shared.kernel.errors import Conflict, NotFound
from shared.runtime.bodies import Body
from shared.runtime.callers import Caller
from shared.runtime.examples import body_example, example
from shared.runtime.idempotency import Idempotent
from shared.runtime.json_bodies import JsonRoute

router = APIRouter(prefix="/webhooks/endpoints", tags=["webhook endpoints"], route_class=JsonRoute)


def _event_type(text: str) -> str:
    if not is_event_type(text):
        raise ValueError("must be segments of letters, digits, _ and - parted by dots, 128 characters at most")
    return text


Wait = Annotated[float, Field(ge=0, le=30, description="seconds to wait for the result; 0 answers 202 at once")]


class TestSend(Body):
    """`data` is the event's; without it, the first example of a registered type, or a few words of ours."""

    type: Annotated[str, AfterValidator(_event_type)] = TEST_TYPE
    data: dict[str, Any] | None = None
    wait_s: Wait = 0.0


class Verification(Body):
    wait_s: Wait = 0.0


@router.post(
    "/{endpoint_id}/test",
    status_code=202,
    summary="Send a test, and see what was signed",
    responses=TESTED,
    openapi_extra=body_example({"type": "order.paid", "data": {"id": 7}, "wait_s": 10}),
)
async def send_test(
    endpoint_id: EndpointId, caller: MayWrite, once: Idempotent, resources: Held, body: TestSend | None = None
) -> Response:
    """One event of its own, sent once, whatever the endpoint subscribes to; it counts for nothing in its health."""
    given = body or TestSend()
    async with once.tx() as tx:
        endpoint = await _locked(tx, endpoint_id, caller)
        check_verified(endpoint)
        if not endpoint.enabled:
            raise Conflict("the endpoint is disabled: enable it to test it", code="endpoint_disabled")
        data = given.data if given.data is not None else await store.read_example(tx, caller.tenant, given.type)
        if data is None:
            data = {"endpoint_id": endpoint.id, "message": "A test of this endpoint, sent by request."}
        event_id, job_id = await probe(tx, endpoint, given.type, data)
        location = {"Location": f"/v1/webhooks/endpoints/{endpoint.id}/tests/{job_id}"}
        accepted = once.answer(202, {"id": event_id, "delivery": job_id}, location)
    return await _waited(accepted, resources, job_id, caller, given.wait_s, location)


@router.post(
    "/{endpoint_id}/verify",
    status_code=202,
    summary="Send a challenge that the receiver must answer",
    responses=VERIFIED,
    openapi_extra=body_example({"wait_s": 10}),
)
async def verify(
    endpoint_id: EndpointId, caller: MayWrite, once: Idempotent, resources: Held, body: Verification | None = None
) -> Response:
    """A 2xx that echoes or signs it verifies the endpoint, and enables one that was made with `verify`."""
    async with once.tx() as tx:
        endpoint = await _locked(tx, endpoint_id, caller)
        event_id, job_id = await challenge(tx, endpoint)
        location = {"Location": f"/v1/webhooks/endpoints/{endpoint.id}/tests/{job_id}"}
        accepted = once.answer(202, {"id": event_id, "delivery": job_id}, location)
    return await _waited(accepted, resources, job_id, caller, (body or Verification()).wait_s, location)


@router.get("/{endpoint_id}/tests/{test_id}", summary="The result of a test or a challenge", responses=example(RESULT))
async def show(endpoint_id: EndpointId, test_id: TestId, caller: MayRead, resources: Held) -> dict[str, Any]:
    """What was signed to the byte, what was sent, what came back; kept as long as a completed job is."""
    found = await read_probe(resources.database, test_id, endpoint_id, caller.tenant)
    if found is None:
        raise NotFound(f"there is no test {test_id} of {endpoint_id}")
    return found


async def _waited(
    accepted: Response, resources: Held, job_id: str, caller: Caller, wait_s: float, headers: dict[str, str]
) -> Response:
    if not wait_s:
        return accepted
    found = await await_probe(resources.database, job_id, caller.tenant, wait_s)
    return accepted if found is None else JSONResponse(found, headers=headers)


async def _locked(tx: Tx, endpoint_id: str, caller: Caller) -> Endpoint:
    endpoint = await store.lock_endpoint(tx, endpoint_id, caller.tenant)
    if endpoint is None:
        raise NotFound(f"there is no endpoint {endpoint_id}")
    return endpoint
