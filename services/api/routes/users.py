"""Signup: the user and the welcome email's job exist together or not at all."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AfterValidator
from starlette.responses import Response

from services.api import store
from services.api.deps import Held, MayReadUsers, MayWriteUsers, UserId
from services.api.examples import NEW_USER, SIGNED_UP, USER
from services.api.mail import check_address
from services.api.tasks import send_welcome
from shared.kernel.clock import rfc3339
from shared.kernel.errors import Conflict, NotFound
from shared.kernel.ids import new_id
from shared.runtime.bodies import Body, Line
from shared.runtime.examples import body_example, example
from shared.runtime.idempotency import Idempotent
from shared.runtime.json_bodies import JsonRoute
from shared.runtime.tasks import DurableTasks

router = APIRouter(prefix="/users", tags=["users"], route_class=JsonRoute)


class NewUser(Body):
    email: Annotated[str, AfterValidator(check_address)]
    name: Line


@router.post(
    "", status_code=201, summary="Sign up", openapi_extra=body_example(NEW_USER), responses=example(SIGNED_UP, 201)
)
async def sign_up(body: NewUser, caller: MayWriteUsers, once: Idempotent, tasks: DurableTasks) -> Response:
    """The user, and the job that sends the welcome email: both are there when this answers."""
    user_id = new_id("user")
    async with once.tx() as tx:
        if not await store.insert_user(tx, user_id=user_id, tenant=caller.tenant, email=body.email, name=body.name):
            raise Conflict("there is a user with this email address", code="email_taken")
        job_id = tasks.add_task(send_welcome, user_id=user_id, email=body.email, name=body.name)
        return once.answer(201, {"id": user_id, "job": job_id}, {"Location": f"/v1/users/{user_id}"})


@router.get("/{user_id}", summary="Show a user", responses=example(USER))
async def show_user(user_id: UserId, caller: MayReadUsers, resources: Held) -> dict[str, Any]:
    row = await store.read_user(resources.database, user_id, caller.tenant)
    if row is None:
        raise NotFound(f"there is no user {user_id}")
    return {**row, "created_at": rfc3339(row["created_at"])}
