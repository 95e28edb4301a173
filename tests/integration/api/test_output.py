"""Following what a job writes: as it comes, over cuts, restarts and new attempts, exactly the missing text, once."""

import asyncio

import httpx
import pytest

from services.api import written
from services.api.app import create_app
from services.api.settings import ApiSettings
from shared.ledger import states
from shared.ledger.output import Chunk
from shared.ledger.states import Claim
from shared.ledger.store_output import write_output
from shared.ledger.store_record import record
from shared.runtime.sse import Event
from shared.runtime.watch import JobWatch
from tests.integration.api.test_events import Following, Work, following, served
from tests.integration.api.test_jobs import make
from tests.integration.http.places import Place, bearer, client_of, expect_problem, on_one_database, place

__all__ = ["place"]


class Pen:
    """One attempt's writes, by hand."""

    def __init__(self, work: Work, held: Claim) -> None:
        self.database = work.database
        self.held = held
        self.number = 0
        self.offset = 0

    async def write(self, text: str) -> None:
        self.number += 1
        chunk = Chunk(self.number, self.offset, text)
        self.offset += len(text)
        async with self.database.transaction() as connection:
            assert await write_output(connection, [(self.held.key, [chunk])])

    async def lose(self) -> None:
        """Its worker is declared dead."""
        async with self.database.transaction() as connection:
            lost = states.lost(self.held, self.database.clock.now_us(), "silent")
            assert await record(connection, [lost], sqlite=self.database.dialect == "sqlite") == ["recorded"]


async def text_until(stream: Following, wanted: str, text: str = "") -> str:
    """Read events until the text is what is wanted; it is put together as the documentation says."""
    while text != wanted:
        event = await stream.next()
        assert event is not None, f"the stream ended at {text!r}"
        text = taken(text, event)
        assert wanted.startswith(text) or event.name != "output", f"{text!r} is no part of {wanted!r}"
    return text


def taken(text: str, event: Event) -> str:
    if event.name != "output":
        return text
    offset = event.data["offset"]
    assert offset in (0, len(text)), "neither a beginning nor what comes next"
    return text[:offset] + event.data["text"]


async def test_text_comes_as_it_is_written_and_before_the_result(place: Place) -> None:
    key, work, (job,) = await place.key("jobs:read"), Work(place), await make(place)
    async with served(place) as app, following(app.url, key, job) as stream:
        pen = Pen(work, await work.claim(job))
        await pen.write("Once ")
        text = await text_until(stream, "Once ")
        await pen.write("upon a time: ½ 😀\n\nend")
        text = await text_until(stream, "Once upon a time: ½ 😀\n\nend", text)
        await pen.write(".")
        await work.end(pen.held)
        rest = await stream.rest()
        assert [event.name for event in rest] == ["output", "state", "result"]
        assert taken(text, rest[0]) == "Once upon a time: ½ 😀\n\nend."
        ids = [event.id for event in rest]
        assert len(set(ids)) == 3
        headers = bearer(key) | {"Last-Event-ID": rest[-1].id}
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{app.url}/v1/jobs/{job}/events", headers=headers)).status_code == 204
        async with following(app.url, key, job) as late:  # somebody who comes when it is over is told all
            told = await late.rest()
            assert [event.name for event in told] == ["state", "output", "result"]
            assert told[1].data["text"] == "Once upon a time: ½ 😀\n\nend."


async def test_who_comes_back_in_the_middle_gets_the_rest_from_any_process(place: Place) -> None:
    key, work, (job,) = await place.key(), Work(place), await make(place)
    pen = Pen(work, await work.claim(job))
    await pen.write("one, ")
    async with served(place) as app:
        async with following(app.url, key, job) as stream:
            text = await text_until(stream, "one, ")
            last = stream.reader.last_id
        await app.until_watched_by(0)
        await pen.write("two, ")
        await pen.write("three, ")
    await pen.write("four")
    async with served(place) as app, following(app.url, key, job, last) as stream:
        told = await stream.next()
        assert told is not None
        assert (told.name, told.data["offset"], told.data["text"]) == ("output", 5, "two, three, four")
        last = stream.reader.last_id
        await work.end(pen.held)
        assert [event.name for event in await stream.rest()] == ["state", "result"]
    async with served(place) as app, following(app.url, key, job, last) as stream:
        assert [event.name for event in await stream.rest()] == ["state", "result"], "and no text twice"
    assert text + "two, three, four" == "one, two, three, four"


async def test_a_new_attempt_says_that_it_begins_anew(place: Place) -> None:
    key, work, (job,) = await place.key(), Work(place), await make(place)
    first = Pen(work, await work.claim(job))
    await first.write("a first, better attempt")
    async with served(place) as app:
        async with following(app.url, key, job) as stream, following(app.url, key, job) as cut:
            text = await text_until(stream, "a first, better attempt")
            await text_until(cut, "a first, better attempt")
            last = cut.reader.last_id
            await cut.answer.aclose()
            await first.lose()
            second = Pen(work, await work.claim(job))
            while (event := await stream.next()) is not None and event.name != "output":
                assert event.data["state"] == "queued"
            assert event is not None
            assert (event.data["offset"], event.data["text"]) == (0, ""), "before the new one has written a word"
            text = taken(text, event)
            await second.write("a second")
            assert await text_until(stream, "a second", text) == "a second"
        async with following(app.url, key, job, last) as stream:
            event = await stream.next()
            assert event is not None
            assert (event.name, event.data["offset"], event.data["text"]) == ("output", 0, "")
            assert await text_until(stream, "a second") == "a second"


