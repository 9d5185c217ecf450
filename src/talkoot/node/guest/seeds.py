"""The same draws for the same task, whatever ran before in this worker.

`random` and NumPy's legacy generator are seeded before every task. NumPy is not imported for that: where a task
imports it first in the middle of its run, it is seeded at the end of that import, so that the first draw is the
same as in a worker that had NumPy already. (What a library draws while it is being imported is not covered.)
"""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importlib.abc costs 10 ms at every start of a worker
    from collections.abc import Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_NUMPY_RANDOM = "numpy.random"


class Seeds:
    """Seeds the generators now, and NumPy's when it comes (as a finder on `sys.meta_path`)."""

    def __init__(self) -> None:
        self._seed = 0

    def watch(self) -> None:
        """Be told of imports from now on."""
        sys.meta_path.insert(0, self)

    def start(self, seed: int) -> None:
        """Set the generators for one task."""
        self._seed = seed
        random.seed(seed)
        module = sys.modules.get(_NUMPY_RANDOM)
        if module is not None:
            self.seed_numpy(module)

    def seed_numpy(self, module: ModuleType) -> None:
        """NumPy's legacy generator takes 32 bits."""
        module.seed(self._seed % 2**32)

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Only NumPy's `random` is ours: found as ever, and seeded after it is executed."""
        if fullname != _NUMPY_RANDOM:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Seeding(spec.loader, self)  # type: ignore[assignment]
                return spec
        return None


class _Seeding:
    """A loader that does what the other does, and seeds the module then."""

    def __init__(self, inner: Loader, seeds: Seeds) -> None:
        self._inner = inner
        self._seeds = seeds

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        module.__loader__ = self._inner
        self._inner.exec_module(module)
        self._seeds.seed_numpy(module)
