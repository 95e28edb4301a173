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
    lanes: ClassVar[LanePolicy] = LanePolicy(concurrency=50)

    event_id: str
    endpoint_id: str


class PurgeEvents(Command):
    """Delete old events that no delivery needs any more, with their links; goes on as `PurgeHistory` does."""

    task: ClassVar[str] = "webhooks.purge_events"
    queue: ClassVar[str] = "webhooks"
    timeout_s: ClassVar[float] = 120.0
    retry: ClassVar[RetryPolicy] = ONCE
    priority: ClassVar[int] = 7
    schedule: ClassVar[tuple[CronLine, ...]] = (CronLine(cron="20 * * * *"),)

    at: str | None = None
    after: tuple[str | int, ...] | None = None


COMMANDS = command_table(PublishEvent, DeliverWebhook, PurgeEvents)
