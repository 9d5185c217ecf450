"""The launcher: turns its own process into a confined one and becomes the worker in it.

It runs as `python -I -S launch.py CONFIG_FD ANSWER_FD`, already under the cell's uid, and stands alone: it
imports only what starts quickly, nothing of Talkoot. It says one byte when it is up (so that the node can put
it into a control group first), reads its plan (`plan.py`) and does each step in order. A step that fails ends
it with exit status 125 and one line on stderr, `step: error`; it never goes on with less than it was told.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # without the cost of importing typing
    from collections.abc import Callable
    from typing import Any, NoReturn

    Plan = dict[str, Any]

FAILED = 125

PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 1, 24, 38, 36
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
CLONE_NEW = 0x10000000 | 0x00020000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000 | 0x02000000
"""CLONE_NEWUSER, NEWNS, NEWPID, NEWNET, NEWIPC, NEWUTS, NEWCGROUP."""
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
AT_FDCWD, AT_RECURSIVE, MNT_DETACH = -100, 0x8000, 2
MOUNT_SETATTR, CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 442, 444, 445, 446  # the same on every machine
SIGKILL = 9

READ, WRITE, ON_FILES = 0b1101, 0b111_1111_1111_0010, 0b1100_0000_0000_0111
"""Landlock: execute, read file, read folder; write, make, remove, refer, truncate; the rights that a file can have."""
RIGHTS_OF_ABI = (0, 0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF)

libc = ctypes.CDLL(None, use_errno=True)
libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)


def check(result: int, what: str = "") -> int:
    """Raise the errno of a C call that answered -1."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what or None)
    return result


def syscall(number: int, *arguments: Any) -> int:
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return check(libc.syscall(ctypes.c_long(number), *wide))


def prctl(option: int, argument: int, third: Any = 0) -> None:
    third = ctypes.c_ulong(third) if isinstance(third, int) else third
    check(libc.prctl(option, ctypes.c_ulong(argument), third, ctypes.c_ulong(0), ctypes.c_ulong(0)))


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    check(libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()), target)


def set_mount(path: str, attributes: int, flags: int = 0) -> None:
    attr = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    syscall(MOUNT_SETATTR, AT_FDCWD, ctypes.c_char_p(path.encode()), flags, ctypes.byref(attr), 32)


def die_with(parent: int) -> None:
    """End when the node ends, also when it ended before this call."""
    prctl(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:
        os._exit(FAILED)


def unshare(plan: Plan) -> None:
    """Own namespaces; the uid outside is the one inside that owns nothing else."""
    uid, gid = os.getuid(), os.getgid()
    check(libc.unshare(CLONE_NEW))
    for name, text in (
        ("uid_map", f"{plan['inner_uid']} {uid} 1"),
        ("setgroups", "deny"),
        ("gid_map", f"{plan['inner_uid']} {gid} 1"),
    ):
        with open("/proc/self/" + name, "w") as file:
            file.write(text)


def wait_for(child: int, others: list[int]) -> NoReturn:
    """Stay as the parent of the sandbox (and its reaper, where pid is 1) until `child` ends; end as it did."""
    for fd in others:
        os.close(fd)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def fork_and_stay(fds: list[int]) -> None:
    child = os.fork()
    if child:
        wait_for(child, [1, 2, *fds])


def build_view(plan: Plan) -> None:
    """A root of our own, holding only what the plan names; everything but the scratch is read-only."""
    view, root = plan["view"], plan["root"]
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=1k,mode=755")
    for source, target, kind in view["binds"]:
        place = root + target
        if os.path.isdir(source):
            os.makedirs(place, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))
        mount(source, place, "none", MS_BIND | MS_REC)
        if kind == "read":
            set_mount(place, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, AT_RECURSIVE)
    for target, options in view["scratch"]:
        os.makedirs(root + target, exist_ok=True)
        mount("tmpfs", root + target, "tmpfs", MS_NOSUID | MS_NODEV, options)
    for folder in view["folders"]:
        os.makedirs(root + folder, exist_ok=True)
    for text, target in view["links"]:
        os.makedirs(os.path.dirname(root + target), exist_ok=True)
        os.symlink(text, root + target)
    os.makedirs(root + "/proc", exist_ok=True)
    mount("proc", root + "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    check(libc.sethostname(b"talkoot", 7))
    os.chdir(root)
    syscall(plan["pivot_root"], ctypes.c_char_p(b"."), ctypes.c_char_p(b"."))
    check(libc.umount2(b".", MNT_DETACH))
    os.chdir("/")
    set_mount("/", MOUNT_ATTR_RDONLY)


def drop_capabilities() -> None:
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) == -1:
            break
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    check(libc.capset(header, none))


