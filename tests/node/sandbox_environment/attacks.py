"""What the sandbox tests run inside a cell, as an installed package: honest tasks, attacks, and gluttons.

An attack returns the names of what was possible; nothing means that the sandbox held.
"""

import contextlib
import ctypes
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)


def run(name, *args):
    return globals()[name](*args)


# Honest tasks.


def double(x):
    return 2 * x


def draws(n):
    return [random.random() for _ in range(n)]


def hashed(text):
    return hash(text)


def about():
    return {
        "environ": dict(os.environ),
        "cwd": os.getcwd(),
        "files": os.listdir("."),
        "path": list(sys.path),
        "fds": [fd for fd in range(64) if _is_open(fd)],
        "executable": sys.executable,
        "uid": os.getuid(),
        "msgspec": "msgspec" in sys.modules,
    }


def _is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def litters():
    """Leave files and variables for the next task."""
    os.makedirs("a/b/c")
    with open(os.path.join(os.environ["TMPDIR"], "left"), "w") as file:
        file.write("x")
    os.environ["LEFT"] = "x"
    os.symlink("/", "a/root")
    print("left on stdout")
    return


def reads(name):
    with open(os.path.join(os.environ["TALKOOT_INPUTS"], name)) as file:
        return file.read()


def raises(message):
    raise ValueError(message)


def leaves(code):
    sys.exit(code)


def unknown():
    return object()


def forks_and_comes_back():
    os.fork()
    return os.getpid() and 1


def mapped():
    with open("/proc/self/maps") as file:
        return file.read()


def pooled(method):
    """Worker processes of the task's own."""
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(double, range(4))


def shell(line):
    return subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout


def by_unix_socket():
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("here")
        server.listen()
        client.connect("here")
        server.accept()[0].send(b"through")
        return client.recv(16)


# Attacks.


def _tried(attempts):
    found = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except OSError:
            continue
        found.append(name)
    return found


def network(port, abstract, path):
    def connect(family, kind, address):
        with socket.socket(family, kind) as s:
            s.settimeout(1)
            s.connect(address)
            s.send(b"x")

    def make(family, kind=socket.SOCK_RAW, protocol=0):
        socket.socket(family, kind, protocol).close()

    return _tried(
        {
            "tcp": lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port)),
            "tcp6": lambda: connect(socket.AF_INET6, socket.SOCK_STREAM, ("::1", port)),
            "udp": lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", port)),
            "dns": lambda: socket.getaddrinfo("localhost.talkoot.test", 80),
            "abstract": lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + abstract),
            "unix path": lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, path),
            "raw": lambda: make(socket.AF_INET, protocol=1),
            "netlink": lambda: make(socket.AF_NETLINK),
            "packet": lambda: make(socket.AF_PACKET),
            "vsock": lambda: make(40, socket.SOCK_STREAM),
        }
    )


def files(paths):
    """Read them: directly, by a symbolic link, by /proc/self/root."""

    def read(path):
        with open(path, "rb") as file:
            file.read(1)

    def by_link(path):
        os.symlink(path, "link")
        try:
            read("link")
        finally:
            os.unlink("link")

    attempts = {}
    for path in paths:
        attempts[path] = lambda path=path: read(path)
        attempts[f"link to {path}"] = lambda path=path: by_link(path)
        attempts[f"root of {path}"] = lambda path=path: read("/proc/self/root" + path)
    return _tried(attempts)


def seen(paths):
    return [path for path in paths if os.path.lexists(path)]


