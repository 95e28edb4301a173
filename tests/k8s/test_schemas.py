"""Every object of every overlay against the published schemas of several Kubernetes versions, strictly."""

from __future__ import annotations

import copy
import functools
from typing import Any

import kubernetes_validate
import pytest
from kubernetes_validate import utils

from .render import OVERLAYS, rendered

_VERSIONS = ("1.29", "1.31", "1.33", "1.35", kubernetes_validate.latest_version())


@pytest.fixture(autouse=True)
def read_each_schema_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package parses its 2 MB of definitions again for each object."""
    monkeypatch.setattr(utils, "schema_contents", _schema_contents)


_schema_contents = functools.cache(utils.schema_contents)


@pytest.mark.parametrize("version", _VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_valid(overlay: str, version: str) -> None:
    objects = rendered(overlay)
    assert objects
    for item in objects:
        kubernetes_validate.validate(item, version, strict=True)


def test_an_unknown_field_is_caught() -> None:
    item: dict[str, Any] = copy.deepcopy(next(item for item in rendered("dev") if item["kind"] == "Deployment"))
    item["spec"]["template"]["spec"]["terminationGracePeriod"] = 45
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(item, _VERSIONS[0], strict=True)
