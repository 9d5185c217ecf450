"""What the node keeps ready for its cells: a copy of the base interpreter, and of the modules that run inside.

A cell has a uid of its own, and the interpreter that runs the node often lies where no other uid may enter (a
pyenv in a home of mode 700). So the node keeps a copy in its store, which stands where others may enter. Both
copies are named by a digest of what they were made from, and made in a part folder that is renamed when whole.
"""

import compileall
import contextlib
import hashlib
import os
import py_compile
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

import talkoot
from talkoot.core.errors import NoSandbox

_RECIPE: Final = "1"
_NOT_IN_ANY_FOLDER: Final = ("test", "tests", "*.opt-1.pyc", "*.opt-2.pyc")
_NOT_AT_THE_TOP: Final = frozenset(
    {"site-packages", "dist-packages", "tkinter", "idlelib", "turtledemo", "ensurepip", "lib2to3", "pydoc_data"}
)
_SHOW_LIBRARIES: Final = """
for name in ("ssl", "ctypes", "sqlite3", "lzma", "bz2", "zlib", "hashlib", "uuid", "readline", "decimal"):
    try: __import__(name)
    except ImportError: pass
print(*{line.split(None, 5)[5].strip() for line in open("/proc/self/maps") if ".so" in line}, sep="\\n")
"""


@dataclass(frozen=True)
class Interpreter:
    """The copy: its folder, and the executable in it."""

    folder: Path
    executable: str
    """Relative to the folder."""


class Store:
    """The node's store folder, as far as the sandbox uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)

    def interpreter(self) -> Interpreter:
        """The copy of the interpreter that runs the node, made at the first call."""
        executable = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
        seen = executable.stat()
        origin = (_RECIPE, sys.version, str(executable), str(seen.st_size), str(seen.st_mtime_ns))
        name = f"python-{hashlib.sha256(repr(origin).encode()).hexdigest()[:16]}"
        folder = self._made_once(name, lambda part: _copy_interpreter(executable, part))
        return Interpreter(folder, f"bin/{executable.name}")

    def runtime(self) -> Path:
        """The folder that holds `talkoot.core`, the guest, msgspec and the launcher."""
        files = dict(_runtime_files())
        digest = hashlib.sha256(sys.version.encode())
        for target, source in sorted(files.items()):
            digest.update(repr((target, hashlib.sha256(_content(source)).digest())).encode())
        return self._made_once(f"runtime-{digest.hexdigest()[:16]}", lambda part: _copy_runtime(files, part))

    def _made_once(self, name: str, make: Callable[[Path], None]) -> Path:
        folder = self.folder / name
        if not folder.exists():
            part = Path(tempfile.mkdtemp(prefix=f"{name}.", suffix=".part", dir=self.folder))
            try:
                part.chmod(0o755)
                make(part)
                with contextlib.suppress(OSError):  # another process was first: the same content
                    part.rename(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        return folder


def unreachable(path: Path) -> str:
    """Why a process of another uid cannot read the path; empty when it can."""
    for parent in reversed(path.parents):
        if not parent.stat().st_mode & stat.S_IXOTH:
            return f"other users cannot enter {parent}, so cells cannot reach {path}"
    mode = path.stat().st_mode
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return "" if mode & wanted == wanted else f"other users cannot read {path}, so cells cannot"


def _copy_interpreter(executable: Path, part: Path) -> None:
    (part / "bin").mkdir()
    shutil.copy2(executable, part / "bin" / executable.name)
    prefix = Path(sys.base_prefix)
    for key in ("stdlib", "platstdlib"):
        library = Path(sysconfig.get_path(key, vars={"base": sys.base_prefix, "platbase": sys.base_exec_prefix}))
        target = part / library.relative_to(prefix if library.is_relative_to(prefix) else sys.base_exec_prefix)
        if not target.exists():
            shutil.copytree(library, target, ignore=_left_out(library), copy_function=_take, ignore_dangling_symlinks=True)
    (part / "lib").mkdir(exist_ok=True)
    for shared in _own_libraries(executable, prefix):
        shutil.copy2(shared, part / "lib" / shared.name)
    _let_others_read(part)


def _take(source: str, target: str) -> str:
    """A hard link where no cell can own the file (as root, cells have other uids); else a copy."""
    mode = os.stat(source).st_mode
    if os.geteuid() == 0 and mode == _readable(mode):
        with contextlib.suppress(OSError):
            os.link(source, target)
            return target
    shutil.copy2(source, target)
    return target


def _readable(mode: int) -> int:
    """The same mode, readable by all, and executable by all where it is for the owner."""
    return mode | 0o444 | (0o111 if mode & 0o100 else 0)


def _let_others_read(part: Path) -> None:
    """Whatever the node's umask, and the modes of what was copied."""
    for folder, _, names in os.walk(part):
        os.chmod(folder, 0o755)  # noqa: S103 - cells of other uids read it
        for path in (os.path.join(folder, name) for name in names):
            mode = os.stat(path).st_mode
            if mode != _readable(mode):
                os.chmod(path, _readable(mode))


def _left_out(top: Path) -> Callable[[str, list[str]], set[str]]:
    anywhere = shutil.ignore_patterns(*_NOT_IN_ANY_FOLDER)

    def ignore(folder: str, names: list[str]) -> set[str]:
        left = anywhere(folder, names)
        if Path(folder) == top:
            left |= {name for name in names if name in _NOT_AT_THE_TOP or name.startswith("config-")}
        return left

    return ignore


def _own_libraries(executable: Path, prefix: Path) -> list[Path]:
    """Shared libraries beside the interpreter (libpython, conda's OpenSSL): a cell sees only the system's."""
    if prefix == Path("/usr"):
        return []
    shown = subprocess.run(
        [executable, "-I", "-S", "-c", _SHOW_LIBRARIES], capture_output=True, text=True, check=False, timeout=60
    )
    paths = [Path(line) for line in shown.stdout.splitlines() if line.startswith("/")]
    return [path for path in paths if path.is_relative_to(prefix) and "lib-dynload" not in path.parts]


def _runtime_files() -> Iterator[tuple[str, Path | None]]:
    """Target and source of each file; no source means an empty file."""
    package = Path(talkoot.__file__).parent
    yield "talkoot/__init__.py", None
    yield "talkoot/node/__init__.py", None
    yield "launch.py", Path(__file__).with_name("launch.py")
    for folder in ("core", "node/guest"):
        for path in sorted((package / folder).rglob("*.py")):
            yield f"talkoot/{path.relative_to(package)}", path
    other = Path(msgspec.__file__).parent
    for path in sorted(other.rglob("*")):
        if path.suffix in {".py", ".so"}:
            yield f"msgspec/{path.relative_to(other)}", path


def _content(source: Path | None) -> bytes:
    return source.read_bytes() if source else b""


def _copy_runtime(files: dict[str, Path | None], part: Path) -> None:
    for target, source in files.items():
        path = part / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_content(source))
    compiled = compileall.compile_dir(part, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    if not compiled:
        raise NoSandbox("the modules that run inside a cell do not compile", hint="Reinstall talkoot; its files are damaged.")
    _let_others_read(part)