def writes(paths):
    """Change files that are there to be read."""

    def write(path):
        with open(path, "r+b") as file:
            file.write(b"changed")

    def by_descriptor(path):
        fd = os.open(path, os.O_RDONLY)
        os.close(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY))

    def by_hard_link(path):
        os.link(path, "hard")
        write("hard")

    def by_symlink(path):
        os.symlink(path, f"soft-{os.path.basename(path)}")
        write(f"soft-{os.path.basename(path)}")

    attempts = {}
    for path in paths:
        attempts |= {
            f"write {path}": lambda path=path: write(path),
            f"truncate {path}": lambda path=path: os.truncate(path, 0),
            f"fd {path}": lambda path=path: by_descriptor(path),
            f"hard link {path}": lambda path=path: by_hard_link(path),
            f"symlink {path}": lambda path=path: by_symlink(path),
            f"unlink {path}": lambda path=path: os.unlink(path),
            f"rename {path}": lambda path=path: os.rename(path, path + ".moved"),
            f"beside {path}": lambda path=path: open(path + ".new", "w").close(),
        }
    return _tried(attempts)


def changes_mode(paths):
    """Success means nothing here: the caller looks whether the file changed."""
    for path in paths:
        for attempt in (lambda p: os.chmod(p, 0o777), lambda p: os.utime(p, (1, 1))):
            with contextlib.suppress(OSError):
                attempt(path)
    return


def processes(node):
    """The node, and any other process of the host, as a target."""

    def environ(pid):
        with open(f"/proc/{pid}/environ", "rb") as file:
            file.read(1)

    def memory(pid):
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))

    def call(number, *args):
        if libc.syscall(number, *args) < 0:
            raise OSError(ctypes.get_errno(), "")

    return _tried(
        {
            "environ": lambda: environ(node),
            "mem": lambda: memory(node),
            "signal": lambda: os.kill(node, signal.SIGURG),
            "null signal": lambda: os.kill(node, 0),
            "ptrace": lambda: call(101, 16, node, 0, 0),
            "process_vm_readv": lambda: call(310, node, 0, 0, 0, 0, 0),
            "pidfd": lambda: call(434, node, 0),
            "affinity": lambda: os.sched_setaffinity(node, {0}),
            "nice": lambda: os.setpriority(os.PRIO_PROCESS, node, 19),
            "scheduler": lambda: os.sched_setscheduler(node, os.SCHED_IDLE, os.sched_param(0)),
            "prlimit": lambda: call(302, node, 7, None, None),
        }
    )


def visible_processes():
    try:
        return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    except OSError:
        return []


def kernel():
    """Doors of the kernel (x86-64 numbers) that a task has no business with."""

    class Clone(ctypes.Structure):
        _fields_ = [("flags", ctypes.c_uint64), ("rest", ctypes.c_uint64 * 10)]

    def call(number, *args):
        def attempt():
            if libc.syscall(number, *args) == -1:
                raise OSError(ctypes.get_errno(), "")

        return attempt

    buffer = ctypes.create_string_buffer(256)
    return _tried(
        {
            "unshare user": call(272, 0x10000000),
            "unshare mount": call(272, 0x20000),
            "clone new user": call(56, 0x10000000 | 17, 0, 0, 0, 0),
            "clone3 new user": call(435, ctypes.byref(Clone(0x10000000)), 88),
            "mount": call(165, b"none", b"/", b"tmpfs", 0, None),
            "umount": call(166, b"/scratch", 2),
            "chroot": call(161, b"/"),
            "setns": call(308, 0, 0),
            "userfaultfd": call(323, 1),
            "bpf": call(321, 0, buffer, 64),
            "perf": call(298, buffer, 0, -1, -1, 0),
            "io_uring": call(425, 4, buffer),
            "add_key": call(248, b"user", b"talkoot", b"x", 1, -3),
            "keyctl": call(250, 0, -3, 0),
            "mq_open": call(240, b"talkoot", 0o102, 0o600, None),
            "shmget": call(29, 0, 4096, 0o1600),
            "msgget": call(68, 0, 0o1600),
            "inotify": call(294, 0),
            "memfd": call(319, b"x", 0),
            "dumpable": call(157, 4, 0, 0, 0, 0),
            "seccomp": call(317, 0, 0, None),
            "personality": call(135, 0x0040000),
            "open_by_handle_at": call(304, 0, buffer, 0),
        }
        if sys.argv and os.uname().machine == "x86_64"
        else {}
    )


