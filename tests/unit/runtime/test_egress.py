"""The resolver and the gate: no address reaches a socket unvetted."""

import asyncio
import socket
import threading

import pytest

from shared.runtime import egress
from shared.runtime.egress import AddressPolicy, EgressRefused, SocketGate, SystemResolver, VettingResolver


class Names:
    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)

    async def lookup(self, host: str, port: int) -> list[str]:
        return self.addresses


async def hosts(*addresses: str, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[str]:
    found = await VettingResolver(AddressPolicy(), Names(*addresses)).resolve("x.example", 443, family)
    return [entry["host"] for entry in found]


async def test_only_the_permitted_addresses_of_a_name_are_passed_on() -> None:
    assert await hosts("127.0.0.1", "1.1.1.1", "fd00::1", "2606:4700::1") == ["1.1.1.1", "2606:4700::1"]
    assert await hosts("1.1.1.1", "2606:4700::1", family=socket.AF_INET6) == ["2606:4700::1"]


async def test_a_name_with_forbidden_addresses_only_is_refused_with_the_first() -> None:
    with pytest.raises(EgressRefused) as caught:
        await hosts("169.254.169.254", "10.0.0.1")
    assert (caught.value.reason, caught.value.host, caught.value.address) == (
        "link_local",
        "x.example",
        "169.254.169.254",
    )


async def test_a_name_without_addresses_is_a_dns_failure() -> None:
    with pytest.raises(socket.gaierror):
        await hosts()


async def test_the_number_of_addresses_tried_is_bounded() -> None:
    assert len(await hosts(*(f"1.1.1.{n}" for n in range(200)))) == egress.ADDRESSES_PER_NAME


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (("10.0.0.1", 443), "private"),
        (("::ffff:127.0.0.1", 443, 0, 0), "loopback"),
        (("1.1.1.1", 25), "port"),
    ],
)
def test_the_gate_makes_no_socket_for_a_forbidden_target(target: tuple[str, int], reason: str) -> None:
    gate = SocketGate(AddressPolicy(ports=frozenset({443})))
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    with pytest.raises(EgressRefused) as caught:
        gate((family, socket.SOCK_STREAM, 0, "", target))
    assert caught.value.reason == reason
    assert gate.open_count == 0


def test_the_gate_counts_the_sockets_that_live() -> None:
    gate = SocketGate(AddressPolicy())
    made = [gate((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("1.1.1.1", 443))) for _ in range(3)]
    assert gate.open_count == 3
    assert gate.is_crowded(2)
    made[0].close()
    assert gate.open_count == 2
    assert not gate.is_crowded(2)
    made.pop().close()
    assert gate.open_count == 1
    for sock in made:
        sock.close()


async def test_the_system_resolver_knows_localhost_and_not_nonsense() -> None:
    resolver = SystemResolver()
    assert set(await resolver.lookup("localhost", 80)) <= {"127.0.0.1", "::1"}
    with pytest.raises(socket.gaierror):
        await resolver.lookup("a" * 70, 80)


async def test_hung_lookups_time_out_and_do_not_exceed_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    hold, started = threading.Event(), []

    def hung(host: bytes, *_: object, **__: object) -> list[object]:
        started.append(host)
        hold.wait(10)
        return []

    monkeypatch.setattr(egress.socket, "getaddrinfo", hung)
    monkeypatch.setattr(egress, "LOOKUPS_AT_ONCE", 2)
    monkeypatch.setattr(egress, "LOOKUP_LIMIT_S", 0.05)
    resolver = SystemResolver()
    try:
        results = await asyncio.gather(*(resolver.lookup(f"h{n}", 80) for n in range(4)), return_exceptions=True)
        assert all(isinstance(result, socket.gaierror) for result in results)
        assert len(started) == 2
    finally:
        hold.set()
    monkeypatch.setattr(egress, "LOOKUP_LIMIT_S", 5.0)
    assert await resolver.lookup("later", 80) == []  # the threads that ended gave their places back
