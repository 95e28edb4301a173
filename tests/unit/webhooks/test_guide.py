"""The receiver's guide is true: each program of it tells good deliveries from bad ones, as the official packages do."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from services.webhooks.signing import new_key_pair, new_secret, sign

GUIDE = (Path(__file__).parents[3] / "docs/how-to/verify-webhooks.md").read_text("utf-8")
BODY = '{"type":"a.b","timestamp":"2026-11-22T14:07:31Z","data":{"größe":"ünïcode","n":1}}'.encode()
ID = "evt_01m81s9e5se1e8f48fbtbs6q0g"
Run = Callable[..., int]


def program(heading: str) -> str:
    """The first block of code below a heading."""
    part = GUIDE.split(f"### {heading}\n", 1)[1]
    found = re.search(r"```\w+\n(.*?)```", part, re.DOTALL)
    assert found is not None
    return found[1]


def tool(name: str, *others: str) -> str:
    found = next((path for each in (name, *others) if (path := shutil.which(each))), None)
    if found is None:
        pytest.skip(f"there is no {name} here to run the guide's program with")
    return found


def run(*command: str, given: bytes, cwd: Path | None = None) -> int:
    return subprocess.run(command, input=given, capture_output=True, timeout=120, check=False, cwd=cwd).returncode


@pytest.fixture(scope="module", params=["Python", "JavaScript", "Go", "curl and openssl"])
def verify(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder, name = tmp_path_factory.mktemp("guide"), str(request.param)
    file = folder / {"Python": "v.py", "JavaScript": "v.js", "Go": "v.go", "curl and openssl": "v.sh"}[name]
    file.write_text(program(name), "utf-8")
    command: Sequence[str]
    if name == "Python":
        import sys

        command = [sys.executable, str(file)]
    elif name == "JavaScript":
        command = [tool("node"), str(file)]
    elif name == "Go":
        go, made = tool("go"), folder / "v"
        done = subprocess.run([go, "build", "-o", made, file], capture_output=True, timeout=200, check=False, text=True)
        assert done.returncode == 0, done.stderr
        command = [str(made)]
    else:
        tool("openssl")
        command = [tool("sh"), str(file)]
    return lambda *words, given=BODY: run(*command, *words, given=given)


def test_good_ones_pass_and_bad_ones_do_not(verify: Run) -> None:
    secret, (private, public), now = new_secret(), new_key_pair(), int(time.time())
    stamp, other = str(now), new_secret()
    both = sign(ID, now, BODY, [other, private, secret])
    for key, signatures in ((secret, sign(ID, now, BODY, [secret])), (public, sign(ID, now, BODY, [private])),
                            (secret, both), (public, both)):  # fmt: skip
        assert verify(key, ID, stamp, signatures) == 0
        assert verify(key, ID, stamp, signatures, given=BODY + b" ") == 1
        assert verify(key, "evt_other", stamp, signatures) == 1
        assert verify(key, ID, str(now - 1), signatures) == 1
    assert verify(new_secret(), ID, stamp, both) == 1
    assert verify(new_key_pair()[1], ID, stamp, both) == 1
    old = now - 400
    assert verify(secret, ID, str(old), sign(ID, old, BODY, [secret])) == 1


_JS = """
const { Webhook } = require("standardwebhooks");
const [secret, id, stamp, signature] = process.argv.slice(2);
const body = require("node:fs").readFileSync(0);
const hook = new Webhook(secret);
const headers = { "webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": signature };
try { hook.verify(body, headers); } catch (error) { process.exit(1); }
console.log(hook.sign(id, new Date(Number(stamp) * 1000), body.toString()));
"""


@pytest.fixture(scope="module")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, npm = tmp_path_factory.mktemp("npm"), tool("npm")
    command = [npm, "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts",
               "--prefix", str(folder), "standardwebhooks@1.0.0"]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False, text=True)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not bring the package within a minute")
    if done.returncode:
        pytest.skip(f"npm could not bring the package: {done.stderr.strip().splitlines()[-1:]}")
    (folder / "check.js").write_text(_JS)
    return folder


def test_the_official_javascript_package_verifies_what_we_sign_and_signs_the_same(javascript: Path) -> None:
    node, secret, now = tool("node"), new_secret(), int(time.time())
    ours = sign(ID, now, BODY, [new_secret(), secret])
    command = [node, "check.js", secret, ID, str(now)]
    done = subprocess.run([*command, ours], input=BODY, capture_output=True, timeout=60, check=False, cwd=javascript)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip() == sign(ID, now, BODY, [secret])
    assert run(*command, sign(ID, now, BODY, [new_secret()]), given=BODY, cwd=javascript) == 1
    assert run(*command, ours, given=BODY + b" ", cwd=javascript) == 1
