"""`holdfast webhooks`: publish, relay to a local port, and say why a signature does not match."""

from __future__ import annotations

import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from holdfast import listen
from holdfast.client import Client, Refused
from services.webhooks.signing import new_secret, signature_headers
from tests.e2e.receiver import Receiver
from tests.e2e.running import Up, the_system
from tests.e2e.steps import endpoint
from tests.integration.cli.conftest import Said

Run = Callable[..., Said]


@pytest.fixture(scope="module")
def up() -> Up:
    return the_system()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as opened:
        yield opened


@pytest.fixture
def cli(holdfast: Run, up: Up, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HOLDFAST_URL", up.known["base_url"])
    monkeypatch.setenv("HOLDFAST_API_KEY", up.known["api_key"])
    return holdfast


@contextlib.contextmanager
def local_port() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """What a developer runs: its URL, and (headers, body) of what came."""
    got: list[tuple[dict[str, str], bytes]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(202)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/in", got
        finally:
            server.shutdown()
            thread.join()


def test_what_is_published_is_relayed_and_verified(cli: Run, up: Up, receiver: Receiver, tmp_path: Path) -> None:
    with up.client() as http:
        made: Any = endpoint(http, receiver, "/cli-listen", ["cli.listened.v1"])
    endpoint_id = made["id"] if isinstance(made, dict) else made
    secret = new_secret()
    client = Client(up.known["base_url"], up.known["api_key"])
    with local_port() as (url, got):
        session = listen.Session.open(client, url, endpoint=endpoint_id, secret=secret)
        sent = cli("webhooks", "send", "cli.listened.v1", "--data", '{"name": "Zoë"}', "--json").json
        told = list(listen.lines(session, 1))
    assert sent["deliveries"] == 1
    assert (told[0]["event"], told[0]["status"], told[0]["type"]) == (sent["id"], 202, "cli.listened.v1")
    ((headers, content),) = got
    assert headers["holdfast-delivery"] == told[0]["delivery"]
    assert Webhook(secret).verify(content, headers)["data"] == {"name": "Zoë"}

    body, head = tmp_path / "body", tmp_path / "head.json"
    body.write_bytes(content)
    head.write_text(json.dumps(headers))
    words = ("webhooks", "verify", str(body), "--headers", str(head), "--json")
    assert cli(*words, "--secret", secret).json == {
        "valid": True, "reason": "valid", "message": "the signature is valid"
    }  # fmt: skip
    wrong = cli(*words, "--secret", new_secret(), "--compare")
    assert (wrong.code, wrong.json["reason"]) == (1, "wrong_secret")
    body.write_bytes(content.replace(b"Zo", b"Zu"))
    assert cli(*words, "--secret", secret, "--compare").json["reason"] == "body_changed"


def test_verify_reads_standard_input_and_the_secret_of_the_environment(
    holdfast: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = new_secret()
    monkeypatch.setenv("HOLDFAST_WEBHOOK_SECRET", secret)
    headers = [f"{name}: {value}" for name, value in signature_headers("evt_1", 1_700_000_000, b"{}", [secret]).items()]
    given = [word for line in headers for word in ("-H", line)]

    def said(body: bytes, *words: str) -> Said:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(body)))
        return holdfast("webhooks", "verify", *given, *words)

    assert said(b"{}", "--at", "1700000001").out == "valid: the signature is valid\n"
    stale = said(b"{}")
    assert (stale.code, "s old, more than 300 s" in stale.out) == (1, True)
    changed = said(b"{}\n", "--at", "1700000001", "--json")
    assert (changed.code, changed.json["reason"]) == (1, "body_changed")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("send", "a.b", "--data", "[1]"), "--data must be a JSON object"),
        (("send", "a.b", "--data", "{"), "--data is not JSON"),
        (("send", "a.b", "--data", "@/nowhere/at/all"), "/nowhere/at/all: No such file or directory"),
        (("verify", "/nowhere/at/all"), "No such file or directory"),
        (("verify", "-H", "no colon", "/dev/null"), "a header is 'name: value'"),
        (("listen", "--forward", "ftp://127.0.0.1"), "--forward must be http://"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(cli: Run, words: tuple[str, ...], said: str) -> None:
    answer = cli("webhooks", *words)
    assert answer.code == 2
    assert said in answer.sentence


class Told:
    """What the API answers: a problem for what is not here."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers

    def get(self, path: str, **_: Any) -> Any:
        name = path.rsplit("/", 1)[1]
        if name not in self._answers:
            raise Refused(f"there is no {name}")
        return self._answers[name]


def test_each_delivery_is_one_line_whatever_has_become_of_its_event() -> None:
    at = {"timestamp": "2026-01-01T00:00:00Z"}
    answers = {
        "evt_ours": {"type": "endpoint.disabled", "data": {"a": 1}, **at},
        "evt_erased": {"type": "a.b", "data": None, **at},
        "explain": {"deliveries": [{"id": "job_1", "sequence": 7}]},
    }
    secret = new_secret()
    with local_port() as (url, got), httpx.Client() as http:
        session = listen.Session(Told(**answers), url, secret)  # type: ignore[arg-type]
        made = {"id": "job_1", "endpoint_id": "ep_1", "event_type": "x"}
        said = [
            session.relay({**made, "event_id": name}, http)["status"] for name in ("evt_ours", "evt_erased", "evt_no")
        ]
    assert said == [202, "not relayed: its payload was erased", "not read: there is no evt_no"]
    ((headers, content),) = got
    assert Webhook(secret).verify(content, headers)["sequence"] == 7
