import os

import pytest

from services.media.cpus import limits, usable_cpus


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Where a process with these cgroups reads, on a machine with 8 CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    def made(cgroup):
        (tmp_path / "proc").write_text(cgroup)
        return tmp_path / "proc", tmp_path / "root"

    return made


def write(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.mark.parametrize(
    ("quota", "slots"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 1), ("250000 100000", 2), ("50000 100000", 1),
     ("1600000 100000", 8), ("199999 100000", 1), ("nonsense", 8)],
)  # fmt: skip
def test_a_fraction_is_the_workers_own(machine, quota, slots):
    proc, root = machine("0::/\n")
    write(root, "cpu.max", quota)
    assert usable_cpus(proc, root) == slots


def test_the_tightest_of_those_above_counts(machine):
    proc, root = machine("0::/kubepods/pod1/main\n")
    write(root, "kubepods/pod1/main/cpu.max", "max 100000")
    write(root, "kubepods/pod1/cpu.max", "300000 100000")
    write(root, "kubepods/cpu.max", "700000 100000")
    assert sorted(limits(proc, root)) == [3.0, 7.0]
    assert usable_cpus(proc, root) == 3


def test_version_1_is_read_too(machine):
    proc, root = machine("3:cpuset:/\n2:cpu,cpuacct:/docker/abc\n")
    write(root, "cpu/docker/abc/cpu.cfs_quota_us", "250000")
    write(root, "cpu/docker/abc/cpu.cfs_period_us", "100000")
    write(root, "cpu/cpu.cfs_quota_us", "-1")
    write(root, "cpu/cpu.cfs_period_us", "100000")
    assert list(limits(proc, root)) == [2.5]
    assert usable_cpus(proc, root) == 2


def test_without_a_cgroup_it_is_the_affinity(tmp_path, machine):
    proc, root = machine("0::/\n")
    assert usable_cpus(proc, root) == 8
    assert usable_cpus(tmp_path / "absent", root) == 8
