"""A hub as a process: its folder, its port, its threads, and a clean end.

    data/               mode 0700, one hub at a time (`hub.lock` is held while it runs)
    data/hub.key        the hub's secret key
    data/hub.db         log, tables and content

`serve` runs until a signal ends it; `HubServer` runs the same in a thread, for notebooks and tests.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

import uvicorn

from talkoot.core import limits
from talkoot.core.errors import BadInput, Conflict, DiskFull, InternalError, PortInUse
from talkoot.core.ids import PublicKey
from talkoot.crypto.keys import SigningKey
from talkoot.hub.api import Api, application
from talkoot.hub.engine import Clocks, Engine
from talkoot.hub.pages import page_routes
from talkoot.hub.readers import Readers
from talkoot.hub.service import Service
from talkoot.hub.tx import Settings
from talkoot.hub.writer import Writer
from talkoot.wire.address import check_loopback, loopback_address

DEFAULT_PORT: Final = 8470
KEEP_ALIVE_S: Final = 75
"""Longer than a client is likely to pause, so that calls do not meet a connection that is being closed."""
GRACE_S: Final = 5
"""How long requests may take to end when the hub is stopping."""
_BACKLOG: Final = 1024
_DEFAULT_SETTINGS: Final = Settings()
_log = logging.getLogger(__name__)


def serve(
    data: Path,
    *,
    operator: bytes,
    operator_name: str,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    settings: Settings = _DEFAULT_SETTINGS,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Run the hub of a data folder until SIGTERM or SIGINT; `ready` is called with its address.

    Raises PortInUse, Conflict (another process has the folder, or it belongs to another key), BadInput for a host
    that is not loopback.
    """
    _raise_file_limit()
    with _Running(data, host, port, settings, operator, operator_name) as running:
        running.run(ready or (lambda address: None), signals=True)


class HubServer:
    """A hub in a thread of this process: `with HubServer(data, ...) as hub: hub.address`. Port 0 picks a free one."""

    def __init__(
        self,
        data: Path,
        *,
        operator: bytes,
        operator_name: str = "operator",
        host: str = "127.0.0.1",
        port: int = 0,
        settings: Settings = _DEFAULT_SETTINGS,
    ) -> None:
        self._running = _Running(data, host, port, settings, operator, operator_name)
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.address = self._running.address
        self.key: PublicKey = PublicKey(b"")
        """The hub's public key, once it runs."""

    def start(self) -> Self:
        """Start; returns when the hub answers. Raises what `serve` raises."""
        self.key = PublicKey(self._running.__enter__().engine.hub)
        up = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(up,), name="talkoot-hub", daemon=True)
        self._thread.start()
        up.wait()
        if self._failure is not None:
            self.stop()
        return self

    def stop(self) -> None:
        """Stop, and wait until everything is closed. Raises what ended the hub, if it was not this call."""
        if self._thread is not None:
            self._running.stop()
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, up: threading.Event) -> None:
        try:
            with contextlib.closing(self._running):
                self._running.run(lambda address: up.set(), signals=False)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the hub was started or is stopped
            self._failure = error
        finally:
            up.set()


class _Server(uvicorn.Server):
    """uvicorn without its own handling of signals, telling when it listens."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None], leaving: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening, self._leaving = listening, leaving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._leaving()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Running:
    """Everything that a running hub holds open. Entering it takes folder and port, leaving it gives them back."""

    def __init__(self, data: Path, host: str, port: int, settings: Settings, operator: bytes, operator_name: str) -> None:
        check_loopback(host)
        self._data, self._settings = data, settings
        self._operator, self._operator_name = operator, operator_name
        self._socket = _listen(host, port)
        self.address = loopback_address(host, self._socket.getsockname()[1])
        self._open = contextlib.ExitStack()
        self._open.callback(self._socket.close)
        self._end: Callable[[], None] = lambda: None
        self._stopped = False
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            _prepare(self._data)
            self._open.enter_context(_locked(self._data / "hub.lock"))
            key = SigningKey.load_or_create(self._data / "hub.key")
            clocks = Clocks(time.monotonic, lambda: time.time_ns() // 1_000_000, os.urandom)
            self.engine = Engine(self._data / "hub.db", key, self._settings, clocks)
            self._open.callback(self.engine.close)
            self.engine.open_for(self._operator, self._operator_name)
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back."""
        self._open.close()

    def run(self, ready: Callable[[str], None], *, signals: bool) -> None:
        """Serve until stopped. Raises what made the hub stop, if it was not asked to."""
        config = uvicorn.Config(
            _not_there_yet,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            limit_concurrency=2 * limits.MAX_PARKED_REQUESTS,
            backlog=_BACKLOG,
        )
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(self._serve(config, ready, signals=signals))
        if self._failure is not None:
            raise InternalError("the hub stopped because its writer died") from self._failure

    def stop(self) -> None:
        """End `run`, from any thread. Before it, it will end at once."""
        self._stopped = True
        self._end()

    async def _serve(self, config: uvicorn.Config, ready: Callable[[str], None], *, signals: bool) -> None:
        loop = asyncio.get_running_loop()
        writer = Writer(self.engine, loop, self._crashed)
        readers = Readers(self._data / "hub.db")
        service = Service(self.engine, writer, readers, self.address)
        config.app = application(Api(service), page_routes(service))
        server = _Server(config, lambda: ready(self.address), service.stop_waiting)

        def end() -> None:
            server.should_exit = True
            service.stop_waiting()

        self._end = lambda: _quietly(loop, end)
        if self._stopped:
            return
        writer.start()
        try:
            with _signals(loop, end) if signals else contextlib.nullcontext():
                await server.serve(sockets=[self._socket])
        finally:
            self._end = lambda: None
            await writer.stop()
            readers.close()
            self.engine.on_commit.clear()

    def _crashed(self, error: BaseException) -> None:
        self._failure = error
        self._end()


async def _not_there_yet(scope: object, receive: object, send: object) -> None:
    raise AssertionError("the application is put in place before the server starts")


def _quietly(loop: asyncio.AbstractEventLoop, action: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended by itself
        loop.call_soon_threadsafe(action)


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise BadInput(f"{port} is not a port", hint="1 to 65535, or 0 for any that is free")
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"port {port} of {host} is in use: another program, perhaps another hub, listens there",
                hint="stop it, or choose another port (--port 0 takes one that is free)",
            ) from None
        raise BadInput(f"cannot listen on port {port} of {host}: {error.strerror}", hint="choose another port") from None
    return listener


def _prepare(data: Path) -> None:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        data.chmod(0o700)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"there is no room for the data folder {data}") from None
        raise BadInput(f"{data} cannot be the data folder: {error.strerror}", hint="choose another folder") from None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the folder's lock. The kernel gives it back whatever ends the process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"another hub is running on the data folder {path.parent}", hint="stop it, or choose another folder"
            ) from None
        yield
    finally:
        os.close(descriptor)


def _raise_file_limit() -> None:
    """Every long poll is an open connection: ask for as many files as may be had without more rights."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * limits.MAX_PARKED_REQUESTS
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
