"""Contents that end their slots: counted when it happens, kept out after that, shown, let in again, forgotten."""

import signal

import httpx
import pytest

from services.media.app import create_app
from services.media.errors import ContentQuarantined, DeadlineExceeded, MediaError, SlotDied
from services.media.quarantine import watched
from services.media.settings import MediaSettings
from services.media.store_quarantine import casualty_sweep, list_casualties, note_casualty, read_casualty
from shared.db.sweep import sweep_all
from tests.integration.http.places import Place, bearer, client_of, expect_problem, on_one_database, place
from tests.integration.media.conftest import open_pool

__all__ = ["place"]
BAD, GOOD = "b" * 64, "a" * 64


async def crash(place: Place, pool, *, sha256: str = BAD, tenant: str = "acme", number: int = signal.SIGSEGV) -> None:
    async with watched(place.database, tenant, sha256, most=3):
        await pool.run("crash", {"signal_number": int(number)}, timeout_s=5)


async def test_a_content_that_ends_three_slots_gets_no_fourth(place: Place) -> None:
    async with open_pool(1) as pool:
        for _ in range(2):
            with pytest.raises(SlotDied):
                await crash(place, pool)
        with pytest.raises(ContentQuarantined, match="ended 3 media slots, the last one by SIGSEGV"):
            await crash(place, pool)
        deaths = pool.deaths
        for _ in range(2):
            with pytest.raises(ContentQuarantined) as caught:
                await crash(place, pool)
        assert pool.deaths == deaths == 3, "a quarantined content was given a slot"
        assert caught.value.details["ended_by"] == "SIGSEGV"
        with pytest.raises(SlotDied):
            await crash(place, pool, tenant="other")  # of whom nobody knows what acme has sent
        with pytest.raises(SlotDied):
            await crash(place, pool, sha256=GOOD, number=signal.SIGABRT)
    found = await read_casualty(place.database, "acme", BAD)
    assert found is not None
    assert (found.deaths, found.ended_by) == (3, "SIGSEGV")
    assert found.first_at <= found.last_at == found.quarantined_at


async def test_the_death_is_there_before_the_caller_knows(place: Place) -> None:
    """The block's end is not waited for: whoever dies right after the slot has lost nothing."""
    with pytest.raises(SlotDied):
        async with watched(place.database, "acme", BAD, most=3):
            raise SlotDied.by(-9)
    assert (await place.rows("SELECT deaths, ended_by FROM media_casualties"))[0] == {
        "deaths": 1, "ended_by": "SIGKILL",
    }  # fmt: skip


async def test_one_success_forgets_what_others_have_done(place: Place) -> None:
    for _ in range(2):
        with pytest.raises(SlotDied):
            async with watched(place.database, "acme", BAD, most=3):
                raise SlotDied.by(None)
    assert (await read_casualty(place.database, "acme", BAD)).ended_by == "unknown"  # type: ignore[union-attr]
    async with watched(place.database, "acme", BAD, most=3):
        for _ in range(2):  # other jobs of this content, at the same time: now it is quarantined
            await note_casualty(place.database, "acme", BAD, "SIGKILL", most=3)
    found = await read_casualty(place.database, "acme", BAD)
    assert found is not None
    assert (found.deaths, found.quarantined_at) == (0, None)
    assert await list_casualties(place.database, "acme", every=True, after="", limit=9) == []


async def killed(place: Place, sha256: str, status: int = -9) -> None:
    async with watched(place.database, "acme", sha256, most=3):
        raise SlotDied.by(status)


async def test_when_everybody_is_killed_nobody_is_to_blame(place: Place) -> None:
    """SIGKILL comes from outside; of a SIGSEGV each content dies by itself."""
    for _ in range(5):
        for sha256 in (GOOD, BAD):
            with pytest.raises(SlotDied):
                await killed(place, sha256)
    assert [one.deaths for one in await _all(place)] == [1], (
        "the first one, of whom nobody knew yet that more would come"
    )
    await place.rows("UPDATE media_casualties SET last_at = last_at - :storm", storm=61_000_000)
    with pytest.raises(SlotDied):
        await killed(place, GOOD)
    with pytest.raises(ContentQuarantined):
        await killed(place, GOOD)
    await place.rows("DELETE FROM media_casualties")
    for sha256 in (GOOD, BAD):
        for _ in range(2):
            with pytest.raises(SlotDied):
                await killed(place, sha256, -11)
        with pytest.raises(ContentQuarantined):
            await killed(place, sha256, -11)


