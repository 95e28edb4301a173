"""The sandbox's rules as a program for the kernel's packet filter; pure, so that tests can run it.

The program looks at `struct seccomp_data`: number, architecture, six arguments. Invariants: what comes from another
architecture (or, on x86_64, from its x32 half, whose numbers mean other calls) ends the process; every path ends in a
verdict. The kernel remembers calls that are allowed whatever their arguments are, so the length costs those nothing.
"""

import errno
from typing import NamedTuple

from services.media.slots.syscalls import ARCHITECTURES, CLONE_NEW_ANY, CLONE_THREAD, Rule, rules

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
KILL_PROCESS, ERROR, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
X32 = 0x40000000


class Step(NamedTuple):
    """`struct sock_filter`: where to go on is counted from the next step."""

    code: int
    if_true: int
    if_false: int
    k: int


def program(machine: str, pid: int) -> list[Step]:
    """For one process: it may signal nobody but `pid`, itself. Raises KeyError for a machine that is not known."""
    steps = [
        Step(LOAD, 0, 0, ARCHITECTURE),
        Step(EQUAL, 1, 0, ARCHITECTURES[machine]),
        Step(RETURN, 0, 0, KILL_PROCESS),
        Step(LOAD, 0, 0, NUMBER),
    ]
    if machine == "x86_64":
        steps += [Step(AT_LEAST, 0, 1, X32), Step(RETURN, 0, 0, KILL_PROCESS)]
    for number, rule in rules(machine):
        block = _block(rule, pid)
        steps += [Step(EQUAL, 0, len(block), number), *block]
    return [*steps, Step(RETURN, 0, 0, ALLOW)]


def _block(rule: Rule, pid: int) -> list[Step]:
    """Ends in a verdict on every path, so what it loads disturbs nobody after it."""
    deny = Step(RETURN, 0, 0, ERROR | getattr(errno, rule.error))
    allow = Step(RETURN, 0, 0, ALLOW)
    low = ARGUMENTS + 8 * rule.argument
    match rule.when:
        case "always":
            return [deny]
        case "unless_own":  # a pid has 32 bits: the kernel does not look at the others
            return [Step(LOAD, 0, 0, low), Step(EQUAL, 1, 0, pid), deny, allow]
        case "unless_zero":
            return [Step(LOAD, 0, 0, low), Step(EQUAL, 0, 2, 0), Step(LOAD, 0, 0, low + 4), Step(EQUAL, 1, 0, 0), deny,
                    allow]  # fmt: skip
        case "if_in":
            values = rule.values
            checks = [Step(EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)]
            return [Step(LOAD, 0, 0, low), *checks, allow, deny]
        case "unless_thread":
            return [Step(LOAD, 0, 0, low), Step(ANY_BIT, 1, 0, CLONE_THREAD), deny, Step(ANY_BIT, 0, 1, CLONE_NEW_ANY),
                    deny, allow]  # fmt: skip
