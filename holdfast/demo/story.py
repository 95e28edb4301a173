"""The main job, as a client plays it over HTTP: sign up, register endpoints, upload a photo, receive, fail, recover.

Every step asserts what a user would see; the first that does not hold raises `Broken` with its words.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from holdfast.demo.receiver import Receiver

PHOTO = Path(__file__).parent / "photo.jpg"
WAIT_S = 30.0
Say = Callable[[str], None]


class Broken(Exception):
    """A promise did not hold."""


def expect(holds: object, words: str) -> None:
    if not holds:
        raise Broken(words)


class Story:
    def __init__(self, http: httpx.AsyncClient, receiver: Receiver, mail: Path, say: Say) -> None:
        self._http = http
        self._receiver = receiver
        self._mail = mail
        self._say = say

    async def play(self) -> None:
        await self.sign_up()
        await self.endpoint("photo", ["media.asset.processed.v1"])
        await self.photo()
        await self.flaky()
        await self.broken()

    async def sign_up(self) -> None:
        answer = await self.post("/v1/users", {"email": "ada@example.com", "name": "Ada"})
        job = await self.job_in(answer["job"], "completed")
        expect(len(job["attempts"]) == 1, f"the welcome email took {len(job['attempts'])} attempts")
        mails = [path.read_text(errors="replace") for path in self._mail.glob("*.eml")]
        expect(any(answer["job"] in mail for mail in mails), "no mail with the job's id in its Message-ID arrived")
        self._say("signed up: user and email job in one transaction, the welcome email arrived by SMTP")

    async def endpoint(self, path: str, types: list[str], schedule_s: list[float] | None = None) -> str:
        body: dict[str, Any] = {"url": self._receiver.url(path), "event_types": types}
        if schedule_s is not None:
            body["retry_schedule_s"] = schedule_s
        made = await self.post("/v1/webhooks/endpoints", body)
        self._receiver.secrets[path] = made["secret"]
        return str(made["id"])

    async def photo(self) -> None:
        asset = await self.upload()
        shown = await self.until(lambda: self.get(f"/v1/media/{asset['id']}"), lambda a: a["state"] == "processed")
        sizes = {item["name"]: item["width"] for item in shown["renditions"]}
        expect(set(sizes) == {"w320", "w1280"}, f"the renditions are {sizes}")
        small = await self._http.get(f"/v1/media/{asset['id']}/renditions/w320")
        expect(small.content[:4] == b"RIFF" and small.content[8:12] == b"WEBP", "the rendition is no WebP")
        await self.received("photo", 1)
        expect(asset["id"].encode() in b"".join(self._receiver.bodies.values()), "the webhook names another asset")
        self._say("photo processed in the pool, renditions and event committed together, signed webhook verified")

    async def flaky(self) -> None:
        await self.endpoint("flaky", ["demo.flaky.v1"], [0.2, 0.4])
        event = await self.post("/v1/webhooks/events", {"type": "demo.flaky.v1", "data": {"n": 1}})
        job = await self.delivery_in(event["id"], "completed")
        outcomes = [attempt["outcome"] for attempt in job["attempts"]]
        expect(outcomes == ["failed", "failed", "completed"], f"the flaky delivery went {outcomes}")
        self._say("a receiver that answered 500 twice was retried on its own schedule and then succeeded")

    async def broken(self) -> None:
        await self.endpoint("broken", ["demo.broken.v1"], [0.1])
        event = await self.post("/v1/webhooks/events", {"type": "demo.broken.v1", "data": {"n": 1}})
        job = await self.delivery_in(event["id"], "dead")
        letters = await self.get("/v1/dead")
        expect(job["id"] in [item["id"] for item in letters["items"]], "the dead letter is not in the inbox")
        self._receiver.healed = True
        await self.post("/v1/dead/retry", {"ids": [job["id"]]})
        await self.job_in(job["id"], "completed")
        self._say("a delivery that never succeeded went to the dead letters, and came back from there")

    # Small steps

    async def upload(self) -> dict[str, Any]:
        answer = await self._http.post("/v1/media", content=PHOTO.read_bytes(), headers={"Content-Type": "image/jpeg"})
        expect(answer.status_code == 202, f"the upload was answered {answer.status_code}: {answer.text}")
        made: dict[str, Any] = answer.json()
        return made

    async def post(self, path: str, body: Any) -> Any:
        answer = await self._http.post(path, json=body)
        expect(answer.status_code < 300, f"POST {path} was answered {answer.status_code}: {answer.text}")
        return answer.json()

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self._http.get(path, params=params)
        expect(answer.status_code == 200, f"GET {path} was answered {answer.status_code}: {answer.text}")
        return answer.json()

    async def job_in(self, job_id: str, state: str) -> Any:
        return await self.until(lambda: self.get(f"/v1/jobs/{job_id}"), lambda job: job["state"] == state)

    async def delivery_in(self, event_id: str, state: str) -> Any:
        listed = await self.until(
            lambda: self.get("/v1/webhooks/deliveries", event_id=event_id), lambda page: bool(page["items"])
        )
        return await self.job_in(listed["items"][0]["id"], state)

    async def received(self, path: str, count: int) -> None:
        until_s = time.monotonic() + WAIT_S
        while len(self._receiver.seen[path]) < count:
            expect(time.monotonic() < until_s, f"/{path} received {len(self._receiver.seen[path])} of {count} events")
            self._receiver.arrived.clear()
            try:
                await asyncio.wait_for(self._receiver.arrived.wait(), 1.0)
            except TimeoutError:
                continue

    async def until(self, look: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool]) -> Any:
        until_s = time.monotonic() + WAIT_S
        while not holds(found := await look()):
            expect(time.monotonic() < until_s, f"after {WAIT_S:.0f} s it is still {found}")
            await asyncio.sleep(0.05)
        return found
