"""KEDA beside the HPA: it asks the backlog every polling interval, wakes a Deployment from zero, and puts it to sleep.

Between one pod and the most, KEDA's own HPA decides (with the backlog as an AverageValue). From zero to one, and back
to the least once nothing has been active for the cooldown period, KEDA decides by itself. Pure.
"""

from dataclasses import dataclass

ACTIVATION = 0.0


@dataclass(frozen=True)
class Scaled:
    """A ScaledObject's own values; `least` may be 0. `target`: backlog for each pod."""

    least: int
    target: float
    polling_s: float = 30.0
    cooldown_s: float = 300.0

    @property
    def least_awake(self) -> int:
        """The minimum of the HPA that KEDA makes: an HPA is never at zero."""
        return max(1, self.least)


@dataclass
class Watch:
    """What KEDA remembers: when it last asked, and when there last was anything."""

    asked_s: float = float("-inf")
    active_s: float = float("-inf")


def decide(replicas: int, backlog: float, scaled: Scaled, watch: Watch, now_s: float) -> int:
    """The number of pods after KEDA has looked, which it does only every `polling_s`."""
    if now_s - watch.asked_s < scaled.polling_s:
        return replicas
    watch.asked_s = now_s
    if backlog > ACTIVATION:
        watch.active_s = now_s
        return replicas or scaled.least_awake
    if scaled.least == 0 and replicas and now_s - watch.active_s >= scaled.cooldown_s:
        return 0
    return replicas
