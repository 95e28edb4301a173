"""What is examined: the settings of an installation, and what its processes cannot know about themselves."""

from dataclasses import dataclass, field

from shared.kernel.clock import Clock, SystemClock
from shared.kernel.settings import CoreSettings

# As k8s/components/holdfast-pod and its preStop hooks have them.
GRACE_S = 45.0
PRE_STOP_S = 5.0
PROCESSES = 9  # one of each role: three apps, five workers, the relay


@dataclass(frozen=True)
class Subject:
    """`grace_s`: between SIGTERM (or a preStop hook) and SIGKILL. `processes`: that open connections, at the most."""

    settings: CoreSettings
    grace_s: float = GRACE_S
    processes: int = PROCESSES
    storage_url: str | None = None  # of media; None: as the environment says
    clock: Clock = field(default_factory=SystemClock)
