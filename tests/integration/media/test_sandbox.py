"""What a slot may still do once it has been taken over: tried from within, by everything that an intruder would."""

import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from services.media.errors import MediaError, SlotDied, SlotsUnavailable
from services.media.pool import Pool
from tests.integration.media.conftest import FAULTY, ended, open_pool
from tests.integration.media.pictures import noise, save

only_here = pytest.mark.skipif(platform.machine() != "x86_64", reason="the attempts are numbered as on x86_64")
AS_NOBODY = """
import json, os, sys
from services.media.slots import fence, sandbox
from tests.integration.media.faulty_tasks import attempts, blessings
parent = os.getppid()
os.setgroups([]), os.setgid(65534), os.setuid(65534)
protection = {"landlock": fence.put_up([sys.argv[1]]), "seccomp": sandbox.close_system_calls()}
told = attempts(parent, "/etc/hostname")
print(json.dumps({"protection": protection, "told": told, "blessings": blessings(sys.argv[1])}))
"""


def check(told):
    refused = {name: error for name, error in told.items() if error not in ("EPERM", "EACCES", "ENOSYS")}
    assert refused == {}
    assert told["clone3"] == "ENOSYS"
    assert {told[name] for name in ("inet", "unix", "fork", "exec", "clone", "kill_parent")} == {"EPERM"}


@only_here
async def test_everything_that_an_intruder_would_try_is_refused():
    if not _landlock():
        pytest.skip("this kernel has no Landlock: files are not fenced in")
    async with open_pool(1) as pool:
        assert pool.protection == {"seccomp": "on", "landlock": "on", "lifeline": "on"}
        check(await pool.run("attempts", {"parent": os.getpid(), "secret": "/etc/hostname"}, timeout_s=20))
        assert pool.deaths == 0


@only_here
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_it_holds_for_nobody_as_well():
    """Without a pool, as nobody cannot start the interpreter of this machine's root."""
    scratch = Path(tempfile.mkdtemp(dir="/tmp"))
    scratch.chmod(0o777)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
    command = [sys.executable, "-W", "ignore", "-c", AS_NOBODY, str(scratch)]
    found = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    shutil.rmtree(scratch)
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["protection"] == {"landlock": "on", "seccomp": "on"}
    check(told["told"])
    assert set(told["blessings"].values()) == {True}


async def test_what_a_decoder_needs_goes_on(tmp_path):
    async with open_pool(1) as pool:
        assert set((await pool.run("blessings", {"directory": str(tmp_path)}, timeout_s=10)).values()) == {True}


async def test_pictures_are_made_behind_the_fence(tmp_path):
    from services.media.presets import preset_set

    photo = save(tmp_path / "photo", noise(1600, 1200), ".jpg")
    pool = Pool(1, required=("seccomp", "lifeline"))
    await pool.start()
    try:
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            args = {"source": str(photo), "directory": str(folder), "presets": preset_set("default").wire()}
            made = await pool.run("renditions", args, timeout_s=20)
            assert [item["name"] for item in made["renditions"]] == ["w320", "w1280"]
        assert pool.deaths == 0
    finally:
        await pool.close()


async def test_a_protection_that_is_required_and_missing_stops_the_pool():
    pool = Pool(1, tasks_module=FAULTY, required=("moonlight",))
    with pytest.raises(SlotsUnavailable, match="a protection that is required is not on: moonlight"):
        await pool.start()
    assert pool._launcher._process is None


async def test_no_orphan_computes_on_after_its_parent_even_in_c(tmp_path):
    """The GIL is held all the time: nothing that Python could do in the child would end it."""
    fifo = tmp_path / "started"
    os.mkfifo(fifo)
    parent = (
        "import asyncio, sys\nfrom services.media.pool import Pool\n"
        "async def main():\n    pool = Pool(1, tasks_module=sys.argv[1], deadline_grace_s=60.0)\n"
        "    await pool.start()\n    print(pool.pids()[0], flush=True)\n"
        "    await pool.run('hold_the_gil', {'started': sys.argv[2]}, timeout_s=600)\n"
        "asyncio.run(main())\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
    command = [sys.executable, "-W", "ignore", "-c", parent, FAULTY, str(fifo)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as process:  # noqa: ASYNC220 - it is to be killed
        pid = int(await asyncio.to_thread(process.stdout.readline))
        fd = os.pidfd_open(pid)
        assert int(await asyncio.to_thread(fifo.read_text)) == pid
        process.kill()
        assert await ended([fd], 2.0), "the goal is 5 s"
        os.close(fd)


async def test_a_file_over_its_limit_is_a_typed_refusal(tmp_path):
    async with open_pool(1, file_limit_bytes=1 << 20) as pool:
        args = {"directory": str(tmp_path), "size_bytes": 1 << 20}
        assert await pool.run("write_file", args, timeout_s=5) == {}
        with pytest.raises(MediaError) as caught:
            await pool.run("write_file", {**args, "size_bytes": (1 << 20) + 1}, timeout_s=5)
        assert caught.value.code == "output_too_large"
        assert pool.deaths == 0


async def test_temporary_files_lie_where_the_caller_cleans_up(tmp_path):
    async with open_pool(1) as pool:
        told = await pool.run("litter", {"directory": str(tmp_path), "die": False}, timeout_s=5)
        assert told["tmpdir"] == str(tmp_path)
        assert told["made"].startswith(str(tmp_path))
        with pytest.raises(SlotDied):
            await pool.run("litter", {"directory": str(tmp_path), "die": True}, timeout_s=5)
        assert len(list(tmp_path.iterdir())) == 2, "the caller's folder holds what the killed call has left"


async def test_memory_that_no_limit_counts_is_seen_by_the_watchdog(tmp_path):
    mark = tmp_path / "started"
    async with open_pool(1, resident_limit_bytes=200 << 20) as pool:
        (pid,) = pool.pids()
        with pytest.raises(MediaError) as caught:
            await pool.run("map_shared", {"size_bytes": 1 << 30, "started": str(mark)}, timeout_s=20)
        assert caught.value.code == "out_of_memory"
        assert caught.value.details["limit"] == 200 << 20
        assert (200 << 20) < caught.value.details["found"] < (600 << 20)
        assert mark.exists()
        assert (await pool.run("echo", {"value": 1}, timeout_s=5))["pid"] != pid
        assert pool.deaths == 0, "the pool has ended it, nobody else"


async def test_a_slot_that_has_grown_is_replaced_and_no_call_notices():
    async with open_pool(1, recycle_growth_bytes=64 << 20) as pool:
        pids = [(await pool.run("grow", {"size_bytes": 30 << 20}, timeout_s=5))["pid"] for _ in range(7)]
        assert 2 <= len(dict.fromkeys(pids)) <= 4
        assert pool.deaths == 0


async def test_the_filter_holds_for_threads_that_were_there_before():
    """The watcher of the parent is one; TSYNC takes it along, or the filter is not on at all."""
    async with open_pool(1) as pool:
        (pid,) = pool.pids()
        states = _seccomp_of_threads(pid)
        assert len(states) >= 2
        assert set(states) == {"2"}


def _seccomp_of_threads(pid):
    texts = [(thread / "status").read_text() for thread in Path(f"/proc/{pid}/task").iterdir()]
    return [next(line.split()[1] for line in text.splitlines() if line.startswith("Seccomp:")) for text in texts]


def _landlock():
    import ctypes

    return ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) >= 1
