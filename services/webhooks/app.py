"""The webhooks service's HTTP app: endpoints, events, deliveries."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.webhooks.batches import BATCH_LIMIT_BYTES
from services.webhooks.desk import Desk
from services.webhooks.routes import asking, deliveries, endpoints, event_types, events, onboarding, replays
from services.webhooks.schema import OWNER
from services.webhooks.secrets import Box
from services.webhooks.sender import Sender
from services.webhooks.settings import WebhooksSettings
from shared.kernel.errors import Misconfigured
from shared.kernel.settings import CoreSettings, load
from shared.ledger.schema import LEDGER
from shared.runtime.addresses import AddressPolicy
from shared.runtime.http import build_app
from shared.runtime.resources import Resources


def create_app(settings: CoreSettings | None = None, webhooks: WebhooksSettings | None = None) -> FastAPI:
    """Settings come from the environment unless they are given. Raises Misconfigured."""
    core = settings or load(CoreSettings)
    chosen = webhooks or load(WebhooksSettings)
    try:
        box = Box(core.master_key.get_secret_value())
    except Misconfigured as wrong:
        raise Misconfigured(f"HOLDFAST_MASTER_KEY: {wrong.message}") from None
    policy = AddressPolicy.from_cidrs(core.egress_allow, frozenset(chosen.egress_ports) or None)

    @asynccontextmanager
    async def opened(app: FastAPI, resources: Resources) -> AsyncIterator[None]:
        sender = Sender(
            policy, limit=chosen.connections_max, limit_per_host=chosen.connections_per_host, proxy=chosen.proxy
        )
        app.state.webhooks = desk = Desk(resources, chosen, box, policy, sender)
        try:
            yield
        finally:
            await desk.close()

    return build_app(
        "Holdfast webhooks",
        core,
        [
            events.router,
            endpoints.router,
            deliveries.router,
            onboarding.router,
            replays.router,
            asking.router,
            event_types.router,
        ],  # in this order routes are tried: the hottest first
        owners=[LEDGER, OWNER],
        opened=opened,
        body_limits={"/v1/webhooks/events/batch": BATCH_LIMIT_BYTES},
    )
