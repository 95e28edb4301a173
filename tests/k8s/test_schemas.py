"""Every object of every overlay against the published schemas of several Kubernetes versions, strictly."""

from __future__ import annotations

import copy
import functools
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from kubernetes_validate import utils

from .custom import SCHEMAS
from .render import RENDERINGS, rendered

_VERSIONS = ("1.29", "1.31", "1.33", "1.35", kubernetes_validate.latest_version())


@pytest.fixture(autouse=True)
def read_each_schema_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package parses its 2 MB of definitions again for each object."""
    monkeypatch.setattr(utils, "schema_contents", _schema_contents)


_schema_contents = functools.cache(utils.schema_contents)


@pytest.mark.parametrize("version", _VERSIONS)
@pytest.mark.parametrize("overlay", RENDERINGS)
def test_valid(overlay: str, version: str) -> None:
    objects = [item for item in rendered(overlay) if (item["apiVersion"], item["kind"]) not in SCHEMAS]
    assert objects
    for item in objects:
        kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("overlay", RENDERINGS)
def test_custom_resources_are_valid(overlay: str) -> None:
    """By schemas of our own: of the fields that are used here, so an unknown field is a mistake too."""
    for item in rendered(overlay):
        if schema := SCHEMAS.get((item["apiVersion"], item["kind"])):
            jsonschema.Draft202012Validator(schema).validate(item)


def test_an_unknown_field_is_caught() -> None:
    item: dict[str, Any] = copy.deepcopy(next(item for item in rendered("dev") if item["kind"] == "Deployment"))
    item["spec"]["template"]["spec"]["terminationGracePeriod"] = 45
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(item, _VERSIONS[0], strict=True)


def test_an_unknown_field_of_a_custom_resource_is_caught() -> None:
    item = copy.deepcopy(next(item for item in rendered("keda") if item["kind"] == "ScaledObject"))
    schema = SCHEMAS[item["apiVersion"], item["kind"]]
    item["spec"]["triggers"][0]["metadata"]["targetValue"] = 150  # KEDA wants text
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(item)
    item["spec"]["triggers"][0]["metadata"]["targetValue"] = "150"
    item["spec"]["minReplicas"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(item)
