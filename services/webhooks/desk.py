"""What the webhooks service holds in one process, beside the resources that every service has.

Opened and closed by the app's lifespan; the sender starts with the first delivery, so a process that only serves HTTP
has no pool of connections.

Which endpoints an event goes to is answered from memory: a query for each accepted event would cost as much as
accepting it does. A tenant's enabled endpoints are at most `fresh_s` (a second) old; what is changed through this
process is forgotten in the moment it commits, so the next event accepted here sees it (`services.webhooks.catalogue`).
Deliveries know their endpoint in the same way, and bodies of events, which never change until they are erased, for a
minute.
"""

import asyncio
import math
from typing import Final

from services.webhooks.answers import Answer
from services.webhooks.catalogue import Catalogue
from services.webhooks.destinations import KINDS
from services.webhooks.destinations.base import Destination
from services.webhooks.events import Subscription
from services.webhooks.health import HealthKeeper
from services.webhooks.lookup import Lookup
from services.webhooks.secrets import Box
from services.webhooks.sender import Sender
from services.webhooks.sequence import numbered
from services.webhooks.settings import WebhooksSettings
from services.webhooks.signing import signature_headers
from services.webhooks.store_events import Sent, read_sent
from services.webhooks.store_retries import TypeRetry, read_type_retries, type_key
from services.webhooks.store_sequence import NO_NUMBER, number_key, read_numbers
from services.webhooks.targets import Target, load_targets
from shared.contracts.commands.webhooks import DeliverWebhook
from shared.contracts.retry import Schedule
from shared.kernel.clock import SECOND_US
from shared.runtime.addresses import AddressPolicy
from shared.runtime.resources import Resources

TARGETS_HELD: Final = 20_000
BODY_OVERHEAD_BYTES: Final = 200
BODIES_S: Final = 60.0
"""Long enough for a fan-out and the first retry; then a payload that was erased meanwhile is not sent any more."""
NUMBERS_HELD: Final = 20_000
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
        self._waker = resources.waker
        self._sender = sender
        self._starting = asyncio.Lock()
        self._started = False
        self._destinations: dict[str, Destination] = {}
        self.catalogue = Catalogue(database, fresh_s=settings.fresh_s)
        self.targets: Lookup[Target] = Lookup(
            lambda ids: load_targets(database, box, ids),
            clock_s, ttl_s=settings.fresh_s, room=TARGETS_HELD, patience_s=PATIENCE_S,
        )  # fmt: skip
        self.bodies: Lookup[Sent] = Lookup(
            lambda ids: read_sent(database, ids),
            clock_s, ttl_s=BODIES_S, room=settings.events_cache_bytes,
            weigh=lambda sent: BODY_OVERHEAD_BYTES + len(sent.body), patience_s=PATIENCE_S,
        )  # fmt: skip
        self._type_retries: Lookup[TypeRetry] = Lookup(
            lambda keys: read_type_retries(database, keys),
            clock_s, ttl_s=settings.fresh_s, room=TARGETS_HELD, patience_s=PATIENCE_S,
        )  # fmt: skip
        self.health = HealthKeeper(
            database, resources.waker.wake, settings.health,
            forget=self.targets.forget, changed=self.changed, subscribed=self.subscribed,
        )  # fmt: skip
        self._numbers: Lookup[int] = Lookup(
            lambda keys: read_numbers(database, keys),
            clock_s, ttl_s=math.inf, room=NUMBERS_HELD, patience_s=PATIENCE_S,
        )  # fmt: skip

    async def subscribed(self, tenant: str, event_type: str) -> list[Subscription]:
        """The tenant's enabled endpoints that are told of this type, whatever else they look at."""
        return (await self.catalogue.audience(tenant)).named(event_type)

    async def type_retry(self, tenant: str, event_type: str) -> Schedule | None:
        """The schedule of events of this type, where somebody has given it one; asked for when an attempt failed."""
        found = await self._type_retries.get(type_key(tenant, event_type))
        return found.schedule if found is not None else None

    async def numbered(self, target: Target, event_id: str, body: bytes) -> bytes:
        """What is sent to it: the event's body, with this delivery's number if it has one."""
        if not target.numbered:
            return body
        number = await self._numbers.get(number_key(event_id, target.id))
        return body if number is None or number == NO_NUMBER else numbered(body, number)

    def changed(self, tenant: str, endpoint_id: str) -> None:
        """To be called when a change of an endpoint has committed."""
        self.catalogue.forget(tenant)
        self.targets.forget(endpoint_id)

    def paced(self) -> None:
        """To be called when limits of an endpoint have committed: the relay reads its lanes again."""
        self._waker.changed(DeliverWebhook.queue)

    async def send(self, target: Target, event_id: str, body: bytes, *, timeout_s: float) -> Answer:
        """One signed attempt; what the network does is in the answer. The signature's time is that of this attempt."""
        return await self.send_signed(target, event_id, body, self.signed(target, event_id, body), timeout_s)

    def signed(self, target: Target, event_id: str, body: bytes) -> dict[str, str]:
        """The signature's three headers, of now."""
        now_us = self._clock.now_us()
        return signature_headers(event_id, now_us // SECOND_US, body, target.signing(now_us))

    async def send_signed(
        self, target: Target, event_id: str, body: bytes, signed: dict[str, str], timeout_s: float
    ) -> Answer:
        if not self._started:
            await self.start()
        headers = {**target.headers, **signed}
        return await self.destination(target.kind).send(target, event_id, body, headers, timeout_s)

    def destination(self, kind: str) -> Destination:
        """The process's one of that kind, made when it is first needed."""
        found = self._destinations.get(kind)
        if found is None:
            found = self._destinations[kind] = KINDS[kind](self._sender)
        return found

    async def start(self) -> None:
        async with self._starting:
            if not self._started:
                await self._sender.start()
                self._started = True

    async def close(self) -> None:
        await self.health.close()
        for lookup in (self.catalogue, self.targets, self.bodies, self._type_retries, self._numbers):
            await lookup.close()
        for destination in self._destinations.values():
            await destination.close()
        await self._sender.close()
