import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from services.media.scratch import LOCK, PREFIX, move_in, sweep

HOLDER = (
    "import sys, time; from pathlib import Path; from services.media.scratch import move_in\n"
    "s = move_in(Path(sys.argv[1])); print(s.folder, flush=True); time.sleep(60)"
)


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_temporary_files_of_this_process_lie_within(base):
    scratch = move_in()
    try:
        assert scratch.folder.parent == base
        with tempfile.TemporaryDirectory() as made:
            assert made.startswith(str(scratch.folder))
        assert os.environ["TMPDIR"] == str(scratch.folder)
    finally:
        scratch.leave()
    assert not scratch.folder.exists()
    assert tempfile.gettempdir() == str(base) == os.environ["TMPDIR"]


def test_what_a_killed_worker_has_left_goes_and_what_a_living_one_holds_stays(base):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
    command = [sys.executable, "-c", HOLDER, str(base)]
    with (
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as dead,
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as living,
    ):
        folders = [Path(process.stdout.readline().strip()) for process in (dead, living)]
        for folder in folders:
            (folder / "left").write_text("x")
        dead.kill()
        dead.wait()
        assert sweep(base) == 1
        assert [folder.exists() for folder in folders] == [False, True]
        living.kill()
    scratch = move_in()
    assert not folders[1].exists()
    scratch.leave()


def test_others_things_are_left_alone(base):
    (base / f"{PREFIX}without-a-lock").mkdir()
    (base / "something").mkdir()
    held = base / f"{PREFIX}held"
    held.mkdir()
    (base / f"{PREFIX}link").symlink_to(base / "something")
    with (held / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert sweep(base) == 0
    assert sweep(base) == 1
    assert not held.exists()
    assert (base / "something").exists()