async def _all(place: Place):
    return await list_casualties(place.database, "acme", every=True, after="", limit=9)


@pytest.mark.parametrize("error", [DeadlineExceeded("slow"), MediaError("no", code="corrupt"), OSError("disk")])
async def test_what_is_no_death_is_not_counted(place: Place, error: Exception) -> None:
    with pytest.raises(type(error)):
        async with watched(place.database, "acme", BAD, most=1):
            raise error
    assert await place.rows("SELECT 1 FROM media_casualties") == []


async def test_one_may_be_enough_and_none_is_never(place: Place) -> None:
    with pytest.raises(ContentQuarantined, match="ended a media slot"):
        async with watched(place.database, "acme", BAD, most=1):
            raise SlotDied.by(3)
    with pytest.raises(SlotDied):
        async with watched(place.database, "acme", BAD, most=0):
            raise SlotDied.by(3)


@on_one_database
async def test_a_database_that_does_not_take_the_note_changes_no_outcome(place: Place) -> None:
    async def dies() -> None:
        async with watched(place.database, "acme", BAD, most=1):
            await place.rows("DROP TABLE media_casualties")
            raise SlotDied.by(-11)

    with pytest.raises(SlotDied):
        await dies()


@pytest.fixture
async def client(place: Place, tmp_path):
    app = create_app(place.settings, MediaSettings(storage_url=str(tmp_path / "media")))
    async with client_of(app, await place.key("media:read", "media:write")) as opened:
        yield opened


async def test_it_can_be_looked_at_and_lifted(place: Place, client: httpx.AsyncClient) -> None:
    for most in (3, 3, 3):
        await note_casualty(place.database, "acme", BAD, "SIGSEGV", most=most)
    await note_casualty(place.database, "acme", GOOD, "SIGKILL", most=3)
    listed = (await client.get("/v1/media/quarantine")).json()
    assert [item["sha256"] for item in listed["items"]] == [BAD]
    (item,) = listed["items"]
    assert (item["deaths"], item["ended_by"]) == (3, "SIGSEGV")
    assert item["quarantined_at"] == item["last_at"]
    assert (await client.get(f"/v1/media/quarantine/{BAD}")).json() == item
    page = (await client.get("/v1/media/quarantine", params={"every": "true", "limit": 1})).json()
    assert [item["sha256"] for item in page["items"]] == [GOOD]
    rest = {"every": "true", "limit": 1, "cursor": page["next_cursor"]}
    page = (await client.get("/v1/media/quarantine", params=rest)).json()
    assert ([item["sha256"] for item in page["items"]], page["next_cursor"]) == ([BAD], None)
    assert (await client.delete(f"/v1/media/quarantine/{BAD}")).status_code == 204
    expect_problem(await client.delete(f"/v1/media/quarantine/{BAD}"), 404, "not_found")
    async with watched(place.database, "acme", BAD, most=3):
        pass


@on_one_database
async def test_nobody_sees_or_lifts_what_is_another_tenants(place: Place, client: httpx.AsyncClient) -> None:
    await note_casualty(place.database, "other", BAD, "SIGSEGV", most=1)
    assert (await client.get("/v1/media/quarantine", params={"every": "true"})).json()["items"] == []
    expect_problem(await client.get(f"/v1/media/quarantine/{BAD}"), 404, "not_found")
    expect_problem(await client.delete(f"/v1/media/quarantine/{BAD}"), 404, "not_found")
    assert await read_casualty(place.database, "other", BAD) is not None
    headers = bearer(await place.key("media:read"))
    expect_problem(await client.delete(f"/v1/media/quarantine/{BAD}", headers=headers), 403, "not_allowed")
    for wrong in ("x", BAD.upper(), BAD + "0", "%00"):
        expect_problem(await client.get(f"/v1/media/quarantine/{wrong}"), 404, "not_found")


async def test_a_month_later_it_is_gone(place: Place) -> None:
    for number in range(7):
        await note_casualty(place.database, f"t{number % 2}", f"{number:064x}", "SIGSEGV", most=1)
    young = place.database.clock.now_us() + 1
    await place.rows("UPDATE media_casualties SET last_at = 5 WHERE tenant = 't0'")
    swept = await sweep_all(place.database, [casualty_sweep(young - 60_000_000)], batch=2, budget_s=10)
    assert swept.rows == {"media_casualties": 4}
    assert await list_casualties(place.database, "t0", every=True, after="", limit=10) == []
    assert len(await list_casualties(place.database, "t1", every=True, after="", limit=10)) == 3
