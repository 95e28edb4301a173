"""An endpoint's limits in its lane's row, which the relay reads: written with the endpoint, in one transaction."""

from services.webhooks.models import Endpoint
from services.webhooks.selection import lane_policy
from shared.contracts.commands.webhooks import DeliverWebhook
from shared.db.tx import Tx
from shared.ledger.store_limits import clear_limits, put_limits


async def set_pace(tx: Tx, endpoint: Endpoint) -> None:
    """Whoever calls it tells the relay after the commit."""
    policy = lane_policy(endpoint)
    if policy is None:
        await drop_pace(tx, endpoint)
    else:
        await put_limits(tx, DeliverWebhook.queue, endpoint.tenant, endpoint.id, policy, tx.now_us)


async def drop_pace(tx: Tx, endpoint: Endpoint) -> None:
    await clear_limits(tx, DeliverWebhook.queue, endpoint.tenant, endpoint.id, tx.now_us)
