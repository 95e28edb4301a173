"""Many seeds, each a different world and a different run of bad luck; every promise holds in all of them.

`SIMULATION_RUNS` (400) says how many, `SIMULATION_SEED` (0) where they begin. A seed that fails prints its trace, and
`python -m tests.simulation --seed N` replays it exactly.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.simulation.world import World

RUNS = int(os.environ.get("SIMULATION_RUNS", "400"))
FIRST = int(os.environ.get("SIMULATION_SEED", "0"))
PROCESSES = 2


@pytest.mark.slow
@pytest.mark.timeout(120 + RUNS // 4)
def test_every_promise_holds_for_every_seed():
    each = -(-RUNS // PROCESSES)
    command = [sys.executable, "-m", "tests.simulation", "--step", str(PROCESSES), "--runs", str(each)]
    runs = [
        subprocess.Popen([*command, "--from", str(FIRST + offset)], stdout=subprocess.PIPE, text=True)
        for offset in range(PROCESSES)
    ]
    try:
        lines = [json.loads(line) for run in runs for line in run.communicate()[0].splitlines()]
    finally:
        for run in runs:
            run.kill()
    failed = [line for line in lines if "failure" in line]
    assert not failed, f"{len(failed)} seeds failed, the first:\n{failed[0]['story']}"
    assert [run.returncode for run in runs] == [0] * PROCESSES
    stats = [line["stats"] for line in lines if "stats" in line]
    assert sum(one["runs"] for one in stats) == each * PROCESSES
    print(json.dumps({name: sum(one.get(name, 0) for one in stats) for name in stats[0]}))


REPLAY = "from tests.simulation.world import World; print(World({seed}).run().story(10**6))"


@pytest.mark.parametrize("seed", [3, 59])
def test_a_seed_replays_exactly(seed):
    """In other processes, whose strings hash differently and whose clocks say something else."""
    stories = set()
    for salt in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": salt}
        command = [sys.executable, "-c", REPLAY.format(seed=seed)]
        stories.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(stories) == 1
    assert len(stories.pop().splitlines()) > 50


def test_the_world_is_not_tame():
    """Over a few seeds every kind of fault strikes, and work is done none the less."""
    stats, jobs = {}, 0
    for seed in range(60):
        done = World(seed).run()
        assert done.failure is None, done.story()
        jobs += done.jobs
        for name, count in done.stats.items():
            stats[name] = stats.get(name, 0) + count
    assert jobs > 300
    for fault in ("lost", "late", "refused", "die_before", "die_after", "stop_before", "stop_after", "wipe", "restore",
                  "lag", "duplicate", "reorder", "steal_lock", "kill_relay", "drain_worker", "cancel_job",
                  "families", "follow_ups", "unique_made", "unique_kept", "unique_replaced",
                  "lost_marks", "clock_set", "ticks", "missed_ticks", "pause_lane", "pause_queue", "held", "in_lane",
                  "in_ordered_lane", "in_group", "hold_lane"):  # fmt: skip
        assert stats.get(fault), f"{fault} never happened: {stats}"
