"""A new master key before the old one: what was sealed is sealed again, in batches that go on where they ended."""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from typing import Any

import orjson
import pytest

from services.webhooks import reseal as module
from services.webhooks.secrets import Box
from shared.contracts.commands.webhooks import ResealSecrets
from tests.integration.webhooks.office import MASTER_KEY, Office

NEW_KEY = urlsafe_b64encode(os.urandom(32)).decode()


async def report(office: Office, job_id: str) -> dict[str, Any]:
    (row,) = await office.rows("SELECT state, result FROM job WHERE id = :id", id=job_id)
    assert row["state"] == "completed"
    found: dict[str, Any] = orjson.loads(row["result"])
    return found


async def test_the_newest_key_opens_everything_afterwards(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    endpoint = await office.endpoint(headers={"x-token": "s3cret"}, signing=["v1", "v1a"])
    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    rotated = await office.ok(office.client.post(f"{path}/rotate-secret"))
    for _ in range(4):
        await office.endpoint("nothing.*")
    desk = office.app.state.webhooks
    desk.box = Box(f"{NEW_KEY},{MASTER_KEY}")
    job_id = await office.enqueue(ResealSecrets(), "system")
    await office.work()
    assert await report(office, job_id) == {"resealed": 5, "unreadable": 0, "more": None}
    again = await office.enqueue(ResealSecrets(), "system")
    await office.work()
    assert await report(office, again) == {"resealed": 0, "unreadable": 0, "more": None}

    (row,) = await office.rows("SELECT * FROM webhooks_endpoints WHERE id = :id", id=endpoint["id"])
    only = Box(NEW_KEY)
    context = f"endpoint:{endpoint['id']}"
    assert only.open(row["secret"], context) == rotated["secret"]
    assert only.open(row["signing_key"], context) == rotated["signing_key"]
    assert orjson.loads(only.open(row["headers"], f"endpoint-headers:{endpoint['id']}")) == {"x-token": "s3cret"}
    retired = {only.open(token, context) for token, _, _ in orjson.loads(row["retired"])}
    assert retired == {endpoint["secret"], endpoint["signing_key"]}
    assert row["version"] == rotated["version"], "nobody has changed it"


async def test_it_goes_on_where_it_was_cut_off(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    for _ in range(5):
        await office.endpoint("nothing.*")
    office.app.state.webhooks.box = Box(f"{NEW_KEY},{MASTER_KEY}")
    office.executor.stopping = True  # its process drains: nothing is done, and nothing is lost
    first = await office.enqueue(ResealSecrets(after="ep_0"), "system")
    await office.work_once()
    cut = await report(office, first)
    assert cut["resealed"] == 0
    (rest,) = await office.rows("SELECT args FROM job WHERE id = :id", id=cut["more"])
    assert orjson.loads(rest["args"]) == {"after": "ep_0"}
    office.executor.stopping = False
    await office.work()
    assert await report(office, cut["more"]) == {"resealed": 5, "unreadable": 0, "more": None}


async def test_what_no_key_opens_is_counted_and_stays(office: Office) -> None:
    endpoint = await office.endpoint()
    office.app.state.webhooks.box = Box(NEW_KEY)
    job_id = await office.enqueue(ResealSecrets(), "system")
    (before,) = await office.rows("SELECT secret FROM webhooks_endpoints WHERE id = :id", id=endpoint["id"])
    await office.work()
    assert await report(office, job_id) == {"resealed": 0, "unreadable": 1, "more": None}
    assert await office.rows("SELECT secret FROM webhooks_endpoints WHERE id = :id", id=endpoint["id"]) == [before]


async def test_replaced_secrets_that_sign_no_more_are_dropped(office: Office) -> None:
    endpoint = await office.endpoint()
    await office.ok(office.client.post(f"/v1/webhooks/endpoints/{endpoint['id']}/rotate-secret", json={"overlap_s": 1}))
    retired = "SELECT retired FROM webhooks_endpoints"
    (row,) = await office.rows(retired)
    token, until, public = orjson.loads(row["retired"])[0]
    await office.run(
        "UPDATE webhooks_endpoints SET retired = :r", r=orjson.dumps([[token, until - 10**7, public]]).decode()
    )
    await office.enqueue(ResealSecrets(), "system")
    await office.work()
    assert await office.rows(retired) == [{"retired": None}]
