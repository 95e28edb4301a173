"""What waits to be processed, as a gauge by kind and priority: for autoscaling, and for people who ask why."""

from typing import Final

from prometheus_client import Gauge

from services.media.accepting import KINDS, PRIORITIES
from shared.contracts.commands.media import ProcessAsset, ProcessInBulk
from shared.ledger.store_backlog import read_waiting
from shared.runtime.resources import Resources

WAITING: Final = Gauge("holdfast_media_waiting", "Assets that wait in line to be processed", ["kind", "priority"])


async def measure_waiting(resources: Resources) -> None:
    """Taken when somebody looks; bounded as the backlog is. What stands at zero is shown too."""
    waiting = dict.fromkeys(((kind, priority) for kind in KINDS for priority in PRIORITIES), 0)
    names = {number: name for name, number in PRIORITIES.items()}
    for queue in (ProcessAsset.queue, ProcessInBulk.queue):
        for (number, lane), count in (await read_waiting(resources.database, queue)).items():
            if lane in KINDS and number in names:
                waiting[lane, names[number]] += count
    for (kind, priority), count in waiting.items():
        WAITING.labels(kind=kind, priority=priority).set(count)
