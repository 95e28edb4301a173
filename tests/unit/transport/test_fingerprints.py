"""Failures that are alike have one fingerprint: on every machine, after every deploy; and others have another."""

import json
import sys
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.transport.execution import describe
from shared.transport.fingerprints import CHAIN_MOST, Frame, fingerprint, fingerprint_of, place_of, plain, root_of

STANDARD = ("/usr/lib/python3.11",)
HANDLER = Frame("/app/services/api/tasks.py", "services.api.tasks", "send_welcome")
ENGINE = Frame("/app/shared/transport/execution.py", "shared.transport.execution", "Executor._call")
LIBRARY = Frame("/app/.venv/lib/python3.11/site-packages/aiohttp/client.py", "aiohttp.client", "ClientSession._request")
STDLIB = Frame("/usr/lib/python3.11/json/decoder.py", "json.decoder", "JSONDecoder.decode")
FROZEN = Frame("<frozen importlib._bootstrap>", "importlib._bootstrap", "_find")
WINDOWS = Frame("C:\\app\\.venv\\Lib\\site-packages\\aiohttp\\client.py", "aiohttp.client", "request")
foreign = st.lists(st.sampled_from([LIBRARY, STDLIB, FROZEN, WINDOWS]), max_size=6)
folders = st.sampled_from(["/app", "/home/ada/holdfast", "/srv/releases/20261122", "C:\\holdfast"])


@given(foreign, foreign, folders)
def test_the_place_is_the_innermost_frame_of_the_handler(above: list[Frame], below: list[Frame], folder: str) -> None:
    """Whatever libraries called or were called, and wherever the code was unpacked."""
    here = Frame(f"{folder}/services/api/tasks.py", HANDLER.module, HANDLER.function)
    outer = Frame(f"{folder}/services/api/mail.py", "services.api.mail", "Mailer.send")
    frames = [ENGINE, *above, outer, here, ENGINE, *below]
    assert place_of(frames, STANDARD) == "services/api/tasks.py:send_welcome"


def test_where_nothing_is_the_handlers_own_the_engine_is_named_and_then_nothing() -> None:
    assert place_of([ENGINE, LIBRARY], STANDARD) == "shared/transport/execution.py:Executor._call"
    assert place_of([LIBRARY, STDLIB, FROZEN, WINDOWS], STANDARD) == ""
    assert place_of([], STANDARD) == ""


def test_packages_and_scripts_have_names_too() -> None:
    assert place_of([Frame("/a/jobs/__init__.py", "jobs", "run")], STANDARD) == "jobs/__init__.py:run"
    assert place_of([Frame("/a/jobs.py", "__main__", "run")], STANDARD) == "jobs.py:run"
    assert place_of([Frame("/usr/lib/python3.11-own/x.py", "x", "run")], STANDARD) == "x.py:run"


SOURCE = """
{lines}def parse(text):
    import json
    return json.loads(text)

def run():
    try:
        parse("no json")
    except ValueError as error:
        raise RuntimeError("at {when}") from error
"""


def raised_by(folder: Path, lines: int) -> BaseException:
    """The same code in another folder, further down its file."""
    source = SOURCE.format(lines="\n" * lines, when=lines)
    module = types.ModuleType("services.made.tasks")
    exec(compile(source, str(folder / "tasks.py"), "exec"), module.__dict__)
    with pytest.raises(RuntimeError) as caught:
        module.run()
    return caught.value


def test_another_folder_and_other_lines_change_nothing() -> None:
    first = fingerprint_of("made.run", raised_by(Path("/app/services/made"), 0))
    assert fingerprint_of("made.run", raised_by(Path("/srv/v2/services/made"), 40)) == first
    assert first == fingerprint("made.run", "JSONDecodeError", "services/made/tasks.py:parse")
    assert fingerprint_of("made.other", raised_by(Path("/app/services/made"), 0)) != first


def test_the_cause_counts_and_what_was_merely_handled_does_not() -> None:
    cause, group = KeyError("a"), ExceptionGroup("many", [ValueError("b"), KeyError("c")])
    chained = RuntimeError("x")
    chained.__cause__ = TypeError("y")
    chained.__cause__.__cause__ = cause
    assert root_of(chained) is cause
    assert isinstance(root_of(group), ValueError)
    handled = RuntimeError("z")
    handled.__context__ = cause
    assert root_of(handled) is handled


def test_a_chain_that_bites_its_tail_ends() -> None:
    one, two = RuntimeError("1"), RuntimeError("2")
    one.__cause__, two.__cause__ = two, one
    assert root_of(one) in (one, two)
    deep = RuntimeError("0")
    for number in range(CHAIN_MOST * 2):
        outer = RuntimeError(str(number))
        outer.__cause__ = deep
        deep = outer
    assert isinstance(root_of(deep), RuntimeError)


def test_what_people_see_is_what_was_raised_not_its_cause() -> None:
    failure = describe("made.run", raised_by(Path("/app/services/made"), 3))
    assert (failure.type, failure.message) == ("RuntimeError", "at 3")
    assert "JSONDecodeError" in (failure.trace or "")


def test_reasons_lose_what_differs() -> None:
    here = "job_01m81s9cvwenqrbepj021vn8wn of 127.0.0.1:9911 at 0x7f3c after 3 attempts"
    there = "job_01m81s9dnhe47s3tch4srt7qc0 of 10.1.2.33:80 at 0xdeadbeef after 12 attempts"
    assert plain(here) == plain(there) == "# of #:# at # after # attempts"
    assert plain("the disk is full") == "the disk is full"


@given(st.text(), st.text(), st.text())
def test_it_is_sixteen_digits_whatever_it_is_made_of(task: str, kind: str, place: str) -> None:
    made = fingerprint(task, kind, place)
    assert len(made) == 16
    assert made == fingerprint(task, kind, place)
    assert int(made, 16) >= 0


def test_the_standard_library_of_this_interpreter_is_known() -> None:
    code = json.loads.__code__
    assert place_of([Frame(code.co_filename, "json", "loads"), Frame(__file__, __name__, "here")]).endswith(":here")
    assert place_of([Frame(code.co_filename, "json", "loads")]) == "", sys.version
