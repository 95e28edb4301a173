"""What a media slot can do, and one thing more: a file that ends with POISON kills the slot that opens it."""

import os
import signal
from pathlib import Path
from typing import Any

from services.media.slots import slot_tasks
from services.media.slots.slot_tasks import preload, warm_up

__all__ = ["TASKS", "preload", "warm_up"]


def renditions(source: str, **args: Any) -> dict[str, Any]:
    if Path(source).read_bytes().endswith(b"POISON"):
        os.kill(os.getpid(), signal.SIGKILL)
    return slot_tasks.TASKS["renditions"](source=source, **args)


TASKS = {**slot_tasks.TASKS, "renditions": renditions}
