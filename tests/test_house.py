"""The house of DESIGN.md, section 4: a room may import only rooms below it, and core does no I/O."""

import ast
from pathlib import Path

import pytest

import talkoot

SOURCE = Path(talkoot.__file__).parent
MAY_IMPORT = {
    "core": set(),
    "crypto": {"core"},
    "wire": {"core", "crypto"},
    "hub": {"core", "crypto", "wire"},
    "node": {"core", "crypto", "wire"},
    "sdk": {"core", "crypto", "wire"},
    "sim": {"core", "crypto", "wire", "hub", "testing"},
    "testing": {"core", "crypto", "wire", "hub", "node", "sdk"},
    "cli": {"core", "crypto", "wire", "hub", "node", "sdk", "sim"},
}
IMPURE = {
    "asyncio", "http", "io", "os", "pathlib", "random", "secrets", "select", "shutil", "socket", "sqlite3",
    "subprocess", "tempfile", "threading", "time", "urllib",
}  # fmt: skip


def imports(path):
    """(module, line) of everything a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module if node.level == 0 else "." * node.level + (node.module or "")), node.lineno


def files(room):
    return sorted((SOURCE / room).rglob("*.py"))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_rooms_below_it(room):
    allowed = MAY_IMPORT[room] | {room}
    wrong = [
        f"{path.relative_to(SOURCE)}:{line} imports {module}"
        for path in files(room)
        for module, line in imports(path)
        if module.startswith("talkoot.") and module.split(".")[1] not in allowed
    ]
    assert not wrong


def test_core_does_no_input_or_output():
    wrong = [
        f"{path.relative_to(SOURCE)}:{line} imports {module}"
        for path in files("core")
        for module, line in imports(path)
        if module.split(".")[0] in IMPURE
    ]
    assert not wrong


def test_every_room_and_module_says_what_it_is_for():
    silent = [str(p.relative_to(SOURCE)) for p in SOURCE.rglob("*.py") if not ast.get_docstring(ast.parse(p.read_text()))]
    assert not silent
