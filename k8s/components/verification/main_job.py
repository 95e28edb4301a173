"""The main job against a deployed system, from inside the cluster, with the standard library alone.

`main_job.py` signs a user up, turns a picture into renditions, has the event delivered signed to a receiver that it is
itself, and brings a delivery back from the dead letters. `main_job.py burst COUNT SECONDS` publishes so many events to
endpoints that take so long for each, and ends when every one has arrived: what `webhooks-worker` is scaled by, and
how one shows that killed pods lose nothing. Each step is a line; exit 1 says which did not hold.

Needs `HOLDFAST_DATABASE_URL` for a key of its own (revoked at the end), `POD_IP` for deliveries to come back to, and
`FRONT_DOOR` if it is not http://front-door.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FRONT = os.environ.get("FRONT_DOOR", "http://front-door")
WAIT_S = float(os.environ.get("WAIT_S", "180"))
BURST_ENDPOINTS = 20


class DidNotHoldError(Exception):
    """What was expected and did not come."""


class Receiver(ThreadingHTTPServer):
    """Keeps every delivery; `/bad` answers 500 until `healed`, `/slow…` after `delay_s`."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, delay_s: float = 0.0) -> None:
        super().__init__(("0.0.0.0", 0), _Handler)  # noqa: S104 - deliveries come from other pods
        self.letters: list[tuple[str, dict[str, str], bytes]] = []
        self.healed, self.delay_s = False, delay_s
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://{os.environ.get('POD_IP', '127.0.0.1')}:{self.server_address[1]}{path}"

    def at(self, path: str) -> list[tuple[dict[str, str], bytes]]:
        return [(heads, body) for where, heads, body in list(self.letters) if where == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path.startswith("/slow"):
            time.sleep(self.server.delay_s)
        heads = {name.lower(): value for name, value in self.headers.items()}
        self.server.letters.append((self.path, heads, body))
        self.send_response(500 if self.path == "/bad" and not self.server.healed else 204)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quietly."""


class Client:
    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Any:
        """The answer's JSON, or its bytes. Raises DidNotHoldError for anything but 2xx."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        heads = {"Authorization": f"Bearer {self._key}", "Content-Type": content_type}
        request = urllib.request.Request(FRONT + path, data=data, headers=heads, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                raw = answer.read()
                return json.loads(raw) if "json" in answer.headers.get("content-type", "") else raw
        except urllib.error.HTTPError as error:
            raise DidNotHoldError(f"{method} {path}: {error.code} {error.read()[:300]!r}") from None


def wait_for(look: Callable[[], Any], what: str, limit_s: float = WAIT_S) -> Any:
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            if found := look():
                return found
        time.sleep(0.5)
    raise DidNotHoldError(f"{what}: not within {limit_s:g} s")


def keys(*words: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "shared.runtime.keys", *words], capture_output=True, check=False)
    if done.returncode:
        raise DidNotHoldError(f"keys {words[0]}: {done.stderr.decode()[-300:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@contextlib.contextmanager
def client() -> Iterator[Client]:
    """Of a tenant of its own, so that nothing of anybody else's is seen or touched."""
    wait_for(_is_ready, "the front door is ready")
    tenant = f"verify-{os.urandom(4).hex()}"
    made = keys("create", "--name", "verify", "--tenant", tenant)
    try:
        yield Client(made["key"])
    finally:
        keys("revoke", made["id"])


def _is_ready() -> bool:
    with urllib.request.urlopen(f"{FRONT}/readyz", timeout=5) as answer:  # noqa: S310
        return bool(answer.status == 200)


def picture(width: int = 640, height: int = 480) -> bytes:
    """A PNG of a gradient."""
    rows = b"".join(
        b"\0" + bytes(channel for x in range(width) for channel in (x % 256, y % 256, (x + y) % 256))
        for y in range(height)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def signed(secret: str, heads: dict[str, str], body: bytes) -> bool:
    """By the rule of Standard Webhooks."""
    said = f"{heads['webhook-id']}.{heads['webhook-timestamp']}.".encode() + body
    mac = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), said, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(mac).decode()}" in heads["webhook-signature"].split()


def tell(words: str) -> None:
    print(words, flush=True)


def sign_up(ask: Client) -> None:
    made = ask("POST", "/v1/users", {"email": f"ada-{os.urandom(4).hex()}@example.com", "name": "Ada Lovelace"})
    job = ask("GET", f"/v1/jobs/{made['job']}")
    if job["task"] != "email.send_welcome":
        raise DidNotHoldError(f"the job of a new user is {job['task']}")
    tell("a user has signed up, and their welcome email is a job")


def photograph(ask: Client, receiver: Receiver) -> None:
    hook = _endpoint(ask, receiver, "/photo", "media.asset.processed.v1")
    taken = ask("POST", "/v1/media", picture(), content_type="image/png")

    def look() -> Any:
        asset = ask("GET", f"/v1/media/{taken['id']}")
        if asset["state"] == "failed":
            raise DidNotHoldError(f"the picture failed: {asset}")
        return asset if asset["state"] == "processed" else None

    asset = wait_for(look, "the picture is processed")
    for rendition in asset["renditions"]:
        raw = ask("GET", rendition["url"])
        if len(raw) != rendition["size_bytes"]:
            raise DidNotHoldError(f"rendition {rendition['name']} has {len(raw)} bytes")
    tell(f"a picture became {len(asset['renditions'])} renditions")
    [(heads, body), *_] = wait_for(lambda: receiver.at("/photo"), "its event is delivered")
    if not signed(hook["secret"], heads, body) or json.loads(body)["data"]["asset_id"] != taken["id"]:
        raise DidNotHoldError("the delivery is not signed, or tells of another picture")
    tell("its event was delivered, and the signature holds")


def back_from_the_dead(ask: Client, receiver: Receiver) -> None:
    _endpoint(ask, receiver, "/bad", "verify.bad.v1", retry_schedule_s=[0.2])
    event = ask("POST", "/v1/webhooks/events", {"type": "verify.bad.v1", "data": {"n": 1}})
    [delivery] = ask("GET", f"/v1/webhooks/deliveries?event_id={event['id']}")["items"]
    wait_for(lambda: _job(ask, delivery["id"], "dead"), "a delivery that fails twice is dead")
    receiver.healed = True
    [group] = ask("GET", "/v1/dead")["groups"]
    ask("POST", "/v1/dead/retry", {"group": group["group"]})
    wait_for(lambda: _job(ask, delivery["id"], "completed"), "it is delivered after all")
    tell("a dead letter came back and was delivered")


def burst(ask: Client, receiver: Receiver, count: int) -> None:
    """To several endpoints: one alone may have 50 attempts under way, and more workers would not help it."""
    for number in range(BURST_ENDPOINTS):
        _endpoint(ask, receiver, f"/slow/{number}", f"verify.burst{number}.v1")
    sent: set[str] = set()
    while len(sent) < count:
        numbers = range(len(sent), min(len(sent) + 500, count))
        events = [{"type": f"verify.burst{number % BURST_ENDPOINTS}.v1", "data": {"n": number}} for number in numbers]
        sent |= {item["id"] for item in ask("POST", "/v1/webhooks/events/batch", {"events": events})["items"]}
    tell(f"{len(sent)} events are accepted")
    arrived: set[str] = set()

    def look() -> bool:
        arrived.update(heads["webhook-id"] for _, heads, _ in list(receiver.letters))
        return sent <= arrived

    try:
        wait_for(look, "every event arrives", float(os.environ.get("BURST_LIMIT_S", "1500")))
    finally:
        tell(f"{len(sent & arrived)} of {len(sent)} have arrived, in {len(receiver.letters)} deliveries")


def _endpoint(ask: Client, receiver: Receiver, path: str, kind: str, **given: Any) -> Any:
    return ask("POST", "/v1/webhooks/endpoints", {"url": receiver.url(path), "event_types": [kind], **given})


def _job(ask: Client, job_id: str, state: str) -> Any:
    job = ask("GET", f"/v1/jobs/{job_id}")
    return job if job["state"] == state else None


def main(words: list[str]) -> int:
    try:
        with client() as ask:
            if words[:1] == ["burst"]:
                burst(ask, Receiver(float(words[2])), int(words[1]))
                return 0
            receiver = Receiver()
            sign_up(ask)
            photograph(ask, receiver)
            back_from_the_dead(ask, receiver)
    except DidNotHoldError as wrong:
        tell(f"DID NOT HOLD: {wrong}")
        return 1
    tell("the main job holds")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
