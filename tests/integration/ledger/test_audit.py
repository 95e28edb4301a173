"""Every honest way for a job to end leaves a ledger that holds."""

from shared.ledger import states
from shared.ledger.audit import audit
from shared.ledger.states import Failure
from tests.integration.ledger.jobs import NOW_US, born, claimed, job, recorded


async def test_every_ending_of_a_handler_holds(database):
    inc = await born(database, "inc_a")
    held = await claimed(database, inc, *(job(number, max_attempts=1) for number in range(6)))
    own_words = Failure("EndpointDeleted", "the endpoint has been deleted")  # a service's own kind of Discard
    await recorded(
        database,
        states.completed(held[0], NOW_US, started_at=NOW_US),
        states.failed(held[1], NOW_US, Failure("Boom", "boom"), started_at=NOW_US, delay_s=1.0),
        states.dead(held[2], NOW_US, Failure("Dead", "no"), started_at=NOW_US),
        states.discarded(held[3], NOW_US, own_words, started_at=NOW_US),
        states.released(held[4], NOW_US, "a drain", started_at=NOW_US),
        states.crashed(held[5], NOW_US, "crash"),
    )
    report = await audit(database)
    assert report.ok, report.report()
    assert report.states == {"completed": 1, "dead": 2, "cancelled": 1, "ready": 2}
