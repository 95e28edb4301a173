"""The commands that talk to a running system: `status`, `jobs`, `dead`, `migrate`, with and without `--json`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from holdfast.place import Place
from services.api.schema import OWNER as API
from services.webhooks.schema import OWNER as WEBHOOKS
from shared.ledger.schema import LEDGER
from tests.e2e.receiver import Receiver
from tests.e2e.running import Up, the_system
from tests.e2e.steps import dead_delivery, delivery_of, endpoint, job_in
from tests.integration.cli.conftest import Said

Run = Callable[..., Said]
ROOT = Path(__file__).parents[3]
NOBODY = "job_01jd0000000000000000000000"


@pytest.fixture(scope="module")
def up() -> Up:
    return the_system()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as opened:
        yield opened


@pytest.fixture(scope="module")
def http(up: Up) -> Iterator[httpx.Client]:
    """As the command line asks: with the local key. What others of that tenant left is not looked at."""
    with up.client() as client:
        yield client


@pytest.fixture(scope="module")
def dead(http: httpx.Client, receiver: Receiver) -> list[str]:
    endpoint(http, receiver, "/bad-cli", ["cli.bad.v1"], retry_schedule_s=[])
    return [dead_delivery(http, "cli.bad.v1") for _ in range(4)]


@pytest.fixture(scope="module")
def done(http: httpx.Client, receiver: Receiver) -> str:
    endpoint(http, receiver, "/cli", ["cli.good.v1"])
    delivery = delivery_of(http, "cli.good.v1")
    job_in(http, delivery, "completed")
    return delivery


@pytest.fixture
def cli(holdfast: Run, up: Up, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HOLDFAST_DATA_DIR", str(up.folder))
    return holdfast


def test_status(cli: Run, up: Up) -> None:
    shown = cli("status", "--json").json
    assert shown["base_url"] == f"http://127.0.0.1:{up.port}"
    assert {"webhooks-worker", "relay", "http"} <= {role["name"] for role in shown["roles"]}
    plain = cli("status")
    assert plain.code == 0
    assert shown["base_url"] in plain.out
    assert "webhooks-worker" in plain.out
    assert shown["api_key"] not in plain.out, "the key is shown on a screen"


def test_jobs_list(cli: Run, done: str) -> None:
    page = cli("jobs", "list", "--json", "--state", "completed", "--task", "webhooks.deliver", "--limit", "3").json
    assert {item["state"] for item in page["items"]} == {"completed"}
    assert len(page["items"]) <= 3
    assert done in [item["id"] for item in cli("jobs", "list", "--json", "--limit", "100").json["items"]]
    plain = cli("jobs", "list", "--queue", "webhooks", "--limit", "100")
    assert (plain.code, plain.err) == (0, "")
    assert done in plain.out


def test_jobs_list_refused(cli: Run) -> None:
    said = cli("jobs", "list", "--json", "--state", "asleep")
    assert said.code == 1
    assert "state" in said.sentence


def test_jobs_show(cli: Run, done: str) -> None:
    shown = cli("jobs", "show", done, "--json").json
    assert (shown["id"], shown["state"], [one["outcome"] for one in shown["attempts"]]) == (
        done,
        "completed",
        ["completed"],
    )
    plain = cli("jobs", "show", done)
    assert plain.code == 0
    assert "#1 completed" in plain.out
    for words in (("jobs", "show"), ("jobs", "retry"), ("dead", "show")):
        said = cli(*words, NOBODY, "--json")
        assert (said.code, said.sentence) == (1, f"holdfast: there is no job {NOBODY}")


def test_jobs_retry(cli: Run, http: httpx.Client, dead: list[str], done: str) -> None:
    assert cli("jobs", "retry", dead[0], "--json").json == {"id": dead[0], "state": "queued"}
    assert len(job_in(http, dead[0], "dead")["attempts"]) >= 1
    said = cli("jobs", "retry", done)
    assert said.code == 1
    assert "is completed" in said.sentence


def test_jobs_decide(cli: Run, dead: list[str], done: str) -> None:
    for words in (("jobs", "cancel", done), ("jobs", "priority", done, "0")):
        said = cli(*words)
        assert said.code == 1
        assert "is completed" in said.err
    for args, words in (('{"no": 1}', "/args/no"), ("[1]", "must be a JSON object"), ("{", "is not JSON")):
        said = cli("jobs", "retry", dead[0], "--args", args)
        assert said.code == (1 if "no" in args else 2)
        assert words in said.err
    assert cli("jobs", "priority", done, "10").code == 2


def test_dead_list_and_show(cli: Run, dead: list[str]) -> None:
    page = cli("dead", "list", "--json", "--limit", "100").json
    assert {item["id"] for item in page["items"]} >= set(dead[1:])
    assert "webhooks.deliver" in {group["task"] for group in page["groups"]}
    plain = cli("dead", "list", "--limit", "100")
    assert plain.code == 0
    assert dead[1] in plain.out
    assert cli("dead", "show", dead[1], "--json").json["state"] == "dead"
    assert "dead" in cli("dead", "show", dead[1]).out


def test_dead_retry(cli: Run, http: httpx.Client, receiver: Receiver, dead: list[str]) -> None:
    receiver.healed.add("/bad-cli")
    try:
        assert cli("dead", "retry", dead[1], NOBODY, "--json").json["retried"] == 1
        job_in(http, dead[1], "completed")
    finally:
        receiver.healed.discard("/bad-cli")
    assert "retried" in cli("dead", "retry", NOBODY).out


def test_dead_discard(cli: Run, http: httpx.Client, dead: list[str]) -> None:
    assert cli("dead", "discard", dead[2], "--json").json["discarded"] == 1
    assert job_in(http, dead[2], "cancelled")["error"]["type"] == "Discarded"
    groups = cli("dead", "list", "--json").json["groups"]
    (group,) = [one["group"] for one in groups if one["task"] == "webhooks.deliver" and one["count"] >= 1][:1]
    assert cli("dead", "discard", "--group", group, "--json").json["discarded"] >= 1
    assert cli("dead", "discard", "--task", "webhooks.deliver", "--json").json["discarded"] >= 0


@pytest.mark.parametrize("words", [(), (NOBODY, "--task", "x.y"), ("--group", "a:b", "--task", "x.y")])
@pytest.mark.parametrize("command", ["retry", "discard"])
def test_dead_letters_are_named_in_one_way(cli: Run, command: str, words: tuple[str, ...]) -> None:
    said = cli("dead", command, *words, "--json")
    assert said.code == 2
    assert "exactly one" in said.sentence


@pytest.mark.parametrize("words", [("jobs", "show"), ("dead", "show"), ("schedules", "show"), ("media", "show")])
@pytest.mark.parametrize("given", [".", "..", " "])
def test_what_no_path_can_name_is_one_sentence(cli: Run, words: tuple[str, ...], given: str) -> None:
    said = cli(*words, given)
    assert said.code == 2
    assert "id is needed" in said.sentence


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "retry", NOBODY, "--args", '{"amount": NaN}'),
        ("dead", "retry", NOBODY, "--args", '{"amount": 1e400}'),
        ("lanes", "set", "api", "cli", "--rate", "nan"),
        ("webhooks", "send", "cli.odd.v1", "--data", '{"amount": -Infinity}'),
    ],
)
def test_a_number_that_no_json_holds_is_one_sentence(cli: Run, words: tuple[str, ...]) -> None:
    said = cli(*words)
    assert said.code == 2
    assert said.sentence.startswith("holdfast: JSON cannot say what was given")


def test_migrate(cli: Run) -> None:
    versions = {
        "ledger": f"{LEDGER.newest:04d}",
        "api": f"{API.newest:04d}",
        "media": "0002",
        "webhooks": f"{WEBHOOKS.newest:04d}",
    }
    assert cli("migrate", "--json").json == {"ok": True, "versions": versions}
    plain = cli("migrate")
    assert plain.code == 0
    assert all(owner in plain.out for owner in versions)


def test_audit_of_what_runs(cli: Run) -> None:
    said = cli("audit", "--json")
    assert (said.code, said.json["ok"]) == (0, True)


@pytest.mark.parametrize(
    "words", [("status",), ("jobs", "list"), ("jobs", "show", NOBODY), ("dead", "list"), ("dead", "retry", NOBODY)]
)
def test_nothing_runs_is_one_sentence_and_exit_2(holdfast: Run, words: tuple[str, ...]) -> None:
    said = holdfast(*words, "--json")
    assert said.code == 2
    assert "no system is running on" in said.sentence


def test_a_system_that_does_not_answer_is_one_sentence(holdfast: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_URL", "http://127.0.0.1:9")
    assert "go together" in holdfast("jobs", "list", "--json").sentence
    monkeypatch.setenv("HOLDFAST_API_KEY", "hf_x")
    said = holdfast("jobs", "list", "--json")
    assert said.code == 2
    assert "does not answer" in said.sentence


@pytest.mark.parametrize("url", ["garbage", "http://", "ftp://me:swordfish@x", "http://x:port", "\udcff"])
def test_a_url_that_is_none_is_the_settings_fault(holdfast: Run, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HOLDFAST_URL", url)
    monkeypatch.setenv("HOLDFAST_API_KEY", "hf_x")
    said = holdfast("jobs", "list", "--json")
    assert said.code == 2
    assert said.sentence.startswith("holdfast: HOLDFAST_URL must be http://")
    assert "swordfish" not in said.err


@pytest.mark.parametrize("key", ["hf_swordfish\nx", "hf_swordfish ", "hf_swordfishé", "hf_swordfish\udcff"])
def test_a_key_that_no_header_takes_is_not_shown(holdfast: Run, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("HOLDFAST_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HOLDFAST_API_KEY", key)
    said = holdfast("jobs", "list", "--json")
    assert said.code == 2
    assert "HOLDFAST_API_KEY" in said.sentence
    assert "swordfish" not in said.err


@pytest.mark.parametrize(
    "words",
    [("dead", "show", "\udcff"), ("dead", "retry", "\udcff"), ("dead", "list", "--limit", "\udcff"), ("\udcff",)],
)
def test_an_argument_that_is_no_text_is_one_sentence(holdfast: Run, words: tuple[str, ...]) -> None:
    said = holdfast(*words)
    assert (said.code, said.sentence) == (2, r"holdfast: an argument is not UTF-8: b'\xff'")


def test_keys_without_a_database_name_the_variable(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    done = subprocess.run(
        [sys.executable, "-m", "shared.runtime.keys", "create", "--name", "ci"],
        cwd=tmp_path, env={**env, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "HOLDFAST_DATABASE_URL: the folder .holdfast does not exist\n")


def test_a_key_that_is_none_is_refused(holdfast: Run, up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_URL", str(up.known["base_url"]))
    monkeypatch.setenv("HOLDFAST_API_KEY", "hf_" + "x" * 43)
    said = holdfast("jobs", "list", "--json")
    assert (said.code, said.sentence) == (1, "holdfast: this API key is not known, or has been revoked")


def test_a_killed_systems_status_is_none(holdfast: Run, tmp_path) -> None:
    place = Place(tmp_path / "data")
    place.occupy()
    place.write_status({"pid": 2**22 + 1, "base_url": "http://127.0.0.1:9", "api_key": "hf_x", "roles": {}})
    place._lock = None
    said = holdfast("status", "--json")
    assert (said.code, "no system is running" in said.sentence) == (2, True)


def test_a_key_is_made_and_revoked_once(holdfast: Run, ledger_url: str) -> None:
    made = holdfast("keys", "create", "--name", "ci", "--scopes", "jobs:read", "--json").json
    assert made["key"].startswith("hf_")
    assert holdfast("keys", "revoke", made["id"], "--json").json == {"id": made["id"], "revoked": True}
    for words in ((made["id"],), ("key_nobody", "--json"), (made["id"], "--json")):
        said = holdfast("keys", "revoke", *words)
        assert (said.code, said.sentence) == (1, f"holdfast: there is no live key {words[0]}")


def test_schedules(cli: Run) -> None:
    purge = "upkeep.purge_history"
    page = cli("schedules", "list", "--json").json
    assert purge in [item["id"] for item in page["items"]]
    listed = cli("schedules", "list")
    assert (listed.code, listed.err) == (0, "")
    assert "0 * * * *" in listed.out
    shown = cli("schedules", "show", purge)
    assert (shown.code, shown.err) == (0, "")
    assert cli("schedules", "show", purge, "--json").json["next"][4] in shown.out
    told = json.loads(next(line for line in shown.out.splitlines() if line.startswith("args")).split(maxsplit=1)[1])
    assert told == cli("schedules", "show", purge, "--json").json["args"]


def test_schedules_decide(cli: Run) -> None:
    purge = "upkeep.purge_history"
    assert cli("schedules", "pause", purge).out == f"{purge} is paused\n"
    try:
        assert cli("schedules", "show", purge, "--json").json["state"] == "paused"
    finally:
        resumed = cli("schedules", "resume", purge)
    assert resumed.out.startswith(f"{purge} is active, next at 20")
    ran = cli("schedules", "run", purge, "--json").json
    assert ran["job"].startswith("job_")
    assert "runs as job_" in cli("schedules", "run", purge).out


def test_schedules_refused(cli: Run) -> None:
    assert cli("schedules", "run", "nothing/else").code == 1
    assert cli("schedules", "show", "report.none").sentence == "holdfast: there is no schedule report.none"
    assert (cli("schedules", "show", " ").code, cli("schedules", "show", " ", "--json").out) == (2, "")


def test_dead_retry_with_a_canary_and_what_was_decided(cli: Run, http: httpx.Client, receiver: Receiver) -> None:
    endpoint(http, receiver, "/bad-canary", ["cli.canary.v1"], retry_schedule_s=[])
    jobs = [dead_delivery(http, "cli.canary.v1") for _ in range(3)]
    (group,) = {item["group"] for item in http.get("/v1/dead").json()["items"] if item["id"] in jobs}
    receiver.healed.add("/bad-canary")
    said = cli("dead", "retry", "--canary", "1", "--group", group, "--json").json
    assert len(said["canaries"]) == 1
    assert job_in(http, said["job"], "completed")["result"]["outcome"] in {"retried", "stopped"}
    for job in jobs if said["canaries"][0] in jobs else []:
        job_in(http, job, "completed")
    assert said["job"] in {item["outcome"].get("follow_up") for item in cli("dead", "actions", "--json").json["items"]}
    assert "canary" in cli("dead", "actions").out
    assert cli("dead", "retry", NOBODY, "--args", "[1]").code == 2
    assert cli("dead", "retry", NOBODY, "--args", "{").code == 2
