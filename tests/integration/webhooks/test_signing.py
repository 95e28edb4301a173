"""What signs for an endpoint: kinds, key pairs, rotations of both, what is shown when."""

from __future__ import annotations

import time

import pytest

from services.webhooks.signing import BadSignature, verify
from shared.kernel.clock import SECOND_US
from tests.integration.webhooks.office import Letter, Office


def checked(office: Office, letter: Letter, *secrets: str) -> bool:
    try:
        verify(letter.headers, letter.body, secrets, now_s=office.database.clock.now_us() / 1e6)
    except BadSignature:
        return False
    return True


async def sent(office: Office) -> Letter:
    await office.event()
    await office.work()
    return office.receiver.letters[-1]


async def test_a_key_pair_signs_and_its_public_key_is_always_shown(office: Office) -> None:
    endpoint = await office.endpoint(signing=["v1a"])
    assert endpoint["public_key"].startswith("whpk_")
    assert endpoint["secret"] == endpoint["signing_key"]
    assert endpoint["signing_key"].startswith("whsk_")
    shown = await office.ok(office.client.get(f"/v1/webhooks/endpoints/{endpoint['id']}"))
    assert (shown["signing"], shown["public_key"]) == (["v1a"], endpoint["public_key"])
    assert "secret" not in shown
    assert "signing_key" not in shown
    letter = await sent(office)
    assert letter.headers["webhook-signature"].startswith("v1a,")
    assert " " not in letter.headers["webhook-signature"]
    assert checked(office, letter, endpoint["public_key"])


async def test_both_kinds_sign_side_by_side(office: Office) -> None:
    endpoint = await office.endpoint(signing=["v1a", "v1"])
    letter = await sent(office)
    assert [each.partition(",")[0] for each in letter.headers["webhook-signature"].split(" ")] == ["v1", "v1a"]
    letter.verified(endpoint["secret"])
    assert checked(office, letter, endpoint["public_key"])


async def test_a_rotation_of_both_overlaps_and_ends(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = await office.endpoint(signing=["v1", "v1a"])
    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    new = await office.ok(office.client.post(f"{path}/rotate-secret", json={"overlap_s": 600}))
    assert new["secret"] != endpoint["secret"]
    assert new["public_key"] != endpoint["public_key"]
    assert [old["public_key"] for old in new["previous_public_keys"]] == [endpoint["public_key"]]
    letter = await sent(office)
    assert len(letter.headers["webhook-signature"].split(" ")) == 4
    for secret in (endpoint["secret"], new["secret"], endpoint["public_key"], new["public_key"]):
        assert checked(office, letter, secret)
    monkeypatch.setattr(office.database.clock, "now_us", lambda: time.time_ns() // 1000 + 700 * SECOND_US)
    letter = await sent(office)
    assert len(letter.headers["webhook-signature"].split(" ")) == 2
    assert not checked(office, letter, endpoint["secret"], endpoint["public_key"])
    assert (await office.ok(office.client.get(path)))["previous_public_keys"] == []


async def test_one_kind_may_be_rotated_alone(office: Office) -> None:
    endpoint = await office.endpoint(signing=["v1", "v1a"])
    path = f"/v1/webhooks/endpoints/{endpoint['id']}/rotate-secret"
    new = await office.ok(office.client.post(path, json={"signing": ["v1a"]}))
    assert new["public_key"] != endpoint["public_key"]
    letter = await sent(office)
    letter.verified(endpoint["secret"])
    only = await office.endpoint("x.y")
    refused = await office.client.post(f"/v1/webhooks/endpoints/{only['id']}/rotate-secret", json={"signing": ["v1a"]})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/signing"


async def test_a_second_rotation_leaves_the_first_its_overlap(office: Office) -> None:
    endpoint = await office.endpoint()
    path = f"/v1/webhooks/endpoints/{endpoint['id']}/rotate-secret"
    rotated = [await office.ok(office.client.post(path)) for _ in range(6)]
    secrets = [endpoint["secret"], *(each["secret"] for each in rotated)]
    refused = await office.client.post(path)
    assert refused.status_code == 409
    assert refused.json()["code"] == "too_many_rotations"
    letter = await sent(office)
    for secret in secrets:
        letter.verified(secret)
    leaked = await office.ok(office.client.post(path, json={"overlap_s": 0}))
    letter = await sent(office)
    assert checked(office, letter, leaked["secret"])
    assert not checked(office, letter, *secrets)


@pytest.mark.parametrize("overlap_s", [-1, 7 * 86_400 + 1, "soon"])
async def test_an_overlap_has_bounds(office: Office, overlap_s: object) -> None:
    endpoint = await office.endpoint()
    path = f"/v1/webhooks/endpoints/{endpoint['id']}/rotate-secret"
    assert (await office.client.post(path, json={"overlap_s": overlap_s})).status_code == 422


async def test_kinds_are_changed_and_what_is_new_is_shown_once(office: Office) -> None:
    endpoint = await office.endpoint()
    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    both = await office.ok(office.client.patch(path, json={"signing": ["v1", "v1a"]}))
    assert both["signing_key"].startswith("whsk_")
    again = await office.ok(office.client.patch(path, json={"signing": ["v1", "v1a"]}))
    assert "signing_key" not in again
    assert again["public_key"] == both["public_key"]
    (await sent(office)).verified(endpoint["secret"])
    await office.ok(office.client.patch(path, json={"signing": ["v1a"]}))
    letter = await sent(office)
    assert not checked(office, letter, endpoint["secret"])
    assert checked(office, letter, both["public_key"])
    for wrong in ([], ["v2"], None, "v1"):
        assert (await office.client.patch(path, json={"signing": wrong})).status_code == 422
