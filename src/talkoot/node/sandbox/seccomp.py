"""The system call filter of a cell, as the bytes of a classic BPF program.

The filter is made once, by the node, and handed to the launcher, which only installs it. It is an allow-list:
what it does not know answers ENOSYS. A call made through a foreign architecture's entry ends the process, for
the numbers mean something else there.

The `flat` form is for a cell that shares the host's process and file view (rung `landlock`): no AF_UNIX, no
leaving of the process group, and changes of ownership and mode that succeed without doing anything.
"""

import errno
import struct
from collections.abc import Iterable
from typing import Final

from talkoot.node.sandbox.syscalls import ALLOWED, DENIED, NUMBERS, OWNERSHIP, SESSIONS

ARCHITECTURES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Machine: column of `NUMBERS`, and AUDIT_ARCH of linux/audit.h."""

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

_X32 = 0x40000000
_CLONE_NEW = 0x7E020000  # every CLONE_NEW* bit that fits clone(2)
_CLONE_PARENT = 0x8000
"""Makes a process that does not descend from who makes it. All that watches a cell goes by descent, so it is refused;
and for the same reason nobody may cease to be the subreaper of what descends from them."""
_PR_SET_CHILD_SUBREAPER = 36
_IOCTLS = (0x5401, 0x540F, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x802C542A)
"""TCGETS, TIOCGPGRP, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, TCGETS2: no input to terminals, no flags of
files, no devices."""
_AF_UNIX = 1
_PERSONALITIES = (0, 0xFFFFFFFF)
_PRCTLS = (1, 2, 3, 15, 16, 21, 23, 29, 30, 37, 38, 39, 41, 42, 0x53564D41)
"""PDEATHSIG, name, timer slack, no_new_privs, transparent pages, VMA names; nothing that hides a task."""

Instruction = tuple[int, int, int, int]


def _answer(number: int) -> Instruction:
    return (_RETURN, 0, 0, 0x00050000 | number)


_YES: Final[Instruction] = (_RETURN, 0, 0, _ALLOW)
_EPERM = _answer(errno.EPERM)


def _argument(index: int) -> Instruction:
    return (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * index)


def _only(index: int, values: Iterable[int], otherwise: Instruction = _EPERM) -> list[Instruction]:
    """Allow when the low word of an argument is one of the values."""
    code = [_argument(index)]
    for value in values:
        code += [(_EQUAL, 0, 1, value), _YES]
    return [*code, otherwise]


def _rules(flat: bool) -> dict[str, list[Instruction]]:
    """The calls whose arguments decide."""
    unknown_family = _answer(errno.EAFNOSUPPORT)
    rules = {
        "clone": [_argument(0), (_ANY_BIT, 0, 1, _CLONE_NEW | _CLONE_PARENT), _EPERM, _YES],
        # Its flags lie in memory, where a filter cannot look; libraries fall back to clone.
        "clone3": [_answer(errno.ENOSYS)],
        "ioctl": _only(1, _IOCTLS, _answer(errno.ENOTTY)),
        "personality": _only(0, _PERSONALITIES),
        "prctl": [
            *(_argument(0), (_EQUAL, 0, 4, _PR_SET_CHILD_SUBREAPER)),
            *(_argument(1), (_EQUAL, 0, 1, 1), _YES, _EPERM),
            *_only(0, _PRCTLS),
        ],
        "prlimit64": _only(0, (0,)),
        "sched_setaffinity": _only(0, (0,)),
        "socket": [unknown_family] if flat else _only(0, (_AF_UNIX,), unknown_family),
        "socketpair": _only(0, (_AF_UNIX,), unknown_family),
    }
    if flat:
        rules |= {name: [_answer(0)] for name in OWNERSHIP}
        rules |= {name: [_EPERM] for name in SESSIONS}
    return rules


def build(machine: str, *, flat: bool) -> bytes:
    """The filter for a machine (`x86_64`, `aarch64`), as an array of `struct sock_filter`.

    Raises KeyError for another machine: without a filter there is no sandbox.
    """
    column, architecture = ARCHITECTURES[machine]
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine == "x86_64":
        code += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    rules = _rules(flat)
    plain = ALLOWED if flat else ALLOWED | OWNERSHIP | SESSIONS
    rules |= {name: [_YES] for name in plain} | {name: [_EPERM] for name in DENIED}
    for name in sorted(rules):
        number = NUMBERS[name][column]
        if number >= 0:
            code += [(_EQUAL, 0, len(rules[name]), number), *rules[name]]
    code.append(_answer(errno.ENOSYS))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
