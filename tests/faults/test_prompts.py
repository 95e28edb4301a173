"""A worker that is killed in the middle of a model's answer: another one asks again, and who reads along is told so."""

import asyncio
import sys

import httpx

from holdfast.place import Place as Folder
from holdfast.status import active_workers
from shared.db.tx import open_tx
from shared.ledger.audit import audit
from shared.runtime.callers import create_key
from shared.runtime.migrate import upgrade
from tests.faults.rig import Rig
from tests.integration.api.model import held_after, serving, tokens
from tests.integration.api.test_events import following, served
from tests.integration.api.test_output import taken
from tests.integration.http.places import Place, bearer


async def test_a_worker_killed_in_the_middle_of_an_answer(rig: Rig) -> None:
    await upgrade(rig.url)
    async with open_tx(rig.database) as tx:
        _, key = await create_key(tx, name="test", tenant="acme", scopes=("*",))
    async with serving() as model, served(Place(rig.settings, rig.database), llm_url="https://unused.example") as app:
        model.replies = [held_after("the first ", "half"), tokens("the ", "whole ", "answer")]
        env = {
            "HOLDFAST_QUEUES": "api", "HOLDFAST_API_LLM_URL": model.url + "/v1",
            "HOLDFAST_EGRESS_ALLOW": "127.0.0.0/8",
        }  # fmt: skip
        rig.relay(**env)
        command = (
            sys.executable, "-m", "taskiq", "worker", "services.api.worker:create_broker", "--receiver",
            "shared.transport.receiver:HoldfastReceiver", "--workers", "2", "--max-async-tasks", "20",
            "--no-configure-logging",
        )  # fmt: skip
        rig._start("api", command, "state-0", env)
        async with httpx.AsyncClient(base_url=app.url, headers=bearer(key)) as client:
            job = (await client.post("/v1/prompts", json={"prompt": "Tell me."})).json()["job"]
        async with following(app.url, key, job) as stream:
            text, seen = "", []
            async with asyncio.timeout(60):
                while text != "the first half":
                    event = await stream.next()
                    assert event is not None
                    text = taken(text, event)
            rig.kill(active_workers(Folder(rig.folder), "api", rig.folder / "state-0"))
            await asyncio.wait_for(model.left.wait(), 10)
            while (event := await stream.next()) is not None:
                seen.append(event)
                text = taken(text, event)
        pieces = [(event.data["offset"], event.data["text"]) for event in seen if event.name == "output"]
        assert (pieces[0], text) == ((0, ""), "the whole answer")
        assert seen[-1].data["result"]["text"] == "the whole answer"
        assert [attempt["outcome"] for attempt in seen[-1].data["attempts"]] == ["crashed", "completed"]
        assert len({headers["idempotency-key"] for headers, _ in model.requests}) == 1
        assert len(model.requests) == 2
    assert (await audit(rig.database)).ok