def landlock(rules: Plan) -> None:
    """Grant only the paths named; no TCP, no signals and no abstract sockets across the border."""
    abi = libc.syscall(ctypes.c_long(CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if abi < rules["least_abi"]:
        check(abi, "Landlock")
        raise OSError(38, f"Landlock ABI {abi} is too old, {rules['least_abi']} is needed")
    if abi < 1:
        return
    handled = RIGHTS_OF_ABI[min(abi, len(RIGHTS_OF_ABI) - 1)]
    attr = (ctypes.c_uint64 * 3)(handled, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = syscall(CREATE_RULESET, ctypes.byref(attr), size, 0)
    for path, writable in rules["paths"]:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        rights = (READ | WRITE if writable else READ) & handled
        if not os.path.isdir(path):
            rights &= ON_FILES
        beneath = rights.to_bytes(8, sys.byteorder) + fd.to_bytes(4, sys.byteorder)
        syscall(ADD_RULE, ruleset, 1, ctypes.c_char_p(beneath), 0)
        if path.startswith("/proc/self/"):
            os.set_inheritable(fd, True)  # kept open: a file that the kernel has forgotten comes back as another one
        else:
            os.close(fd)
    syscall(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def limit(pairs: list[tuple[int, int]]) -> None:
    for number, value in pairs:
        check(libc.setrlimit(number, (ctypes.c_uint64 * 2)(value, value)))


def install_filter(code: bytes) -> None:
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    program = Program(len(code) // 8, code)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program))


def confine(plan: Plan) -> None:
    """Everything that binds this process and all that come of it, the filter last."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if plan["landlock"]:
        step("landlock", landlock, plan["landlock"])
    step("limits", limit, plan["limits"])
    step("capabilities", drop_capabilities)
    if plan["filter"]:
        step("seccomp", install_filter, plan["filter"])


def step(name: str, action: Callable[..., Any], *arguments: Any) -> None:
    try:
        action(*arguments)
    except OSError as error:
        os.write(2, f"{name}: {error}\n".encode())
        os._exit(FAILED)


def read_plan(fd: int) -> Plan:
    parts = []
    while part := os.read(fd, 1 << 16):
        parts.append(part)
    os.close(fd)
    # Written by the node for this process; nothing of a guest's is in it.
    plan: Plan = marshal.loads(b"".join(parts))  # noqa: S302
    return plan


def main() -> None:
    config_fd, answer_fd = int(sys.argv[1]), int(sys.argv[2])
    os.write(answer_fd, b"+")
    plan = read_plan(config_fd)
    if plan["parent"]:
        step("parent", die_with, plan["parent"])
    if plan["view"]:
        step("namespaces", unshare, plan)
        fork_and_stay(plan["fds"])
        step("parent", prctl, PR_SET_PDEATHSIG, SIGKILL)
        step("view", build_view, plan)
        confine(plan)
        fork_and_stay(plan["fds"])
    elif plan["bare"]:
        step("limits", limit, plan["limits"])
    else:
        confine(plan)
    if plan["subreaper"]:
        step("subreaper", prctl, PR_SET_CHILD_SUBREAPER, 1)
    step("scratch", os.chdir, plan["cwd"])
    step("worker", os.execve, plan["argv"][0], plan["argv"], plan["env"])


if __name__ == "__main__":
    main()
