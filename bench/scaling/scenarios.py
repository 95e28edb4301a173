"""The runs that are shown: webhooks-worker under every curve, by backlog and by CPU; media where measured."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.scaling import arrivals, manifests
from bench.scaling.arrivals import Curve
from bench.scaling.manifests import BASE, FOLDER, Scaler
from bench.scaling.rates import Measured
from bench.scaling.simulation import Pod, Run, simulate

LATENCY_S = 0.1  # of a healthy endpoint
SLOW_S = 2.0
SHARE = 0.5  # of what one pod was measured to do: what arrives on a quiet day
SIDES = {"by backlog (KEDA)": "autoscale-keda", "by CPU alone (HPA)": "autoscale-cpu"}
POINTS = 150  # of a plotted line
TITLES = {
    "steady": "Half of what one pod does, all the time",
    "diurnal": "A day in an hour: from a tenth to four times as much",
    "step": "Ten times as much from one second to the next",
    "burst": "120,000 deliveries within ten seconds",
    "storm": "Five minutes' outage of the receivers, and all retries within a minute",
    "recorded": "A recorded minute, scaled up, ten times in a row",
    "slow": "The same half, to endpoints that take two seconds",
    "batch": "A batch of pictures for media-worker, from zero and back",
}


@dataclass(frozen=True)
class Shown:
    name: str
    arrived: Curve
    runs: dict[str, Run]


def webhooks_pod(measured: Measured, latency_s: float = LATENCY_S, base: Path = BASE) -> Pod:
    role = "webhooks-worker"
    slots, requested = manifests.slots_of(role, base), manifests.requested_of(role, base)
    return Pod(measured.delivery_rate, slots, latency_s, measured.delivery_us, requested=requested)


def curves(measured: Measured) -> dict[str, Curve]:
    usual = SHARE * measured.delivery_rate
    seen = arrivals.recorded()
    scale = 2 * usual * len(seen) / sum(seen)
    return {
        "steady": arrivals.steady(usual, 900),
        "diurnal": arrivals.diurnal(usual / 10, usual * 4, 3600),
        "step": arrivals.step(usual, 10, 120, 1200),
        "burst": arrivals.burst(usual, 120_000, 120, 10, 1500),
        "storm": arrivals.storm(usual, 300, 120, 60, 1800),
        "recorded": arrivals.recorded(scale=scale, times=10),
        "slow": arrivals.steady(usual, 900),
    }


def run(measured: Measured, folder: Path = FOLDER, base: Path = BASE) -> list[Shown]:
    """Raises FileNotFoundError when the manifests are not there."""
    found = {side: manifests.scalers(component, folder) for side, component in SIDES.items()}
    most_rate = 1e6 / measured.delivery_relay_us  # one relay at a time serves a queue
    pod = webhooks_pod(measured, base=base)
    shown = []
    for name, curve in curves(measured).items():
        of = replace(pod, latency_s=SLOW_S) if name == "slow" else pod
        shown.append(_both(name, curve, of, {side: each["webhooks-worker"] for side, each in found.items()}, most_rate))
    if measured.picture_rate is not None and measured.picture_us is not None:
        shown.append(_media(measured.picture_rate, measured.picture_us, found, base))
    return shown


def _both(name: str, curve: Curve, pod: Pod, scalers: dict[str, Scaler], most_rate: float) -> Shown:
    runs = {
        side: simulate(curve, pod, scaler, at_first=(scaler.keda or scaler.bounds).least, most_rate=most_rate)
        for side, scaler in scalers.items()
    }
    return Shown(name, curve, runs)


def _media(rate: float, cpu_us: float, found: dict[str, dict[str, Scaler]], base: Path) -> Shown:
    """A pod's rate is that of as many slots as it asks for CPUs; a picture takes what it costs, and has a slot."""
    role = "media-worker"
    cores = manifests.requested_of(role, base)
    pod = Pod(min(rate, cores * 1e6 / cpu_us), manifests.slots_of(role, base), manifests.slots_of(role, base) / rate,
              cpu_us, cores=cores, requested=cores)  # fmt: skip
    curve = [0.0] * 60 + arrivals.burst(0.0, 2000, 0, 10, 1740)
    return _both("batch", curve, pod, {side: each[role] for side, each in found.items()}, float("inf"))


def drawable(shown: list[Shown]) -> list[dict[str, Any]]:
    """For the plots, thinned out: the worst of each stretch, so that no peak is lost."""

    def line(values: list[Any], pick: Callable[..., Any] = max) -> list[float]:
        stride = max(1, len(values) // POINTS)
        return [round(float(pick(values[at : at + stride])), 2) for at in range(0, len(values), stride)]

    return [
        {
            "name": one.name, "title": TITLES[one.name], "stride": max(1, len(one.arrived) // POINTS),
            "arrived": line(one.arrived),
            "runs": {
                side: {"backlog": line(run.backlog), "replicas": line(run.replicas), "oldest_s": line(run.oldest_s)}
                for side, run in one.runs.items()
            },
        }
        for one in shown
    ]  # fmt: skip
