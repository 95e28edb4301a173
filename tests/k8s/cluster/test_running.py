"""A deployed system: the main job, a burst of webhooks that scales its own workers alone, pods killed under load."""

from __future__ import annotations

import json

import pytest

from .cluster import Deployed, group_kind, kinds_there, moved, until

pytestmark = pytest.mark.timeout(3600)


def test_the_main_job(deployed: Deployed) -> None:
    deployed.run("main-job")
    assert "the main job holds" in deployed.end_of("main-job", 600)


def test_pods_killed_under_load_lose_nothing(deployed: Deployed) -> None:
    """Workers, the relay and the transport, without grace, while 3,000 deliveries are under way."""
    deployed.run("killed", "burst", "3000", "1")
    until(lambda: "events are accepted" in deployed.kubectl("logs", "job/killed", check=False), "accepted", 300)
    for role in ("webhooks-worker", "relay", "webhooks-worker", "valkey", "webhooks-worker"):
        deployed.kubectl("delete", "pod", "-l", f"app.kubernetes.io/name={role}", "--grace-period=0", "--force")
        until(lambda role=role: _runs(deployed, role), f"{role} is back", 300)
    assert "3000 of 3000 have arrived" in deployed.end_of("killed", 1800)


def _runs(deployed: Deployed, role: str) -> bool:
    words = ("get", "pods", "-l", f"app.kubernetes.io/name={role}", "-o", "jsonpath={.items[*].status.phase}")
    return "Running" in deployed.kubectl(*words).split()


@pytest.fixture
def scaled(deployed: Deployed) -> Deployed:
    """With KEDA's ScaledObjects, and a key of KEDA's own."""
    if ("keda.sh", "ScaledObject") not in kinds_there():
        pytest.skip("the cluster has no KEDA")
    words = ("python", "-m", "shared.runtime.keys", "create", "--name", "keda", "--scopes", "queues:read")
    made = json.loads(deployed.kubectl("exec", "deploy/api-http", "--", *words).splitlines()[-1])
    secret = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "holdfast-keda"},
        "stringData": {"api-key": made["key"]},
    }  # fmt: skip
    keda = [item for item in moved("keda", deployed.namespace) if group_kind(item)[0] in {"keda.sh", "autoscaling"}]
    deployed.apply([secret, *keda])
    return deployed


def test_a_burst_of_webhooks_scales_its_workers_and_no_others(scaled: Deployed) -> None:
    until(lambda: scaled.replicas("media-worker") == 0, "media-worker without work goes to zero", 900)
    before = scaled.replicas("webhooks-worker")
    scaled.run("burst", "burst", "20000", "5")
    most, media = before, 0

    def look() -> bool:
        nonlocal most, media
        most = max(most, scaled.replicas("webhooks-worker"))
        media = max(media, scaled.replicas("media-worker"), scaled.replicas("media-bulk-worker"))
        return scaled.ended("burst") is not None

    until(look, "the burst ends", 1800)
    assert "20000 of 20000 have arrived" in scaled.end_of("burst", 10)
    assert most > before
    assert media == 0
    scaled.run("main-job-after", "main")
    assert "the main job holds" in scaled.end_of("main-job-after", 900), "from zero"
