"""Environment variables and settings: every one in the manifests exists, and every setting has been decided about."""

from __future__ import annotations

import pytest
from pydantic_settings import BaseSettings

from services.api.settings import ApiSettings
from services.media.settings import MediaSettings
from services.webhooks.settings import WebhooksSettings
from shared.kernel.settings import CoreSettings
from shared.runtime.http import HttpSettings

from .defaults import LEFT
from .policy import is_role
from .render import RENDERINGS, rendered
from .subset import containers

_OF_SERVICE: dict[str, type[BaseSettings]] = {"api": ApiSettings, "webhooks": WebhooksSettings, "media": MediaSettings}
_SHARED = (CoreSettings, HttpSettings)
overlays = pytest.mark.parametrize("overlay", RENDERINGS)


def names(*kinds: type[BaseSettings]) -> set[str]:
    return {f"{kind.model_config['env_prefix']}{field}".upper() for kind in kinds for field in kind.model_fields}


def given(overlay: str) -> dict[str, set[str]]:
    """Role → names of its HOLDFAST_… variables."""
    configs = {item["metadata"]["name"]: item["data"] for item in rendered(overlay) if item["kind"] == "ConfigMap"}
    found = {}
    for item in rendered(overlay):
        role = item["metadata"]["name"]
        if not (is_role(item) or role.startswith("migrate-")):
            continue
        [container] = item["spec"]["template"]["spec"]["containers"]
        own = {variable["name"] for variable in container.get("env", [])}
        for source in container.get("envFrom", []):
            own |= configs.get(source.get("configMapRef", {}).get("name", ""), {}).keys()
        found[role] = {name for name in own if name.startswith("HOLDFAST_")}
    return found


@overlays
def test_every_variable_is_a_setting_of_its_service(overlay: str) -> None:
    for role, variables in given(overlay).items():
        service = "api" if role == "relay" else role.removeprefix("migrate-").split("-")[0]
        unknown = variables - names(*_SHARED, _OF_SERVICE[service])
        assert not unknown, (role, unknown)


def test_every_setting_is_given_or_left_at_its_default_on_purpose() -> None:
    """A new setting belongs into the manifests, or with its reason into defaults.py."""
    everything = names(*_SHARED, *_OF_SERVICE.values())
    somewhere = set().union(*(variables for overlay in RENDERINGS for variables in given(overlay).values()))
    left = set().union(*LEFT.values())
    assert everything - somewhere - left == set()
    assert left - everything == set(), "no such setting any more"
    assert left & somewhere == set(), "given after all"
    assert sum(len(group) for group in LEFT.values()) == len(left)


@overlays
def test_what_has_no_good_default_is_given(overlay: str) -> None:
    for role, variables in given(overlay).items():
        assert "HOLDFAST_DATABASE_URL" in variables
        if not role.startswith("migrate-"):
            assert {"HOLDFAST_REDIS_URL", "HOLDFAST_STATE_DIR", "HOLDFAST_DRAIN_LIMIT_S"} <= variables
        if role.startswith("webhooks-"):
            assert "HOLDFAST_MASTER_KEY" in variables
        if role.startswith("media-"):
            assert {"HOLDFAST_MEDIA_STORAGE_URL", "HOLDFAST_MEDIA_SLOTS"} <= variables
        if role.startswith("api-") and overlay in {"staging", "production"}:
            assert "HOLDFAST_API_MAIL_FROM" in variables, "no mail server takes mail from holdfast.invalid"


@overlays
def test_the_state_directory_can_be_written(overlay: str) -> None:
    [config] = [
        item["data"] for item in rendered(overlay)
        if item["kind"] == "ConfigMap" and item["metadata"]["name"].startswith("holdfast-config-")
    ]  # fmt: skip
    for item in rendered(overlay):
        if is_role(item):
            mounts = {mount["mountPath"] for mount in containers(item)[0]["volumeMounts"]}
            assert {config["HOLDFAST_STATE_DIR"], "/tmp"} <= mounts
