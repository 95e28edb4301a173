"""Deliveries that are no HTTP: to a stream of a real Valkey, and to a bucket of moto's server."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis.asyncio

from services.webhooks.destinations.redis_stream import IDLE_MAX, RedisStream, RedisStreamConfig
from services.webhooks.destinations.s3 import S3
from services.webhooks.sender import Sender
from shared.runtime.egress import AddressPolicy
from shared.testing.servers import Valkey
from tests.integration.webhooks.office import Office
from tests.integration.webhooks.receivers import raw_receiver, says

BUCKET = "events"
OAUTH2 = {"token_url": "https://a.example", "client_id": "x", "client_secret": "y"}


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of a server that speaks S3, with one bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    url = f"http://127.0.0.1:{port}"
    bucket_client(url, boto3).create_bucket(Bucket=BUCKET)
    yield url
    server.stop()


def bucket_client(url: str, boto3: Any) -> Any:
    return boto3.client(
        "s3", endpoint_url=url, aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1"
    )


def s3_config(url: str, **more: Any) -> dict[str, Any]:
    return {"endpoint": url, "bucket": BUCKET, "access_key_id": "k", "secret_access_key": "hush-hush", **more}


async def registered(office: Office, kind: str, config: dict[str, Any], **more: Any) -> dict[str, Any]:
    body = {"kind": kind, "config": config, "event_types": ["*"], **more}
    made: dict[str, Any] = await office.ok(office.client.post("/v1/webhooks/endpoints", json=body), 201)
    return made


def signed(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


async def test_an_event_is_an_entry_of_a_stream_with_its_signature(office: Office, valkey: Valkey) -> None:
    made = await registered(office, "redis_stream", {"url": valkey.url, "stream": "mine", "max_len": 10})
    assert made["kind"] == "redis_stream"
    assert made["url"] == f"{valkey.url}?stream=mine"
    event = await office.event("a.b", {"n": 7})
    await office.work()
    shown = await office.delivery(event)
    assert (shown["state"], shown["attempts"][0]["status"]) == ("completed", 200)
    async with redis.asyncio.from_url(valkey.url) as client:
        ((entry_id, fields),) = await client.xrange("mine")
    assert shown["attempts"][0]["headers"]["x-redis-entry"] == entry_id.decode()
    assert fields[b"webhook-id"].decode() == event["id"]
    wanted = signed(made["secret"], event["id"], fields[b"webhook-timestamp"].decode(), fields[b"body"])
    assert fields[b"webhook-signature"].decode() == wanted


async def test_a_stream_is_bounded_and_its_connection_is_kept(office: Office, valkey: Valkey) -> None:
    await registered(office, "redis_stream", {"url": valkey.url, "stream": "short", "max_len": 1})
    async with redis.asyncio.from_url(valkey.url) as client:
        await office.event()
        await office.work()
        before = (await client.info("stats"))["total_connections_received"]
        for _ in range(150):
            await office.event()
        await office.work()
        assert (await client.info("stats"))["total_connections_received"] - before <= 60
        assert await client.xlen("short") < 150  # XADD trims by whole nodes of its tree


async def test_a_stream_with_a_password(office: Office, valkey: Valkey) -> None:
    async with redis.asyncio.from_url(valkey.url) as client:
        await client.execute_command("ACL", "SETUSER", "hooks", "on", ">pass word", "~mine", "+xadd", "+select")
        try:
            config = {"url": valkey.url, "stream": "mine", "username": "hooks", "password": "pass word"}
            made = await registered(office, "redis_stream", config)
            assert made["config"] == {**config, "max_len": 100_000, "password": "***"}
            event = await office.event()
            await office.work()
            assert (await office.delivery(event))["state"] == "completed"
            changed = {"config": {**config, "password": "wrong"}}
            await office.ok(office.client.patch(f"/v1/webhooks/endpoints/{made['id']}", json=changed))
            event = await office.event()
            await office.work_once()
            shown = await office.delivery(event)
            assert (shown["state"], shown["attempts"][0]["status"]) == ("retrying", 401)
            assert "WRONGPASS" in shown["attempts"][0]["body"]
        finally:
            await client.execute_command("ACL", "DELUSER", "hooks")
    stored = await office.rows("SELECT reach FROM webhooks_endpoints")
    assert "pass" not in stored[0]["reach"]


async def test_errors_of_redis_are_retried_by_the_endpoints_schedule(office: Office, valkey: Valkey) -> None:
    async with redis.asyncio.from_url(valkey.url) as client:
        await client.set("mine", "no stream")
    await registered(office, "redis_stream", {"url": valkey.url, "stream": "mine"}, retry_schedule_s=[0.1])
    event = await office.event()
    await office.work()
    shown = await office.delivery(event)
    assert shown["state"] == "dead"
    assert [attempt["status"] for attempt in shown["attempts"]] == [409, 409]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "protocol"),
        (b"", "disconnected"),
        (b"$1000000000\r\n", "protocol"),
        (b"*2147483647\r\n", "protocol"),
        (b"+" + b"x" * 100_000, "protocol"),
    ],
)
async def test_what_is_no_redis_is_an_answer_too(office: Office, said: bytes, error: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    server = await asyncio.start_server(talk_then_close(talk), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await registered(office, "redis_stream", {"url": f"redis://127.0.0.1:{port}", "stream": "x"})
        event = await office.event()
        await office.work_once()
    attempt = (await office.delivery(event))["attempts"][0]
    assert (attempt["status"], attempt["network_error"]["kind"]) == (None, error)


async def test_a_redis_that_hangs_is_under_the_deadline(office: Office) -> None:
    async with raw_receiver(says(hold=True)) as port, asyncio.timeout(10):
        config = {"url": f"redis://127.0.0.1:{port}", "stream": "x"}
        await registered(office, "redis_stream", config, timeout_s=0.3)
        event = await office.event()
        await office.work_once()
    assert (await office.delivery(event))["attempts"][0]["network_error"]["kind"] == "timeout"


async def test_a_name_of_redis_is_judged_by_its_address_and_tls_by_its_name(office: Office, valkey: Valkey) -> None:
    port = valkey.url.rpartition(":")[2].partition("/")[0]
    tls = {"url": f"rediss://127.0.0.1:{port}", "stream": "x"}
    made = await registered(office, "redis_stream", tls, retry_schedule_s=[], timeout_s=0.5)
    event = await office.event()
    await office.work()
    shown = await office.delivery(event)
    assert (shown["state"], shown["attempts"][0]["status"]) == ("dead", None)  # it speaks no TLS, and is told nothing
    await office.ok(office.client.post(f"/v1/webhooks/endpoints/{made['id']}/disable"))
    await registered(office, "redis_stream", {"url": f"redis://localhost:{port}", "stream": "x"})
    event = await office.event()
    await office.work()
    assert (await office.delivery(event))["state"] == "completed"


def talk_then_close(talk: Any) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        await talk(reader, writer)
        writer.close()

    return serve


@dataclass(frozen=True)
class Target:
    id: str
    config: RedisStreamConfig
    url: str = ""


async def test_lines_that_break_are_nobody_elses_failure(valkey: Valkey) -> None:
    async def fickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1_000)
        writer.write(b"+1-0\r\n")
        await reader.read(1_000)
        writer.close()

    server = await asyncio.start_server(fickle, "127.0.0.1", 0)
    async with server, Sender(AddressPolicy.from_cidrs(["127.0.0.1/32"])) as sender:
        streams = RedisStream(sender)
        port = server.sockets[0].getsockname()[1]
        fickle_one = Target("ep_fickle", RedisStreamConfig(url=f"redis://127.0.0.1:{port}", stream="x"))
        said = [await streams.send(fickle_one, "evt", b"{}", {}, 5) for _ in range(2)]
        assert [(answer.status, answer.error) for answer in said] == [(200, None), (None, "disconnected")]
        config = RedisStreamConfig(url=valkey.url, stream="mine")
        for number in range(IDLE_MAX + 6):
            answer = await streams.send(Target(f"ep_{number}", config), "evt", b"{}", {}, 5)
            assert (answer.status, answer.message) == (200, None)
        async with redis.asyncio.from_url(valkey.url) as client:
            assert await client.xlen("mine") == IDLE_MAX + 6
        await streams.close()


async def test_a_reply_too_many_is_no_answer_to_the_next_command() -> None:
    async def chatty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(1_000):
                writer.write(b"+1-0\r\n-ERR of nobody\r\n")

    server = await asyncio.start_server(chatty, "127.0.0.1", 0)
    async with server, Sender(AddressPolicy.from_cidrs(["127.0.0.1/32"])) as sender:
        streams = RedisStream(sender)
        url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        target = Target("ep_1", RedisStreamConfig(url=url, stream="x"))
        assert [(await streams.send(target, "evt", b"{}", {}, 5)).status for _ in range(3)] == [200, 200, 200]
        await streams.close()


@pytest.mark.parametrize(
    ("kind", "config", "pointer", "code"),
    [
        ("redis_stream", {"url": "redis://169.254.169.254", "stream": "x"}, "/config/url", "url_refused"),
        ("redis_stream", {"url": "redis://[fd00:ec2::254]/0", "stream": "x"}, "/config/url", "url_refused"),
        ("redis_stream", {"url": "http://redis.example", "stream": "x"}, "/config/url", "config_refused"),
        ("redis_stream", {"url": "redis://u:p@redis.example", "stream": "x"}, "/config/url", "config_refused"),
        ("redis_stream", {"url": "redis://redis.example/x", "stream": "x"}, "/config/url", "config_refused"),
        (
            "redis_stream",
            {"url": "redis://redis.example", "stream": "holdfast:api"},
            "/config/stream",
            "config_refused",
        ),
        ("redis_stream", {"url": "redis://redis.example"}, "/config/stream", "config_refused"),
        ("redis_stream", {"url": "redis://[", "stream": "x"}, "/config/url", "url_refused"),
        ("redis_stream", {"url": "redis://a]b", "stream": "x"}, "/config/url", "url_refused"),
        ("redis_stream", {"url": "redis://h\u2100/", "stream": "x"}, "/config/url", "url_refused"),
        (
            "redis_stream",
            {"url": "redis://redis.example", "stream": "x", "maxlen": 3},
            "/config/maxlen",
            "config_refused",
        ),
        ("s3", {"bucket": "events"}, "/config/access_key_id", "config_refused"),
        ("s3", s3_config("http://10.0.0.1"), "/config/endpoint", "url_refused"),
        ("s3", s3_config("http://s3.example/path"), "/config/endpoint", "config_refused"),
        ("s3", s3_config("http://s3.example", prefix="../"), "/config/prefix", "config_refused"),
        ("s3", s3_config("http://s3.example", bucket="Not A Bucket"), "/config/bucket", "config_refused"),
        ("s3", s3_config("http://93.184.216.34:9000", path_style=False), "/config/path_style", "url_refused"),
        ("s3", s3_config("http://[2606:2800::1]", path_style=False), "/config/path_style", "url_refused"),
        (
            "s3",
            s3_config("http://s3.example", bucket="my..bucket", path_style=False),
            "/config/path_style",
            "url_refused",
        ),
    ],
)
async def test_a_config_is_judged_when_it_is_given(
    office: Office, kind: str, config: dict[str, Any], pointer: str, code: str
) -> None:
    body = {"kind": kind, "config": config, "event_types": ["*"]}
    refused = await office.client.post("/v1/webhooks/endpoints", json=body)
    assert refused.status_code == 422
    assert refused.json()["code"] == code, refused.text
    assert refused.json()["errors"][0]["pointer"] == pointer
    assert "hush-hush" not in refused.text


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"kind": "redis_stream", "url": "http://a.example"}, "/url"),
        ({"kind": "s3", "config": {}, "oauth2": OAUTH2}, "/oauth2"),
        ({"kind": "http", "config": {}, "url": "http://a.example"}, "/config"),
        ({"kind": "http"}, "/url"),
        ({"kind": "pigeon", "url": "http://a.example"}, "/kind"),
    ],
)  # fmt: skip
async def test_each_kind_has_members_of_its_own(office: Office, body: dict[str, Any], pointer: str) -> None:
    refused = await office.client.post("/v1/webhooks/endpoints", json={**body, "event_types": ["*"]})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == pointer


async def test_an_event_is_an_object_of_a_bucket_and_stays_one(office: Office, moto: str) -> None:
    import boto3

    made = await registered(office, "s3", s3_config(moto, prefix="in/"))
    assert made["url"] == "s3://events/in/"
    assert made["config"]["secret_access_key"] == "***"
    event = await office.event("a.b", {"text": "thänks"})
    await office.work()
    shown = await office.delivery(event)
    assert (shown["state"], shown["attempts"][0]["status"]) == ("completed", 200)
    key = f"in/{made['id']}/{event['id']}.json"
    assert shown["attempts"][0]["headers"]["x-s3-key"] == key
    client = bucket_client(moto, boto3)
    found = await asyncio.to_thread(client.get_object, Bucket=BUCKET, Key=key)
    body = found["Body"].read()
    metadata = found["Metadata"]
    assert found["ContentType"] == "application/json"
    assert metadata["webhook-id"] == event["id"]
    assert metadata["webhook-signature"] == signed(made["secret"], event["id"], metadata["webhook-timestamp"], body)


async def test_a_bucket_that_is_not_there_follows_the_schedule(office: Office, moto: str) -> None:
    await registered(office, "s3", s3_config(moto, bucket="nobody"), retry_schedule_s=[0.1])
    event = await office.event()
    await office.work()
    shown = await office.delivery(event)
    assert shown["state"] == "dead"
    assert [attempt["status"] for attempt in shown["attempts"]] == [404, 404]
    assert "NoSuchBucket" in shown["attempts"][0]["body"]
    assert "hush-hush" not in str(shown)


async def test_a_bucket_that_makes_no_host_ends_its_delivery_at_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as lenient:  # as an older version took it
        lenient.setattr(S3, "location", lambda config, policy: f"s3://{config.bucket}/")
        await registered(office, "s3", s3_config("http://127.0.0.1:9000", path_style=False))
    event = await office.event()
    await office.work_once()
    shown = await office.delivery(event)
    assert (shown["state"], shown["attempts"][0]["network_error"]["kind"]) == ("dead", "egress")


async def test_nothing_of_the_workers_environment_reaches_a_tenants_bucket(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "OPERATORS-OWN")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        await registered(office, "s3", s3_config(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        event = await office.event()
        await office.work_once()
    assert (await office.delivery(event))["attempts"][0]["status"] == 503
    assert b"OPERATORS-OWN" not in heads[0]
    assert b"Credential=k/" in heads[0]
    assert b"proxy-authorization" not in heads[0].lower()


async def test_an_object_storage_without_an_end_is_cut_off(office: Office) -> None:
    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n")
        while True:
            writer.write(b"y" * 65_536)
            await writer.drain()

    async with raw_receiver(endless) as port, asyncio.timeout(10):
        await registered(office, "s3", s3_config(f"http://127.0.0.1:{port}"), timeout_s=5)
        event = await office.event()
        await office.work_once()
    attempt = (await office.delivery(event))["attempts"][0]
    assert attempt["status"] in (None, 500)


async def test_an_object_storage_that_hangs_is_under_the_deadline(office: Office) -> None:
    async with raw_receiver(says(hold=True)) as port, asyncio.timeout(10):
        await registered(office, "s3", s3_config(f"http://127.0.0.1:{port}"), timeout_s=0.3)
        event = await office.event()
        await office.work_once()
    assert (await office.delivery(event))["attempts"][0]["network_error"]["kind"] == "timeout"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_of_an_object_storage_is_not_followed(office: Office, status: int) -> None:
    elsewhere: list[bytes] = []

    async def other(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        elsewhere.append(b"came")
        writer.write(b"HTTP/1.1 200 OK\r\nETag: x\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with raw_receiver(other) as there:
        head = f"HTTP/1.1 {status} Moved\r\nLocation: http://127.0.0.1:{there}/x\r\nContent-Length: 0\r\n\r\n"
        async with raw_receiver(says(head.encode())) as port:
            await registered(office, "s3", s3_config(f"http://127.0.0.1:{port}"))
            event = await office.event()
            await office.work_once()
    assert elsewhere == []
    assert (await office.delivery(event))["state"] == "retrying"
    assert office.receiver.letters == []


async def test_one_endpoint_that_hangs_leaves_other_streams_their_turn(office: Office, valkey: Valkey) -> None:
    async with raw_receiver(says(hold=True)) as port:
        hung = {"url": f"redis://127.0.0.1:{port}", "stream": "x"}
        for _ in range(3):
            await registered(office, "redis_stream", hung, timeout_s=4)
        for _ in range(50):
            await office.event()
        made = await registered(office, "redis_stream", {"url": valkey.url, "stream": "mine"}, timeout_s=2)
        event = await office.event()
        await office.work_once()
    found = await office.ok(
        office.client.get("/v1/webhooks/deliveries", params={"endpoint_id": made["id"], "event_id": event["id"]})
    )
    assert [line["state"] for line in found["items"]] == ["completed"]
