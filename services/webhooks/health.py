"""The health of endpoints as deliveries find it: what the end of an attempt changes is written, in groups.

What changes is decided on the ledger's own row, under its lock: however many workers see an endpoint fail, one of
them opens its breaker, and one disables it and says so. Successes of an endpoint that is well are only counted
(`services.webhooks.tallies`). An attempt waits for its group for WAIT_S at most, and ends as it would have ended
whether or not it was written: a delivery that was made is never made again because the database was slow.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from services.webhooks import operational
from services.webhooks import store_health as store
from services.webhooks.breaker import FRESH, Rules, Seen, State, is_hopeless, reset, step
from services.webhooks.events import Subscription
from services.webhooks.operational import Listeners, Report
from services.webhooks.patterns import ENDPOINT_DISABLED, ENDPOINT_RECOVERED
from services.webhooks.store_past import remember
from services.webhooks.tallies import Tallies
from services.webhooks.targets import Target
from shared.contracts.commands.webhooks import DeliverWebhook
from shared.db.committer import Committer
from shared.db.engine import Database
from shared.db.tx import Tx, open_tx
from shared.kernel.clock import SECOND_US
from shared.kernel.logs import get_logger
from shared.transport.wake import CONFIG, Wake

GROUP_MOST: Final = 50
GROUP_CAP_S: Final = 5.0
WAITING_MOST: Final = 5_000
PATIENCE_S: Final = 20.0  # of a group; nobody need wait for it any more
WAIT_S: Final = 5.0  # of an attempt, whose endpoint's timeout leaves it 15 s for everything beside the request
log = get_logger(__name__)


class Sight(NamedTuple):
    """One end of an attempt, and whose. `quiet`: of an operational event, of which nobody is told."""

    target: Target
    seen: Seen
    quiet: bool = False


class HealthKeeper:
    def __init__(
        self,
        database: Database,
        wake: Wake,
        rules: Rules,
        *,
        forget: Callable[[str], None],
        changed: Callable[[str, str], None],
        subscribed: Callable[[str, str], Awaitable[Sequence[Subscription]]],
    ) -> None:
        """`forget` what is known of an endpoint, `changed` what all know of it: both after a commit.

        `subscribed`: who of a tenant is told of a type of events.
        """
        self._database = database
        self._wake = wake
        self.rules = rules
        self._forget = forget
        self._changed = changed
        self._subscribed = subscribed
        self._tallies = Tallies(round(rules.window_s * SECOND_US))
        self._writing: set[asyncio.Task[None]] = set()
        self._committer: Committer[Sight, None] = Committer(
            "health", self._flush, max_batch=GROUP_MOST, max_waiting=WAITING_MOST, patience_s=PATIENCE_S
        )

    async def succeeded(self, target: Target, started_at: int) -> None:
        """Written only if it changes something."""
        now_us = self._database.clock.now_us()
        self._tallies.add(target.id, now_us)
        if target.health is FRESH:
            return
        seen = Seen("ok", started_at, now_us)
        if step(target.health, seen, self.rules, target.limit) != target.health:
            await self._submit(Sight(target, seen))

    async def start_over(self, tx: Tx, endpoint_id: str, tenant: str) -> None:
        """Somebody has switched it on or changed where it is; after the endpoint's own row was locked."""
        known = await store.lock_health(tx, [endpoint_id], [endpoint_id], tx.now_us)
        if endpoint_id in known:
            states = {(tenant, endpoint_id): reset(known[endpoint_id], tx.now_us)}
            if await store.write_health(tx, states, known, tx.now_us):
                tx.after_commit(lambda: self._wake(DeliverWebhook.queue, CONFIG))

    async def close(self) -> None:
        await self._committer.settle()

    async def failed(
        self, target: Target, started_at: int, why: str, *, throttled: bool, told: bool, quiet: bool
    ) -> None:
        seen = self.sight(target, started_at, why, throttled=throttled, told=told)
        await self._submit(Sight(target, seen, quiet))

    def sight(self, target: Target, started_at: int, why: str, *, throttled: bool, told: bool) -> Seen:
        """Of a failed attempt, with the successes before it: to be written once, or given back."""
        now_us = self._database.clock.now_us()
        others = self._tallies.take(target.id, now_us)
        return Seen("throttled" if throttled else "failed", started_at, now_us, why, others, told)

    def give_back(self, target: Target, seen: Seen) -> None:
        """It was not written."""
        self._tallies.give_back(target.id, seen.others, seen.ended_at)

    async def listeners(self, tenants: Iterable[str]) -> Listeners:
        """Whom `write` may have to tell; to be asked before its transaction begins."""
        types = (ENDPOINT_DISABLED, ENDPOINT_RECOVERED)
        return {(tenant, each): await self._subscribed(tenant, each) for tenant in sorted(tenants) for each in types}

    async def _submit(self, sight: Sight) -> None:
        """Returns when it is written, and otherwise after a while; raises nothing of what went wrong."""
        if len(self._writing) >= WAITING_MOST:
            self.give_back(sight.target, sight.seen)
            log.warning("health_unwritten", endpoint=sight.target.id, error="too much waits to be written")
            return
        task = asyncio.create_task(self._committer.submit(sight), name="health-submit")
        self._writing.add(task)
        task.add_done_callback(partial(self._submitted, sight))
        done, _ = await asyncio.wait({task}, timeout=WAIT_S)
        if not done:
            log.warning("health_late", endpoint=sight.target.id, waited_s=WAIT_S)

    def _submitted(self, sight: Sight, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            self.give_back(sight.target, sight.seen)
            log.warning("health_unwritten", endpoint=sight.target.id, error=repr(error))

    async def _flush(self, group: Sequence[Sight]) -> Sequence[None]:
        listeners = await self.listeners({sight.target.tenant for sight in group if not sight.quiet})
        async with open_tx(self._database, cap_s=GROUP_CAP_S, wake=self._wake) as tx:
            await operational.tell(tx, await self.write(tx, group), listeners)
        return [None] * len(group)

    async def write(self, tx: Tx, group: Sequence[Sight]) -> list[Report]:
        """In the caller's transaction; what is to be told of it there, all at once."""
        new = sorted({sight.target.id for sight in group if sight.target.health is FRESH})
        before = await store.lock_health(tx, sorted({sight.target.id for sight in group}), new, tx.now_us)
        after = dict(before)
        hopeless: dict[str, Sight] = {}
        reports: list[Report] = []
        for sight in group:
            target = sight.target
            known = after.get(target.id)
            if known is None:
                continue  # deleted meanwhile
            state = after[target.id] = step(known, sight.seen, self.rules, target.limit)
            if known.troubled and not state.troubled:
                reports += self._recovered(tx, sight, known)
            if sight.seen.kind == "ok":
                hopeless.pop(target.id, None)  # not everything failed
            elif is_hopeless(state, sight.seen.ended_at, self.rules):
                hopeless[target.id] = sight
        for sight in hopeless.values():
            if (told := await self._give_up(tx, sight, after[sight.target.id])) is not None:
                after[sight.target.id] = replace(after[sight.target.id], troubled=True)  # so its recovery is told too
                reports += told
        await self._write_changed(tx, group, before, after)
        return reports

    async def _write_changed(
        self, tx: Tx, group: Sequence[Sight], before: Mapping[str, State], after: Mapping[str, State]
    ) -> None:
        tenants = {sight.target.id: sight.target.tenant for sight in group}
        changed = {(tenants[key], key): state for key, state in after.items() if state != before[key]}
        if changed and await store.write_health(tx, changed, before, tx.now_us):
            tx.after_commit(lambda: self._wake(DeliverWebhook.queue, CONFIG))
        for (_, endpoint_id), state in changed.items():
            self._note(tx, endpoint_id, before[endpoint_id], state)

    def _recovered(self, tx: Tx, sight: Sight, known: State) -> list[Report]:
        target = sight.target
        tx.after_commit(partial(log.info, "endpoint_recovered", endpoint=target.id, failures=known.failures))
        if sight.quiet:
            return []
        since, count = known.failing_since, known.failures
        return [operational.recovered(target.tenant, target.id, tx.now_us, failing_since=since, failures=count)]

    async def _give_up(self, tx: Tx, sight: Sight, state: State) -> list[Report] | None:
        """Switch it off, and say so; None when somebody has done that, or is changing it."""
        target, since_us = sight.target, state.failing_since or sight.seen.ended_at
        failed_for = _words((sight.seen.ended_at - since_us) / SECOND_US)
        why = f"every attempt failed for {failed_for}, the last with: {state.last_failure}"
        url = await store.disable_failing(tx, target.id, why, tx.now_us)
        if url is None:
            return None
        await remember(tx, target.id)
        tx.after_commit(partial(self._changed, target.tenant, target.id))
        tx.after_commit(partial(log.warning, "endpoint_disabled", endpoint=target.id, trigger="failing"))
        if sight.quiet:
            return []
        return [operational.disabled(target.tenant, target.id, tx.now_us, url=url, why=why, trigger="failing")]

    def _note(self, tx: Tx, endpoint_id: str, old: State, new: State) -> None:
        """What deliveries of this process act on is read again."""
        if _acts(old) != _acts(new):
            tx.after_commit(partial(self._forget, endpoint_id))
        if new.trips > old.trips:
            tx.after_commit(partial(log.warning, "circuit_open", endpoint=endpoint_id, trips=new.trips))


def _acts(state: State) -> tuple[object, ...]:
    """What a delivery looks at."""
    return state.held_until, state.at_once, state.ceiling_at, state.failing_since, state.troubled


def _words(seconds: float) -> str:
    return f"{seconds / 86_400:.1f} days" if seconds >= 86_400 else f"{seconds:.0f} s"
