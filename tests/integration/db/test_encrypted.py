"""Database and Redis behind TLS, as managed ones are: with a certificate that is looked at, and a strange one."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.db.engine import Database
from shared.kernel.settings import CoreSettings
from shared.runtime.resources import connect_redis
from tests.integration.db.test_connecting import WAYS, tried
from tests.integration.tls_front import encrypted
from tests.integration.webhooks.certificates import Authority

HERE = ("127.0.0.1",)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def url(postgres_url: str, authority: Authority) -> AsyncIterator[str]:
    parts = urlsplit(postgres_url)
    assert parts.port is not None
    async with encrypted(authority.server(HERE), parts.port, postgres=True) as port:
        yield parts._replace(netloc=parts.netloc.replace(str(parts.port), str(port))).geturl()


@WAYS
@pytest.mark.parametrize("query", ["?sslmode=require", "?sslmode=verify-full&sslrootcert={file}"])
async def test_every_way_is_encrypted(
    url: str, authority: Authority, query: str, way: Callable[[Database], Awaitable[None]]
) -> None:
    await tried(url + query.format(file=authority.file), way)


@WAYS
async def test_a_server_that_another_authority_vouches_for_is_not_talked_to(
    url: str, tmp_path: Path, way: Callable[[Database], Awaitable[None]]
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        await tried(f"{url}?sslmode=verify-full&sslrootcert={other.file}", way)


async def test_the_schema_is_made_and_looked_at_through_it(url: str, authority: Authority) -> None:
    env = {**os.environ, "HOLDFAST_DATABASE_URL": f"{url}?sslmode=verify-full&sslrootcert={authority.file}"}
    for command in ("migrate", "audit"):
        ran = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"shared.runtime.{command}", env=env,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await ran.communicate()
        assert ran.returncode == 0, said.decode()


@pytest.mark.parametrize("trusted", [True, False])
async def test_redis_is_encrypted_and_its_certificate_looked_at(
    valkey_url: str, authority: Authority, tmp_path: Path, *, trusted: bool
) -> None:
    (tmp_path / "other").mkdir()
    file = authority.file if trusted else Authority(tmp_path / "other").file
    parts = urlsplit(valkey_url)
    assert parts.port is not None
    async with encrypted(authority.server(HERE), parts.port, postgres=False) as port:
        address = f"rediss://127.0.0.1:{port}{parts.path}?ssl_ca_certs={file}"
        redis = connect_redis(CoreSettings(redis_url=SecretStr(address)), connections=2)
        try:
            if trusted:
                async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe("here")
                    await redis.publish("here", b"word")
                    while (message := await subscription.get_message(timeout=5)) is None:
                        pass
                    assert message["data"] == b"word"
            else:
                with pytest.raises(RedisConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
                    await redis.ping()
        finally:
            await redis.aclose()
            await redis.connection_pool.disconnect()
