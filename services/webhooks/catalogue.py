"""What one process remembers of its tenants' audiences and schemas, so that accepting an event asks nobody.

An audience is at most `fresh_s` old: then its mark is read, and the rows only if that has changed. What is changed
through this process is forgotten in the moment it commits. Schemas are compiled once for each version.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.webhooks.events import Audience, KnownType
from services.webhooks.lookup import Lookup
from services.webhooks.schemas import Validator, check_data
from services.webhooks.store_audience import read_audiences, read_marks, read_validators, schema_key
from shared.db.engine import Database
from shared.kernel.errors import BadInput, Conflict

AUDIENCE_HELD: Final = 100_000  # endpoints and types, over all tenants
SCHEMAS_HELD_BYTES: Final = 16 * 1024 * 1024  # as JSON; compiled ones take a few times as much
_TRIES: Final = 3


class Catalogue:
    def __init__(self, database: Database, *, fresh_s: float) -> None:
        self._database = database
        clock_s = database.clock.monotonic_s
        self._read_before: OrderedDict[str, Audience] = OrderedDict()
        self._weight = 0
        self._audiences: Lookup[Audience] = Lookup(
            self._read, clock_s, ttl_s=fresh_s, room=AUDIENCE_HELD, weigh=lambda audience: 1 + len(audience)
        )
        self._validators: Lookup[tuple[Validator, int]] = Lookup(
            lambda keys: read_validators(database, keys),
            clock_s, ttl_s=math.inf, room=SCHEMAS_HELD_BYTES, weigh=lambda held: held[1],
        )  # fmt: skip

    async def audience(self, tenant: str) -> Audience:
        return await self._audiences.get(tenant) or Audience([])

    async def check(self, tenant: str, event_type: str, data: Mapping[str, Any]) -> KnownType | None:
        """Hold the event to its type, if somebody has registered that. Raises BadInput, Conflict."""
        for _ in range(_TRIES):
            known = (await self.audience(tenant)).types.get(event_type)
            if known is None:
                return None
            if known.archived:
                raise BadInput(
                    f"the event type {event_type} is archived: no more events of it are taken",
                    code="event_type_archived", pointer="/type", found=event_type,
                )  # fmt: skip
            if not known.has_schema:
                return known
            held = await self._validators.get(schema_key(known))
            if held is not None:
                check_data(held[0], event_type, data)
                return known
            self.forget(tenant)  # it has just changed
        raise Conflict(f"the event type {event_type} keeps changing", retry_after_s=1)

    def forget(self, tenant: str) -> None:
        self._audiences.forget(tenant)

    async def close(self) -> None:
        await self._audiences.close()
        await self._validators.close()

    async def _read(self, tenants: Sequence[str]) -> dict[str, Audience]:
        marks = await read_marks(self._database, tenants)
        same = {
            tenant: held
            for tenant in tenants
            if (held := self._read_before.get(tenant)) is not None and held.mark == marks[tenant]
        }
        changed = [tenant for tenant in tenants if tenant not in same]
        found = await read_audiences(self._database, changed, marks) if changed else {}
        for tenant, audience in found.items():
            self._keep(tenant, audience)
        return {**same, **found}

    def _keep(self, tenant: str, audience: Audience) -> None:
        before = self._read_before.pop(tenant, None)
        self._weight += 1 + len(audience) - (0 if before is None else 1 + len(before))
        self._read_before[tenant] = audience
        while self._weight > AUDIENCE_HELD:
            _, gone = self._read_before.popitem(last=False)
            self._weight -= 1 + len(gone)
