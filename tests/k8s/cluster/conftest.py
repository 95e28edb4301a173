"""A cluster or a reason; one deployed system for all tests that want one."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from .cluster import Deployed, kubectl


@pytest.fixture(scope="session")
def cluster() -> None:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster")
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl on this machine")
    done = subprocess.run(["kubectl", "version", "-o", "json"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"KUBECONFIG is set and its cluster does not answer: {done.stderr[-500:]}"


@pytest.fixture(scope="session")
def space(cluster: None) -> Iterator[str]:
    """An empty namespace, for dry runs."""
    name = f"holdfast-dry-{secrets.token_hex(3)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def deployed(cluster: None) -> Iterator[Deployed]:
    system = Deployed(f"holdfast-it-{secrets.token_hex(3)}")
    try:
        system.start()
        yield system
    finally:
        system.close()
