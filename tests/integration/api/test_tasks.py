"""The handlers as a worker runs them: through the engine's executor, with the app's dependencies."""

from typing import Any

import taskiq_fastapi

from services.api.app import create_app
from services.api.settings import ApiSettings
from services.api.tasks import TASKS
from shared.contracts.command import Command
from shared.contracts.commands.api import COMMANDS, PurgeHistory, SendWelcomeEmail
from shared.db.tx import open_tx
from shared.kernel.ids import new_id
from shared.ledger.states import Transition
from shared.ledger.store_claim import claim
from shared.ledger.store_incarnation import born
from shared.testing.dispatching import dispatch_due
from shared.transport.broker import HoldfastBroker
from shared.transport.enqueue import enqueue
from shared.transport.execution import Executor
from tests.integration.http.places import Place


def test_every_command_of_the_service_has_its_handler() -> None:
    assert {command.task for command in TASKS} == set(COMMANDS)


async def run(place: Place, command: Command, api: ApiSettings) -> Transition | None:
    """Accept, dispatch, claim and run one command as a worker would."""
    database = place.database
    async with open_tx(database) as tx:
        job = await enqueue(tx, command, tenant="acme")
    now_us, incarnation = database.clock.now_us(), new_id("inc")
    await born(database, incarnation, queue="api", role="test", host="h", pid=1, capacity=1, now_us=now_us)
    await dispatch_due(database, "api", now_us + 1, 10)
    (claimed,) = await claim(database, [job], incarnation, now_us)
    broker = HoldfastBroker(place.settings, "api", COMMANDS).bind(TASKS)
    app = create_app(place.settings, api)
    async with app.router.lifespan_context(app):
        taskiq_fastapi.populate_dependency_context(broker, app)
        return await Executor(broker, database, lambda _: None, 1.0).run(claimed)


async def test_a_purge_completes_with_its_counts(place: Place) -> None:
    assert await run(place, PurgeHistory(), ApiSettings()) is None  # it has recorded its own end
    (ended,) = await place.rows("SELECT state, result FROM job")
    assert ended["state"] == "completed"
    assert ended["result"] == (
        '{"job":0,"job_attempt":0,"dedup":0,"job_action":0,"lane":0,"api_hourly":0,"api_synced_items":0,"job_tally":0,"more":null}'
    )


async def test_an_email_nobody_takes_is_tried_again(place: Place) -> None:
    away: Any = {"smtp_url": "smtp://127.0.0.1:9"}
    command = SendWelcomeEmail(user_id="user_1", email="a@b.cd", name="Ada")
    ended = await run(place, command, ApiSettings(**away))
    assert ended is not None
    assert (ended.state, ended.outcome, ended.attempt) == ("ready", "failed", 1)
    assert ended.failure is not None
    assert "127.0.0.1" in ended.failure.message


async def test_an_address_that_is_none_is_dead(place: Place) -> None:
    ended = await run(place, SendWelcomeEmail(user_id="user_1", email="nobody", name="Ada"), ApiSettings())
    assert ended is not None
    assert ended.state == "dead"
