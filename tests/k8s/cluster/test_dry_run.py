"""The API server's own word about every object: a server-side, strict dry run of every rendering."""

from __future__ import annotations

import pytest
import yaml

from tests.k8s.render import RENDERINGS

from .cluster import group_kind, kinds_there, kubectl, moved


@pytest.mark.parametrize("overlay", RENDERINGS)
def test_the_server_takes_it(space: str, overlay: str) -> None:
    known = kinds_there()
    objects = moved(overlay, space)
    left_out = {group_kind(item) for item in objects} - known
    taken = [item for item in objects if group_kind(item) in known]
    kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", given=yaml.safe_dump_all(taken)
    )  # fmt: skip
    if left_out:
        pytest.skip(f"the cluster has no {', '.join(kind for _, kind in sorted(left_out))}; all else was taken")
