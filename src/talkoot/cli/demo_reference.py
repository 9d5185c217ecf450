"""What the demo's answers are compared with: plain scikit-learn, in one process, without Talkoot's doing.

It uses the very packages that the nodes installed, since other versions could give other bits; the process is started bare,
which is no more than running one's own script: both the example and its list of packages are ours.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, Final

import talkoot
from talkoot.cli.demo_cast import Actor, Cast
from talkoot.core.errors import NotFound
from talkoot.core.lock import encode_lock
from talkoot.core.requirements import script_requirements
from talkoot.node.environments import PYTHON, EnvironmentStore
from talkoot.node.sandbox.numeric import blas_core, numeric_class
from talkoot.sdk.resolve import resolve

_PROGRAM: Final = """
import json, runpy, sys
example = runpy.run_path(sys.argv[1])
print(json.dumps([example["evaluate"](candidate) for candidate in example["CANDIDATES"]]))
"""
_THREADS: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def find_example() -> Path:
    """`digits_search.py`: in the clone's `examples/`, or as a wheel carries it. Raises NotFound."""
    package = Path(talkoot.__file__).resolve().parent
    places = [package.parents[1] / "examples" / "digits_search.py", package / "examples" / "digits_search.py"]
    for path in places:
        if path.is_file():
            return path
    raise NotFound(f"the demo runs digits_search.py, which is not at {places[0]}", hint="Install Talkoot again.")


class Reference:
    """The right answers, computed beside the demo, in a thread that waits for the packages and then for a process."""

    def __init__(self, cast: Cast, example: Path, locks: Path) -> None:
        self._cast = cast
        self._example = example
        self._locks = locks
        self._store = EnvironmentStore(cast.store / "environments")
        self._actor: Actor | None = None
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="talkoot-demo-reference", daemon=True)
        self._thread.start()

    def answers(self) -> list[Any]:
        """Wait for them. Raises what kept them from being computed."""
        self._thread.join()
        try:
            if self._failure is not None:
                raise self._failure
            assert self._actor is not None
            answers: list[Any] = self._actor.result()
            return answers
        finally:
            self._store.close()

    def _run(self) -> None:
        try:
            lock = resolve(script_requirements(self._example.read_text()), python=PYTHON, cache=self._locks)
            packages = self._store.get(encode_lock(lock))
            assert packages is not None
            self._actor = self._start(packages)
        except Exception as error:  # noqa: BLE001 - it is raised again where the answers are asked for
            self._failure = error

    def _start(self, packages: Path) -> Actor:
        path = os.pathsep.join((str(packages), str(Path(talkoot.__file__).resolve().parents[1])))
        variables = {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "PATH": os.environ.get("PATH", "")}
        variables |= dict.fromkeys(_THREADS, "1")
        core = blas_core(numeric_class().simd)
        if core:
            variables["OPENBLAS_CORETYPE"] = core
        command = [sys.executable, "-S", "-c", _PROGRAM, str(self._example)]
        return self._cast.start("reference", command, variables, bare=True)


def same(ours: list[Any], right: list[Any]) -> list[int]:
    """The places where the answers are not the same, to the bit (JSON keeps every bit of a float)."""
    if len(ours) != len(right):
        return list(range(max(len(ours), len(right))))
    return [i for i, pair in enumerate(zip(ours, right, strict=True)) if _text(pair[0]) != _text(pair[1])]


def _text(answer: Any) -> str:
    return json.dumps(answer, sort_keys=True)
