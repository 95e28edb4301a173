"""`holdfast webhooks listen`: deliveries that are accepted from now on, relayed to a local port with a live table.

The system is asked what is new, so it works behind any firewall, and changes nothing: the real deliveries go on to
their own endpoints. An endpoint's secret is shown once and is not known here, so what is relayed is signed anew, with
a secret of this session (or one that was given): id and body are those of the delivery, the timestamp is of now. Each
delivery is relayed once, retries are not. Refuses to forward elsewhere than to http:// and https:// URLs.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote

import httpx
from rich.live import Live
from rich.table import Table

from holdfast import show
from holdfast.client import Client, Refused
from services.webhooks.payload import encode_body
from services.webhooks.sequence import numbered
from services.webhooks.signing import new_secret, parse_secret, signature_headers
from shared.kernel.errors import Misconfigured

LOOK_S = 0.5
PATIENCE_S = 60.0
PAGE = 100
PAGES = 10  # of one look: more than a thousand new deliveries in half a second are not for eyes
SEEN = 20_000
LIMIT_S = 15.0
SHOWN = 20
USER_AGENT = "Holdfast-Listen/1"
COLUMNS = ("time", "type", "event", "endpoint", "status", "ms")


@dataclass
class Session:
    client: Client
    forward: str
    secret: str = field(repr=False)
    endpoint: str | None = None
    _seen: "OrderedDict[str, None]" = field(default_factory=OrderedDict)
    _floor: str = ""

    @classmethod
    def open(cls, client: Client, forward: str, *, endpoint: str | None, secret: str | None) -> Self:
        """What there is by now counts as seen. Raises Misconfigured, Refused, BadSecret."""
        if not forward.startswith(("http://", "https://")):
            raise Misconfigured("--forward must be http://… or https://…")
        if secret is not None and parse_secret(secret).kind == "whpk":
            raise Misconfigured("a whpk_ key can verify, not sign: give whsec_… or whsk_…")
        session = cls(client, forward, secret or new_secret(), endpoint)
        if endpoint is not None:
            client.get(f"/v1/webhooks/endpoints/{quote(endpoint, safe='')}")  # 404 now rather than silence for ever
        items = session._page(None)["items"]
        for item in items:
            session._see(item["id"])
        session._floor = items[-1]["id"] if len(items) == PAGE else ""  # ids of a moment may come in any order
        return session

    def new(self) -> list[dict[str, Any]]:
        """Deliveries that were not there before, oldest first."""
        found: list[dict[str, Any]] = []
        cursor = None
        for _ in range(PAGES):
            page = self._page(cursor)
            fresh = [item for item in page["items"] if item["id"] not in self._seen and item["id"] > self._floor]
            found += fresh
            cursor = page["next_cursor"]
            if len(fresh) < len(page["items"]) or cursor is None:
                break
        for item in reversed(found):
            self._see(item["id"])
        return found[::-1]

    def relay(self, delivery: Mapping[str, Any], http: httpx.Client) -> dict[str, Any]:
        """One line of the table: what the local port answered, or why it did not."""
        began = time.perf_counter()
        try:
            status = self._send(delivery, http)
        except (Refused, Misconfigured) as refused:  # of this one: it may have been purged, or the system restarts
            status = f"not read: {refused}"
        except httpx.HTTPError as error:
            status = f"{type(error).__name__}: {error}"
        return {
            "time": time.strftime("%H:%M:%S"),
            "type": delivery["event_type"],
            "event": delivery["event_id"],
            "endpoint": delivery["endpoint_id"],
            "delivery": delivery["id"],
            "status": status,
            "ms": round((time.perf_counter() - began) * 1000.0, 1),
        }

    def _send(self, delivery: Mapping[str, Any], http: httpx.Client) -> int | str:
        body = self._body(delivery)
        if body is None:
            return "not relayed: its payload was erased"
        signed = signature_headers(delivery["event_id"], int(time.time()), body, [self.secret])
        headers = {"content-type": "application/json", "user-agent": USER_AGENT, "holdfast-delivery": delivery["id"]}
        return http.post(self.forward, content=body, headers={**headers, **signed}).status_code

    def _body(self, delivery: Mapping[str, Any]) -> bytes | None:
        """As its endpoint gets it, with its number if it has one; None when it was erased."""
        event_id, endpoint_id = delivery["event_id"], delivery["endpoint_id"]
        event = self.client.get(f"/v1/webhooks/events/{event_id}")
        if event["data"] is None:
            return None
        body = encode_body(event["type"], event["timestamp"], event["data"], ours=True).encode()
        told = self.client.get("/v1/webhooks/explain", event=event_id, endpoint=endpoint_id)
        number = next((one["sequence"] for one in told["deliveries"] if one["id"] == delivery["id"]), None)
        return body if number is None else numbered(body, number)

    def _page(self, cursor: str | None) -> Any:
        return self.client.get("/v1/webhooks/deliveries", endpoint_id=self.endpoint, limit=PAGE, cursor=cursor)

    def _see(self, delivery_id: str) -> None:
        self._seen[delivery_id] = None
        while len(self._seen) > SEEN:
            self._floor = max(self._floor, self._seen.popitem(last=False)[0])


def lines(session: Session, count: int | None) -> Iterator[dict[str, Any]]:
    """For ever, or `count` of them. Gives up when the system has not answered for PATIENCE_S."""
    heard_s = time.monotonic()
    done = 0
    with httpx.Client(timeout=LIMIT_S, follow_redirects=False, trust_env=False) as http:
        while True:
            try:
                fresh = session.new()
                heard_s = time.monotonic()
            except (Misconfigured, Refused):  # it does not answer, or not as it should: it may restart
                if time.monotonic() - heard_s > PATIENCE_S:
                    raise
                fresh = []
            for delivery in fresh:
                yield session.relay(delivery, http)
                done += 1
                if count is not None and done >= count:
                    return
            time.sleep(LOOK_S)


def run(session: Session, *, count: int | None, as_json: bool) -> int:
    if as_json:
        show.as_json({"listening": True, "forward": session.forward, "secret": session.secret})
        for line in _until_interrupted(lines(session, count)):
            show.as_json(line)
        return 0
    print(f"relaying to {session.forward}, signed with {session.secret}")
    rows: deque[dict[str, Any]] = deque(maxlen=SHOWN)
    with Live(_table(rows), console=show.console, auto_refresh=False) as live:
        for line in _until_interrupted(lines(session, count)):
            rows.append(line)
            live.update(_table(rows), refresh=True)
    return 0


def _until_interrupted(found: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    try:
        yield from found
    except KeyboardInterrupt:
        return


def _table(rows: "deque[dict[str, Any]]") -> Table:
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column.upper(), overflow="fold")
    for row in rows:
        table.add_row(*(show.escaped(str(row[column])) for column in COLUMNS))
    return table