def foreign_numbers():
    """getpid by the x32 table."""
    return libc.syscall(0x40000000 | 39)


# Gluttons.


def fork_bomb():
    while True:
        if os.fork() == 0:
            time.sleep(60)


def thread_bomb():
    while True:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def memory_hog(total):
    held = []
    while len(held) < total >> 20:
        held.append(b"x" * (1 << 20))
    return len(held)


def memory_of_children(count, each):
    for _ in range(count):
        if os.fork() == 0:
            held = b"x" * each
            time.sleep(60)
            os._exit(len(held) and 0)
    time.sleep(30)
    return


def fills_disk(total):
    part = b"x" * (1 << 20)
    for n in range(total >> 22):
        with open(f"f{n}", "wb") as file:
            for _ in range(4):
                file.write(part)
    time.sleep(1)
    return


def fills_disk_unnamed(total):
    part = b"x" * (1 << 20)
    for n in range(total >> 22):
        fd = os.open(f"gone{n}", os.O_CREAT | os.O_WRONLY)
        os.unlink(f"gone{n}")
        for _ in range(4):
            os.write(fd, part)
    time.sleep(1)
    return


def many_files(count):
    for n in range(count):
        os.close(os.open(f"f{n}", os.O_CREAT | os.O_WRONLY))
    time.sleep(1)
    return


def deep_tree(depth):
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
    return depth


def endless():
    while True:
        pass


def named_and_endless(name):
    libc.prctl(15, name.encode(), 0, 0, 0)
    endless()


def ignores_signals():
    for number in range(1, 32):
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1)


def prints(total):
    part = b"x" * (1 << 20)
    for _ in range(total >> 20):
        os.write(1, part)
    print("the end")
    return total


def returns(size):
    return b"x" * size


def exits(code):
    os._exit(code)


def crashes():
    ctypes.string_at(0)


def babbles():
    """Write to every descriptor that there is."""
    for fd in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(fd, b"\xff" * 64)
    time.sleep(5)


def forges(body):
    """Answer in the worker's place."""
    for fd in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(fd, len(body).to_bytes(4, "little") + body)
    time.sleep(5)


def leaves_daemon(name):
    child = os.fork()
    if child == 0:
        with contextlib.suppress(OSError):
            os.setsid()
        if os.fork() == 0:
            libc.prctl(15, name.encode(), 0, 0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)
        os._exit(0)
    os.waitpid(child, 0)
    time.sleep(0.05)
    return


def computes_afterwards():
    """A timer interrupts the worker's wait for the next task, and does not come back."""
    signal.signal(signal.SIGALRM, lambda *_: endless())
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    return


def recurses():
    sys.setrecursionlimit(5_000)
    return recurses()


def foreign_msgspec():
    import msgspec

    class Point(msgspec.Struct):
        x: int

    return [msgspec.__file__, msgspec.json.encode(Point(1))]


def leaves_thread():
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return


def numpy_draws(n):
    import numpy

    return [float(x) for x in numpy.random.random(n)]


# Processes that nobody looks for.

_CLONE_PARENT, _SUBREAPER, _SIGCHLD = 0x8000, 36, 17
_CLONE = {"x86_64": 56, "aarch64": 220}


def has_a_sibling_made():
    """Make a process that is a child of the worker's parent, and so not among those that descend from the worker."""
    pid = libc.syscall(_CLONE[os.uname().machine], _CLONE_PARENT | _SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        time.sleep(5)
        os._exit(0)
    return ["a process beside the worker"] if pid > 0 else []


def leaves_an_orphan_to_others():
    """Be no subreaper any more, so that a grandchild falls to somebody else."""
    libc.prctl(_SUBREAPER, 0, 0, 0, 0)
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(5)
        os._exit(0)
    os.wait()
    return "left behind"
