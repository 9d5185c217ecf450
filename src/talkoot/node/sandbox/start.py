"""Starts cells: brings together the store, uids, control groups and the launcher."""

import contextlib
import fcntl
import marshal
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec

from talkoot.core.errors import NoSandbox
from talkoot.core.types import Rung
from talkoot.node.guest import frames, scratch
from talkoot.node.sandbox import plan, usage, view
from talkoot.node.sandbox.accounts import Accounts
from talkoot.node.sandbox.cell import MOST_OUTPUT_BYTES, Cell, Holding
from talkoot.node.sandbox.cgroups import Caps, Group, Groups
from talkoot.node.sandbox.channel import Broken, Channel, Ended, Late
from talkoot.node.sandbox.keeper import Keeper
from talkoot.node.sandbox.model import CellSpec
from talkoot.node.sandbox.store import Interpreter, Store, unreachable
from talkoot.node.sandbox.watch import Watch

START_TIMEOUT_S: Final = 30.0
_OWN_ROOT: Final = frozenset({Rung.BWRAP, Rung.NAMESPACES})


class Host:
    """What the device lends to cells, found out once."""

    def __init__(self, folder: Path) -> None:
        self._store = Store(folder)
        self._accounts = Accounts()
        self._groups = Groups()
        self._keeper = Keeper()
        _remove_leftovers(self._store.folder)
        self._cells = Path(tempfile.mkdtemp(prefix="cells-", dir=self._store.folder))
        self._cells.chmod(0o755)
        self._held = os.open(self._cells, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        self.witness = str(self._cells / "witness")
        Path(self.witness).write_text("A cell that can read this does not hold.\n")

    @cached_property
    def _interpreter(self) -> Interpreter:
        return self._store.interpreter()

    @cached_property
    def _runtime(self) -> Path:
        return self._store.runtime()

    def start(self, rung: Rung, spec: CellSpec, ended: Callable[[Cell], None]) -> Cell:
        """A cell whose worker is up. Raises NoSandbox with the reason; nothing remains of a start that failed."""
        self._check(rung, spec)
        with ExitStack() as undo:
            cell = _Starting(self, rung, spec, undo).cell()
            lent = undo.pop_all()

        def give_back() -> None:
            self._keeper.forget(cell)
            lent.close()
            ended(cell)

        cell.lend(give_back)
        self._keeper.watch(cell)
        return cell

    def close(self) -> None:
        """Remove the cells' folder. The copies in the store stay for the next start."""
        self._keeper.close()
        shutil.rmtree(self._cells, ignore_errors=True)
        with suppress(OSError):
            os.close(self._held)

    def _check(self, rung: Rung, spec: CellSpec) -> None:
        """What can be said in better words before it is tried."""
        if rung is Rung.BWRAP and shutil.which("bwrap") is None:
            raise NoSandbox("bwrap is not installed")
        if rung is Rung.NONE or os.geteuid() != 0:
            return
        if not self._accounts.own_uid:
            raise NoSandbox(
                "the node is root and can become no other user, and a task never runs as root",
                hint="Run the node as an ordinary user, or in a container that maps more than one user.",
            )
        paths = [self._store.folder, *(path for path, _ in spec.inputs)]
        for path in [*paths, spec.environment] if spec.environment else paths:
            if problem := unreachable(path):
                raise NoSandbox(problem, hint="Give the node a store where others may enter, such as below /var/lib.")


class _Starting:
    """One cell on its way up. What is taken is put on `undo` at once."""

    def __init__(self, host: Host, rung: Rung, spec: CellSpec, undo: ExitStack) -> None:
        self._host = host
        self._rung = rung
        self._spec = spec
        self._undo = undo

    def cell(self) -> Cell:
        host, spec = self._host, self._spec
        uid = None if self._rung is Rung.NONE else host._accounts.take()
        self._undo.callback(host._accounts.give_back, uid)
        folder = self._folder(uid)
        seen = view.of(self._rung, spec, host._interpreter, host._runtime, folder)
        if self._rung not in _OWN_ROOT:
            for source, target in seen.links:
                os.symlink(source, target)
        group = self._group()
        ends = _Pipes(self._undo)
        start = plan.Start(
            rung=self._rung,
            spec=spec,
            view=seen,
            own_uid=uid is not None,
            processes_of_uid=self._processes_of_uid(uid),
            request_fd=ends.request[0],
            answer_fd=ends.answer[1],
            root=str(folder / "root"),
            python=str(host._interpreter.folder / host._interpreter.executable),
            runtime=str(host._runtime),
        )
        process = self._spawn(start, ends, uid, group)
        channel = Channel(
            request_fd=ends.request[1],
            answer_fd=ends.answer[0],
            stdout_fd=ends.stdout[0],
            stderr_fd=ends.stderr[0],
            pidfd=ends.own(os.pidfd_open(process.pid)),
            most_output=MOST_OUTPUT_BYTES,
        )
        self._handshake(process, channel, ends, start, group)
        watch = Watch(
            rung=self._rung,
            limits=spec.limits,
            worker=usage.tree(process.pid)[-1],
            scratch="" if self._rung in _OWN_ROOT else str(folder / "scratch"),
            group=group,
        )
        enforced = "cgroup,rlimit" if group else "rlimit,polled"
        return Cell(self._rung, enforced, spec.limits, Holding(process, channel, watch))

    def _folder(self, uid: int | None) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="cell-", dir=self._host._cells))
        self._undo.callback(_remove, folder)
        folder.chmod(0o755)
        for name in ("root", "inputs", "scratch"):
            (folder / name).mkdir()
            (folder / name).chmod(0o700 if name == "scratch" else 0o755)
        if uid is not None:
            os.chown(folder / "scratch", uid, uid)
        return folder

    def _group(self) -> Group | None:
        if not self._host._groups.usable:
            return None
        cap = self._spec.limits
        # Where the scratch is a tmpfs, what is in it is memory of the group too.
        memory = cap.memory_bytes + (cap.scratch_bytes if self._rung in _OWN_ROOT else 0)
        try:
            group = self._host._groups.make(Caps(memory, cap.processes + plan.OWN_PROCESSES, max(1, cap.cpus)))
        except OSError:
            return None
        self._undo.callback(group.remove)
        return group

    def _processes_of_uid(self, uid: int | None) -> int:
        shares = self._rung is Rung.LANDLOCK and uid is None
        return usage.threads_of_uid(os.geteuid()) if shares else 0

    def _spawn(self, start: plan.Start, ends: "_Pipes", uid: int | None, group: Group | None) -> "subprocess.Popen[bytes]":
        inside = (ends.config[0], ends.request[0], ends.answer[1])
        library = str(self._host._interpreter.folder / "lib")
        try:
            process = self._host._keeper.call(
                lambda: subprocess.Popen(
                    plan.command(start, ends.config[0]),
                    stdin=subprocess.DEVNULL,
                    stdout=ends.stdout[1],
                    stderr=ends.stderr[1],
                    pass_fds=inside,
                    env={"LD_LIBRARY_PATH": library, "LC_ALL": "C.UTF-8"},
                    cwd="/",
                    start_new_session=True,
                    user=uid,
                    group=uid,
                    extra_groups=[] if uid is not None else None,
                )
            )
        except OSError as error:
            raise NoSandbox(f"the launcher could not be started: {error}") from error
        self._undo.callback(_end, process)
        ends.close(*inside, ends.stdout[1], ends.stderr[1])
        return process

    def _handshake(
        self,
        process: "subprocess.Popen[bytes]",
        channel: Channel,
        ends: "_Pipes",
        start: plan.Start,
        group: Group | None,
    ) -> None:
        """Up to the point where the worker says that it is ready."""
        try:
            channel.hello(START_TIMEOUT_S)
            if group is not None:
                group.add(usage.tree(process.pid))
            with suppress(BrokenPipeError):
                _write_all(ends.config[1], marshal.dumps(plan.launcher_plan(start)))
            ends.close(ends.config[1])
            body = channel.exchange(b"", most_bytes=frames.FRAME_OVERHEAD_BYTES, timeout_s=START_TIMEOUT_S)
            if not isinstance(frames.decode_reply(body), frames.Ready):
                raise Broken("the worker did not say that it is ready")
        except (Late, Ended, Broken, OSError, msgspec.MsgspecError) as error:
            said = channel.output()[1].decode(errors="replace").strip()
            what = said.splitlines()[-1] if said else str(error) or f"no sign of life ({type(error).__name__})"
            raise NoSandbox(what) from error


class _Pipes:
    """The pipes between the node and a cell, each closed once."""

    def __init__(self, undo: ExitStack) -> None:
        self._open: set[int] = set()
        undo.callback(self.close_all)
        self.config, self.request, self.answer, self.stdout, self.stderr = (self._pipe() for _ in range(5))

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe2(os.O_CLOEXEC)
        self._open |= set(ends)
        return ends

    def own(self, fd: int) -> int:
        self._open.add(fd)
        return fd

    def close(self, *fds: int) -> None:
        for fd in fds:
            self._open.discard(fd)
            os.close(fd)

    def close_all(self) -> None:
        self.close(*tuple(self._open))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """For a start that failed; a cell that has ended was reaped before."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def _write_all(fd: int, data: bytes) -> None:
    view_of = memoryview(data)
    while view_of:
        view_of = view_of[os.write(fd, view_of) :]


def _remove(folder: Path) -> None:
    with suppress(OSError):
        scratch.empty(folder)
        folder.rmdir()


def _remove_leftovers(store: Path) -> None:
    """Folders of cells whose node is gone: nobody holds their lock."""
    for folder in store.glob("cells-*"):
        with _locked(folder) as free:
            if free:
                _remove(folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(fd)
