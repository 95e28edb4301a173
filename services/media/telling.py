"""How the media service tells of what has happened: an event is a job of the webhooks service, in the transaction of
the state that it reports.
"""

from shared.contracts.commands.webhooks import PublishEvent
from shared.contracts.events import Event
from shared.db.tx import Tx
from shared.kernel.clock import rfc3339
from shared.kernel.ids import new_id
from shared.transport.enqueue import enqueue


async def tell(tx: Tx, tenant: str, event: Event) -> None:
    command = PublishEvent(
        event_id=new_id("evt"),
        type=event.type,
        data=event.model_dump(mode="json"),
        occurred_at=rfc3339(tx.now_us) or "",
    )
    await enqueue(tx, command, tenant=tenant)
