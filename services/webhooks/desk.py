"""What the webhooks service holds in one process, beside the resources that every service has.

Opened and closed by the app's lifespan; the sender starts with the first delivery, so a process that only serves HTTP
has no pool of connections.

Which endpoints an event goes to is answered from memory: a query for each accepted event would cost as much as
accepting it does. A tenant's enabled endpoints are at most `fresh_s` (a second) old; what is changed through this
process is forgotten in the moment it commits, so the next event accepted here sees it. Deliveries know their
endpoint in the same way, and bodies of events, which never change, for as long as there is room.
"""

import asyncio
import math
from typing import Final

from services.webhooks.answers import Answer
from services.webhooks.events import Subscription, Subscriptions
from services.webhooks.lookup import Lookup
from services.webhooks.secrets import Box
from services.webhooks.sender import Sender
from services.webhooks.settings import WebhooksSettings
from services.webhooks.signing import signature_headers
from services.webhooks.store_events import read_bodies, read_subscriptions
from services.webhooks.targets import Target, load_targets
from shared.kernel.clock import SECOND_US
from shared.runtime.addresses import AddressPolicy
from shared.runtime.resources import Resources

SUBSCRIPTIONS_HELD: Final = 100_000  # endpoints, over all tenants
TARGETS_HELD: Final = 20_000
BODY_OVERHEAD_BYTES: Final = 200
PATIENCE_S: Final = 10.0  # of a delivery, whose attempt should not be spent by a restart of the database


class Desk:
    def __init__(
        self, resources: Resources, settings: WebhooksSettings, box: Box, policy: AddressPolicy, sender: Sender
    ) -> None:
        database = resources.database
        clock_s = database.clock.monotonic_s
        self.settings = settings
        self.box = box
        self.policy = policy
        self._clock = database.clock
        self._sender = sender
        self._starting = asyncio.Lock()
        self._started = False
        self._subscriptions: Lookup[Subscriptions] = Lookup(
            lambda tenants: read_subscriptions(database, tenants),
            clock_s, ttl_s=settings.fresh_s, room=SUBSCRIPTIONS_HELD, weigh=lambda matcher: 1 + len(matcher),
        )  # fmt: skip
        self.targets: Lookup[Target] = Lookup(
            lambda ids: load_targets(database, box, ids),
            clock_s, ttl_s=settings.fresh_s, room=TARGETS_HELD, patience_s=PATIENCE_S,
        )  # fmt: skip
        self.bodies: Lookup[bytes] = Lookup(
            lambda ids: read_bodies(database, ids),
            clock_s, ttl_s=math.inf, room=settings.events_cache_bytes,
            weigh=lambda body: BODY_OVERHEAD_BYTES + len(body), patience_s=PATIENCE_S,
        )  # fmt: skip

    async def subscribed(self, tenant: str, event_type: str) -> list[Subscription]:
        """The tenant's enabled endpoints that want this type."""
        matcher = await self._subscriptions.get(tenant)
        return matcher.of(event_type) if matcher is not None else []

    def changed(self, tenant: str, endpoint_id: str) -> None:
        """To be called when a change of an endpoint has committed."""
        self._subscriptions.forget(tenant)
        self.targets.forget(endpoint_id)

    async def send(self, target: Target, event_id: str, body: bytes, *, timeout_s: float) -> Answer:
        """One signed attempt; what the network does is in the answer. The signature's time is that of this attempt."""
        if not self._started:
            await self.start()
        now_us = self._clock.now_us()
        signed = signature_headers(event_id, now_us // SECOND_US, body, target.signing(now_us))
        return await self._sender.send(target.url, body, {**target.headers, **signed}, timeout_s)

    async def start(self) -> None:
        async with self._starting:
            if not self._started:
                await self._sender.start()
                self._started = True

    async def close(self) -> None:
        for lookup in (self._subscriptions, self.targets, self.bodies):
            await lookup.close()
        await self._sender.close()
