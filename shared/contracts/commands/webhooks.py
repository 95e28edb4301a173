"""Commands that the webhooks service handles."""

from typing import Any, ClassVar

from shared.contracts.command import Command, command_table
from shared.contracts.cron import CronLine
from shared.contracts.lane import LanePolicy
from shared.contracts.retry import ONCE, Exponential, RetryPolicy, Schedule

# Standard Webhooks' recommended schedule; the first attempt goes out at once, so 0 is not in it.
DEFAULT_DELAYS_S = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)


class PublishEvent(Command):
    """Accept an event and make its deliveries; `event_id` is the `webhook-id`, so repeating it changes nothing."""

    task: ClassVar[str] = "webhooks.publish_event"
    queue: ClassVar[str] = "webhooks"
    timeout_s: ClassVar[float] = 30.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=0.5, cap_s=60.0, max_attempts=20)
    priority: ClassVar[int] = 4

    event_id: str
    type: str
    data: dict[str, Any]
    occurred_at: str


class DeliverWebhook(Command):
    """Send one event to one endpoint, in the lane of that endpoint; its own schedule decides about retries."""

    task: ClassVar[str] = "webhooks.deliver"
    queue: ClassVar[str] = "webhooks"
    timeout_s: ClassVar[float] = 30.0
    retry: ClassVar[RetryPolicy] = Schedule(delays_s=DEFAULT_DELAYS_S, jitter=0.2)
    # A quarter of a worker's 200 slots: an endpoint that hangs leaves the others theirs, and one that answers in
    # 50 ms may still get 1,000 deliveries a second.
    lanes: ClassVar[LanePolicy] = LanePolicy(concurrency=50, grouped=True)

    event_id: str
    endpoint_id: str


class ProbeEndpoint(Command):
    """Send one body to one endpoint, once, outside of its deliveries, and keep what was sent and what came back.

    With a `challenge`, the receiver is to echo or to sign it: then the endpoint is verified.
    """

    task: ClassVar[str] = "webhooks.probe"
    queue: ClassVar[str] = "webhooks"
    timeout_s: ClassVar[float] = 80.0
    retry: ClassVar[RetryPolicy] = ONCE
    priority: ClassVar[int] = 3
    lanes: ClassVar[LanePolicy] = LanePolicy(concurrency=3)
    editable: ClassVar[bool] = False

    endpoint_id: str
    event_id: str
    body: str
    challenge: str | None = None


class FanOutEvent(Command):
    """Make the deliveries of an event that many endpoints take, in the order of acceptance among its tenant's."""

    task: ClassVar[str] = "webhooks.fan_out"
    queue: ClassVar[str] = "webhooks"
    timeout_s: ClassVar[float] = 600.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=0.5, cap_s=60.0, max_attempts=20)
    priority: ClassVar[int] = 4
    lanes: ClassVar[LanePolicy] = LanePolicy(ordered=True)
    editable: ClassVar[bool] = False

    event_id: str


class PurgeEvents(Command):
    """Delete old events that no delivery needs any more, with their links; goes on as `PurgeHistory` does."""

    task: ClassVar[str] = "webhooks.purge_events"
    queue: ClassVar[str] = "webhooks"
    timeout_s: ClassVar[float] = 120.0
    retry: ClassVar[RetryPolicy] = ONCE
    priority: ClassVar[int] = 7
    schedule: ClassVar[tuple[CronLine, ...]] = (CronLine(cron="20 * * * *"),)
    editable: ClassVar[bool] = False

    at: str | None = None
    after: tuple[str | int, ...] | None = None


class ResealSecrets(Command):
    """Seal with the newest master key what an older one has sealed, from the endpoint after `after` on."""

    task: ClassVar[str] = "webhooks.reseal_secrets"
    queue: ClassVar[str] = "webhooks"
    timeout_s: ClassVar[float] = 120.0
    retry: ClassVar[RetryPolicy] = ONCE
    priority: ClassVar[int] = 7
    schedule: ClassVar[tuple[CronLine, ...]] = (CronLine(cron="50 * * * *"),)
    editable: ClassVar[bool] = False

    after: str = ""


class ForgetEndpoint(Command):
    """Cancel what waits for a deleted endpoint, when that is more than the request that deleted it had time for."""

    task: ClassVar[str] = "webhooks.forget_endpoint"
    queue: ClassVar[str] = "webhooks"
    timeout_s: ClassVar[float] = 600.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=1.0, cap_s=60.0, max_attempts=100)
    priority: ClassVar[int] = 3
    editable: ClassVar[bool] = False

    endpoint_id: str


class ReplayEvents(Command):
    """Send events again, as the replay of this job's id says; goes on where an attempt before it was cut off."""

    task: ClassVar[str] = "webhooks.replay_events"
    queue: ClassVar[str] = "webhooks"
    timeout_s: ClassVar[float] = 3_600.0
    retry: ClassVar[RetryPolicy] = Exponential(base_s=1.0, cap_s=10.0, max_attempts=100)
    priority: ClassVar[int] = 5
    lanes: ClassVar[LanePolicy] = LanePolicy(concurrency=3)


class ErasePayloads(Command):
    """Empty the bodies of events whose tenant keeps payloads for a shorter time than that."""

    task: ClassVar[str] = "webhooks.erase_payloads"
    queue: ClassVar[str] = "webhooks"
    timeout_s: ClassVar[float] = 50.0
    retry: ClassVar[RetryPolicy] = ONCE
    priority: ClassVar[int] = 6
    schedule: ClassVar[tuple[CronLine, ...]] = (CronLine(cron="* * * * *"),)


class TellOfDead(Command):
    """Tell of deliveries that the ledger itself has ended in the last `hours`: nobody else was there to do so."""

    task: ClassVar[str] = "webhooks.tell_of_dead"
    queue: ClassVar[str] = "webhooks"
    timeout_s: ClassVar[float] = 60.0
    retry: ClassVar[RetryPolicy] = ONCE
    priority: ClassVar[int] = 6
    schedule: ClassVar[tuple[CronLine, ...]] = (
        CronLine(cron="* * * * *"),
        CronLine(cron="35 4 * * *", name="nightly", args={"hours": 168}),
    )
    editable: ClassVar[bool] = False

    hours: int = 1


COMMANDS = command_table(
    PublishEvent,
    DeliverWebhook,
    ProbeEndpoint,
    FanOutEvent,
    PurgeEvents,
    ResealSecrets,
    ForgetEndpoint,
    ReplayEvents,
    ErasePayloads,
    TellOfDead,
)
