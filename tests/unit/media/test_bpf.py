"""The sandbox's program, run here as the kernel would run it."""

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.slots.bpf import ALLOW, ERROR, KILL_PROCESS, X32, program
from services.media.slots.syscalls import ARCHITECTURES, CLONE_THREAD, F_SETOWN, numbers, rules

PID = 4711
MACHINES = sorted(ARCHITECTURES)
EPERM, ENOSYS = ERROR | errno.EPERM, ERROR | errno.ENOSYS
U64 = st.integers(0, 2**64 - 1)
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def verdict(machine, number, arguments=(0,) * 6, *, architecture=None):
    """Interpret the program: load a word, compare, jump forwards, return. Raises IndexError for one without an end."""
    words = {0: number & 0xFFFFFFFF, 4: ARCHITECTURES[machine] if architecture is None else architecture}
    for at, value in enumerate(arguments):
        words[16 + 8 * at], words[20 + 8 * at] = value & 0xFFFFFFFF, value >> 32
    at, loaded, steps = 0, 0, program(machine, PID)
    while True:
        step = steps[at]
        at += 1
        match step.code:
            case 0x06:
                return step.k
            case 0x20:
                loaded = words[step.k]
            case 0x15:
                at += step.if_true if loaded == step.k else step.if_false
            case 0x35:
                at += step.if_true if loaded >= step.k else step.if_false
            case 0x45:
                at += step.if_true if loaded & step.k else step.if_false
            case unknown:
                raise AssertionError(unknown)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_kernel_takes_its_shape(machine):
    steps = program(machine, PID)
    assert len(steps) < 4096
    for at, step in enumerate(steps):
        assert 0 <= step.if_true <= 255
        assert 0 <= step.if_false <= 255
        assert at + 1 + max(step.if_true, step.if_false) < len(steps) or step.code == 0x06
    assert steps[-1].code == 0x06


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(0, 600), arguments=st.tuples(*[U64] * 6))
def test_what_is_not_on_the_list_is_allowed_and_the_rest_never_kills(machine, number, arguments):
    found = verdict(machine, number, arguments)
    listed = dict(rules(machine))
    if number not in listed:
        assert found == ALLOW
    elif listed[number].when == "always":
        assert found in (EPERM, ENOSYS)
    else:
        assert found in (EPERM, ALLOW)


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(0, 2**32 - 1), architecture=st.integers(0, 2**32 - 1))
def test_another_architecture_ends_the_process(machine, number, architecture):
    if architecture != ARCHITECTURES[machine]:
        assert verdict(machine, number, architecture=architecture) == KILL_PROCESS


@given(number=st.integers(X32, 2**32 - 1))
def test_the_x32_half_ends_the_process(number):
    assert verdict("x86_64", number) == KILL_PROCESS


@pytest.mark.parametrize("machine", MACHINES)
@given(flags=U64)
def test_a_clone_is_a_thread_and_no_namespace(machine, flags):
    allowed = bool(flags & CLONE_THREAD) and not flags & 0x7E020000
    assert (verdict(machine, numbers(machine)["clone"], (flags, 0, 0, 0, 0, 0)) == ALLOW) == allowed
    assert verdict(machine, numbers(machine)["clone3"], (flags, 0, 0, 0, 0, 0)) == ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
@given(argument=U64)
def test_it_signals_only_itself_and_sends_to_no_address(machine, argument):
    known = numbers(machine)
    for name in ("kill", "tgkill"):
        found = verdict(machine, known[name], (argument, 9, 0, 0, 0, 0))
        assert (found == ALLOW) == (argument & 0xFFFFFFFF == PID)
    assert verdict(machine, known["kill"], (PID, 9, 0, 0, 0, 0)) == ALLOW
    assert (verdict(machine, known["sendto"], (3, 0, 0, 0, argument, 0)) == ALLOW) == (argument == 0)
    assert (verdict(machine, known["prlimit64"], (0, 2, argument, 0, 0, 0)) == ALLOW) == (argument == 0)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_descriptor_signals_nobody_for_it(machine):
    fcntl = numbers(machine)["fcntl"]
    assert verdict(machine, fcntl, (3, F_SETOWN, 1, 0, 0, 0)) == EPERM
    assert verdict(machine, fcntl, (3, 10, 9, 0, 0, 0)) == EPERM
    assert verdict(machine, fcntl, (3, 15, 0, 0, 0, 0)) == EPERM
    for harmless in (1, 2, 3, 4, 1030):
        assert verdict(machine, fcntl, (3, harmless, 0, 0, 0, 0)) == ALLOW
    assert verdict(machine, numbers(machine)["ioctl"], (0, 0x5412, 0, 0, 0, 0)) == EPERM
    assert verdict(machine, numbers(machine)["ioctl"], (0, 0x5401, 0, 0, 0, 0)) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_of_the_kernel(machine):
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"{header} is not here")
    pairs = (line.split()[1:3] for line in header.read_text().splitlines() if line.startswith("#define __NR"))
    theirs = {
        name.removeprefix("__NR3264_").removeprefix("__NR_"): int(number)
        for name, number in (pair for pair in pairs if len(pair) == 2)
        if number.isdigit()
    }
    ours = numbers(machine)
    assert len(ours) > 80
    assert {name: number for name, number in ours.items() if theirs.get(name, number) != number} == {}
    assert len(set(ours) & set(theirs)) > 80


def test_a_machine_without_rules_is_refused():
    with pytest.raises(KeyError):
        program("riscv64", PID)