async def test_output_that_a_newer_attempt_took_away_is_not_waited_for(place: Place) -> None:
    """Between the look that saw it and its reading, another attempt has begun to write."""
    key, work, (job,) = await place.key(), Work(place), await make(place)
    first = Pen(work, await work.claim(job))
    await first.write("gone")
    async with served(place) as app:
        await place.rows("DELETE FROM job_output")
        async with following(app.url, key, job) as stream:
            event = await stream.next()
            assert event is not None
            assert event.name == "state"
            await first.lose()
            second = Pen(work, await work.claim(job))
            await second.write("here")
            assert await text_until(stream, "here") == "here"


@on_one_database
async def test_another_tenant_sees_no_word(place: Place) -> None:
    work, (job,) = Work(place), await make(place)
    pen = Pen(work, await work.claim(job))
    await pen.write("ours")
    async with served(place) as app, httpx.AsyncClient(base_url=app.url) as client:
        for last in ("", "1.running.0.0.o1-0"):
            headers = bearer(await place.key(tenant="other")) | ({"Last-Event-ID": last} if last else {})
            expect_problem(await client.get(f"/v1/jobs/{job}/events", headers=headers), 404, "not_found")


@on_one_database
async def test_many_followers_read_a_long_text_whole(place: Place) -> None:
    key, work, (job,) = await place.key(), Work(place), await make(place)
    pen = Pen(work, await work.claim(job))
    words = [f"{number:05d} " for number in range(150)]  # more than one answer of the database holds
    for word in words[:100]:
        await pen.write(word)
    async with served(place) as app:

        async def read() -> str:
            async with following(app.url, key, job) as stream:
                text = ""
                while (event := await stream.next()) is not None:
                    text = taken(text, event)
                return text

        readers = [asyncio.create_task(read()) for _ in range(5)]
        await app.until_watched_by(5)
        for word in words[100:]:
            await pen.write(word)
        await work.end(pen.held)
        assert await asyncio.gather(*readers) == ["".join(words)] * 5


@on_one_database
async def test_who_is_eager_does_not_wait_for_the_next_look(place: Place) -> None:
    work, (idle, job) = Work(place), await make(place, 2)
    watch = JobWatch(place.database, most=9, most_of_caller=9, look_s=60.0)
    try:
        await watch.join(idle, "key_1")
        await asyncio.sleep(0)  # its looks have begun
        watched = await watch.join(job, "key_1", eager=True)
        await Pen(work, await work.claim(job)).write("at once")
        async with asyncio.timeout(20):
            while watched.row is None or not watched.row["output_chunks"]:
                watched.changed.clear()
                await watched.changed.wait()
    finally:
        await watch.close()


async def test_the_text_alone_goes_on_where_it_was_left(place: Place) -> None:
    """`Holdfast-Output-Next` leads to exactly what is missing, and to all of a new attempt's."""
    key, work, (job,) = await place.key("jobs:read"), Work(place), await make(place)
    async with client_of(create_app(place.settings, ApiSettings())) as client:

        async def read(after: str | None = None) -> httpx.Response:
            asked = {"after": after} if after is not None else {}
            answer = await client.get(f"/v1/jobs/{job}/output", params=asked, headers=bearer(key))
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
            return answer

        def told(answer: httpx.Response) -> tuple[str, str, str]:
            return answer.text, answer.headers["holdfast-output-next"], answer.headers["holdfast-job-state"]

        assert told(await read()) == ("", "0-0", "queued")
        pen = Pen(work, await work.claim(job))
        await pen.write("Once ")
        await pen.write("upon ½ 😀")
        assert told(await read()) == ("Once upon ½ 😀", "1-2", "running")
        assert told(await read("0-0")) == ("Once upon ½ 😀", "1-2", "running")
        assert told(await read("1-1")) == ("upon ½ 😀", "1-2", "running")
        assert told(await read("1-2")) == ("", "1-2", "running")
        assert told(await read("1-77")) == ("", "1-2", "running")
        await pen.lose()
        second = Pen(work, await work.claim(job))
        assert told(await read("1-2")) == ("", "2-0", "running"), "the new one has written nothing"
        await second.write("Again")
        assert told(await read("1-2")) == ("Again", "2-1", "running")
        await work.end(second.held)
        assert told(await read("2-1")) == ("", "2-1", "completed")
        assert told(await read()) == ("Again", "2-1", "completed")
        for wrong in ("x", "1", "1-", "-1", "1-2-3", "9" * 30 + "-1"):
            answer = await client.get(f"/v1/jobs/{job}/output", params={"after": wrong}, headers=bearer(key))
            expect_problem(answer, 422, "invalid")


async def test_a_text_of_more_chunks_than_one_look_comes_whole(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "READ_CHUNKS", 3)
    key, work, (job,) = await place.key("jobs:read"), Work(place), await make(place)
    pen = Pen(work, await work.claim(job))
    for number in range(10):
        await pen.write(f"{number} ")
    async with client_of(create_app(place.settings, ApiSettings())) as client:
        answer = await client.get(f"/v1/jobs/{job}/output?after=1-2", headers=bearer(key))
        assert (answer.text, answer.headers["holdfast-output-next"]) == ("2 3 4 5 6 7 8 9 ", "1-10")
