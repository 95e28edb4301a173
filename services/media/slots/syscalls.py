"""System calls by name, and what a slot may not do with them: the sandbox's rules as data.

A slot reads a file, computes and writes files; it was given its two channels before the filter. Everything that starts
a program or a process, opens a way to others, reaches into them, or changes the machine is on this list. It denies what
is known to be of use to an intruder, and lets through what it does not know: libraries choose their calls by kernel and
version, and a list of the allowed ones would end good calls after an update.
"""

from dataclasses import dataclass
from typing import Literal

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""As AUDIT_ARCH_* in linux/audit.h; both are little-endian and of 64 bits."""

_NUMBERS = """
execve 59 221            execveat 322 281         fork 57 -                vfork 58 -
clone 56 220             clone3 435 435           kill 62 129              tkill 200 130
tgkill 234 131           rt_sigqueueinfo 129 138  rt_tgsigqueueinfo 297 240  pidfd_send_signal 424 424
pidfd_open 434 434       pidfd_getfd 438 438      socket 41 198            socketpair 53 199
connect 42 203           bind 49 200              listen 50 201            accept 43 202
accept4 288 242          sendto 44 206            sendmsg 46 211           sendmmsg 307 269
recvmsg 47 212           recvmmsg 299 243         io_uring_setup 425 425   io_uring_enter 426 426
io_uring_register 427 427  ptrace 101 117         process_vm_readv 310 270  process_vm_writev 311 271
process_madvise 440 440  process_mrelease 448 448  kcmp 312 272            move_pages 279 239
migrate_pages 256 238    mount 165 40             umount2 166 39           pivot_root 155 41
chroot 161 51            move_mount 429 429       open_tree 428 428        open_tree_attr 467 467
fsopen 430 430           fsconfig 431 431         fsmount 432 432          fspick 433 433
mount_setattr 442 442    swapon 167 224           swapoff 168 225          quotactl 179 60
quotactl_fd 443 443      bpf 321 280              perf_event_open 298 241  userfaultfd 323 282
keyctl 250 219           add_key 248 217          request_key 249 218      unshare 272 97
setns 308 268            init_module 175 105      finit_module 313 273     delete_module 176 106
kexec_load 246 104       kexec_file_load 320 294  reboot 169 142           acct 163 89
syslog 103 116           settimeofday 164 170     clock_settime 227 112    clock_adjtime 305 266
adjtimex 159 171         sethostname 170 161      setdomainname 171 162    vhangup 153 58
iopl 172 -               ioperm 173 -             modify_ldt 154 -         personality 135 92
open_by_handle_at 304 265  name_to_handle_at 303 264  fanotify_init 300 262  mknod 133 -
mknodat 259 33           setuid 105 146           setgid 106 144           setreuid 113 145
setregid 114 143         setresuid 117 147        setresgid 119 149        setgroups 116 159
setfsuid 122 151         setfsgid 123 152         capset 126 91            setrlimit 160 164
prlimit64 302 261        shmget 29 194            shmat 30 196             semget 64 190
msgget 68 186            mq_open 240 180          mq_unlink 241 181        fcntl 72 25
ioctl 16 29              setpriority 141 140      ioprio_set 251 30
sched_setaffinity 203 122  sched_setscheduler 144 119  sched_setparam 142 118
sched_setattr 314 274    memfd_create 319 279     memfd_secret 447 447
chmod 90 -               fchmod 91 52             fchmodat 268 53
fchmodat2 452 452        chown 92 -               fchown 93 55
lchown 94 -              fchownat 260 54          setxattr 188 5
lsetxattr 189 6          fsetxattr 190 7          removexattr 197 14
lremovexattr 198 15      fremovexattr 199 16      utime 132 -
utimes 235 -             futimesat 261 -          utimensat 280 88
msgsnd 69 189            msgrcv 70 188            msgctl 71 187
semop 65 193             semctl 66 191            semtimedop 220 192
shmdt 67 197             shmctl 31 195            mq_timedsend 242 182
mq_timedreceive 243 183  mq_notify 244 184        mq_getsetattr 245 185
inotify_init 253 -       inotify_init1 294 26     inotify_add_watch 254 27
setxattrat 463 463       removexattrat 466 466    file_setattr 469 469
"""
# Of the last dozens: Landlock judges no mode, owner, mark or time of a file; ids of queues and semaphores can be
# guessed; and what a memfd holds is in nobody's memory limit but the pod's.

CLONE_THREAD = 0x00010000
CLONE_NEW_ANY = 0x7E020000  # every CLONE_NEW… but that of time, which only clone3 takes
F_SETOWN, F_SETSIG, F_SETOWN_EX = 8, 10, 15  # a descriptor that signals others on this process' behalf
TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP = 0x5412, 0x541C, 0x8901, 0x8902


@dataclass(frozen=True)
class Rule:
    """One system call and when it is denied.

    always; unless_own: its first argument is not this process; unless_zero: argument `argument` is not 0;
    if_in: argument `argument` is one of `values`; unless_thread: a clone that makes more than a thread.
    """

    call: str
    when: Literal["always", "unless_own", "unless_zero", "if_in", "unless_thread"] = "always"
    argument: int = 0
    values: tuple[int, ...] = ()
    error: Literal["EPERM", "ENOSYS"] = "EPERM"


_OWN_THREAD = ("sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr")
_RULES = {
    rule.call: rule
    for rule in (
        Rule("clone", "unless_thread"),
        Rule("clone3", error="ENOSYS"),  # its flags are behind a pointer; glibc falls back to clone
        Rule("kill", "unless_own"),
        Rule("tgkill", "unless_own"),  # abort() uses it
        Rule("sendto", "unless_zero", 4),  # to an address of its own choice; send() has none
        Rule("prlimit64", "unless_zero", 2),  # reading limits is fine
        *(Rule(name, "unless_zero") for name in _OWN_THREAD),
        Rule("fcntl", "if_in", 1, (F_SETOWN, F_SETSIG, F_SETOWN_EX)),
        Rule("ioctl", "if_in", 1, (TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP)),
    )
}


def numbers(machine: str) -> dict[str, int]:
    """Name → number on this machine (as `platform.machine()` names it), of the calls that it has. Raises KeyError."""
    column = {"x86_64": 1, "aarch64": 2}[machine]
    words = _NUMBERS.split()
    rows = [words[at : at + 3] for at in range(0, len(words), 3)]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


def rules(machine: str) -> list[tuple[int, Rule]]:
    """(number, rule) of every call on the list that this machine has."""
    return [(number, _RULES.get(name, Rule(name))) for name, number in numbers(machine).items()]
