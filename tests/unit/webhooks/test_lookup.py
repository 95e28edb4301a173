"""The cache in front of reads by key: one read for many waiters, never older than it says, bounded."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from services.webhooks.lookup import KEYS_AT_ONCE, Lookup


class Shelf:
    """A table that counts its reads; `gate` holds them up."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.reads: list[list[str]] = []
        self.now_s = 0.0
        self.gate = asyncio.Event()
        self.gate.set()
        self.began = asyncio.Event()
        self.errors: list[Exception] = []

    async def read(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.reads.append(list(keys))
        found = {key: self.rows[key] for key in keys if key in self.rows}
        self.began.set()
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        return found

    def lookup(self, *, ttl_s: float = 1.0, room: int = 10, patience_s: float = 0.0) -> "Lookup[str]":
        return Lookup(self.read, lambda: self.now_s, ttl_s=ttl_s, room=room, patience_s=patience_s)


async def test_who_asks_at_once_shares_a_read() -> None:
    shelf = Shelf()
    shelf.rows = {str(n): f"v{n}" for n in range(5)}
    lookup = shelf.lookup()
    found = await asyncio.gather(*(lookup.get(str(n % 5)) for n in range(50)))
    assert found == [f"v{n % 5}" for n in range(50)]
    assert len(shelf.reads) == 1
    assert sorted(shelf.reads[0]) == ["0", "1", "2", "3", "4"]


async def test_a_read_takes_a_bounded_number_of_keys() -> None:
    shelf = Shelf()
    lookup = shelf.lookup()
    await asyncio.gather(*(lookup.get(str(n)) for n in range(KEYS_AT_ONCE + 1)))
    assert [len(keys) for keys in shelf.reads] == [KEYS_AT_ONCE, 1]


async def test_a_value_ages_from_before_its_read_began() -> None:
    shelf = Shelf()
    shelf.rows["a"] = "old"
    lookup = shelf.lookup(ttl_s=1.0)
    shelf.gate.clear()
    waiting = asyncio.create_task(lookup.get("a"))
    await shelf.began.wait()
    shelf.now_s, shelf.rows["a"] = 0.9, "new"
    shelf.gate.set()
    assert await waiting == "old"
    shelf.now_s = 1.0
    assert await lookup.get("a") == "new"


async def test_what_is_forgotten_during_a_read_is_not_kept_and_is_read_again() -> None:
    shelf = Shelf()
    shelf.rows["a"] = "old"
    lookup = shelf.lookup(ttl_s=100)
    shelf.gate.clear()
    before = asyncio.create_task(lookup.get("a"))
    await shelf.began.wait()
    shelf.rows["a"] = "new"
    lookup.forget("a")
    after = asyncio.create_task(lookup.get("a"))
    await asyncio.sleep(0)
    shelf.gate.set()
    assert await before == "old"
    assert await after == "new"
    assert await lookup.get("a") == "new"
    assert len(shelf.reads) == 2


async def test_what_is_not_there_is_asked_for_again() -> None:
    shelf = Shelf()
    lookup = shelf.lookup()
    assert await lookup.get("a") is None
    shelf.rows["a"] = "now"
    assert await lookup.get("a") == "now"


async def test_the_least_used_goes_when_the_room_is_full() -> None:
    shelf = Shelf()
    shelf.rows = {key: key for key in "abc"}
    lookup = shelf.lookup(ttl_s=100, room=2)
    for key in ("a", "b", "a", "c", "a"):
        await lookup.get(key)
    assert [keys[0] for keys in shelf.reads] == ["a", "b", "c"]
    await lookup.get("b")
    assert shelf.reads[-1] == ["b"]


async def test_an_error_reaches_everybody_who_waits_and_nobody_after() -> None:
    shelf = Shelf()
    shelf.rows["a"] = "v"
    shelf.errors = [ValueError("odd")]
    lookup = shelf.lookup()
    found = await asyncio.gather(*(lookup.get("a") for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in found] == [ValueError] * 3
    assert await lookup.get("a") == "v"


async def test_patience_outlasts_an_outage() -> None:
    shelf = Shelf()
    shelf.rows["a"] = "v"
    shelf.errors = [ConnectionError("gone")]
    assert await shelf.lookup(patience_s=5).get("a") == "v"
    shelf.errors = [ConnectionError("gone")]
    with pytest.raises(ConnectionError):
        await shelf.lookup(patience_s=0).get("a")


async def test_a_waiter_that_gives_up_takes_nothing_from_the_others() -> None:
    shelf = Shelf()
    shelf.rows["a"] = "v"
    lookup = shelf.lookup()
    shelf.gate.clear()
    first, second = (asyncio.create_task(lookup.get("a")) for _ in range(2))
    await shelf.began.wait()
    first.cancel()
    shelf.gate.set()
    assert await second == "v"


async def test_closing_ends_who_waits() -> None:
    shelf = Shelf()
    lookup = shelf.lookup()
    shelf.gate.clear()
    waiting = asyncio.create_task(lookup.get("a"))
    await shelf.began.wait()
    await lookup.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
