"""Modules of a program: those of the environment by name, local ones by content, others refused."""

import importlib
import json
import pathlib
import subprocess
import sys
import types
import xml.dom

import msgspec
import numpy as np
import pytest

import talkoot
from talkoot.core import carrier
from talkoot.core.errors import ProgramError
from talkoot.core.types import Exact
from talkoot.sdk.program import walk

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
CALL = """
import sys
sys.path[:0] = {paths!r}
from talkoot.node.guest import rebuild
loaded = rebuild.load(sys.stdin.buffer.read())
print(repr(loaded.build()()))
print(repr(loaded.build()()))
print(loaded.mutable, sorted(loaded.classes))
"""


def in_guest(program):
    paths = [str(pathlib.Path(m.__file__).parents[1]) for m in (talkoot, msgspec)]
    command = [sys.executable, "-I", "-S", "-c", CALL.format(paths=paths)]
    run = subprocess.run(command, input=program.carrier, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout.decode().splitlines()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder on the path; a function that writes a module there and imports it."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def add(name, text, **more):
        for path, content in {name: text, **more}.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        importlib.invalidate_caches()
        return importlib.import_module(name.removesuffix("/__init__.py").removesuffix(".py").replace("/", "."))

    yield add
    for name in set(sys.modules) - before:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def shipped(program):
    return [m.name for m in carrier.decode(program.carrier, python=PYTHON).modules]


LIBRARY = {
    "shapes/area.py": "from .base import Unit as U, SCALE\nfrom . import names\nimport tools\n"
    "CALLS = []\ndef area(x):\n    CALLS.append(x)\n    return x * SCALE, U(1), names.NAME, tools.double(x), len(CALLS)\n",
    "shapes/base.py": "import dataclasses\nSCALE = 3\n@dataclasses.dataclass\nclass Unit:\n    n: int\n",
    "shapes/names.py": "NAME = 'n'\n",
    "shapes/unused.py": "1 / 0\n",
    "tools.py": "import shapes\ndef double(x):\n    from shapes.base import SCALE\n    return 2 * x * SCALE\n",
}


def test_local_package_with_relative_and_circular_imports(project):
    project("shapes/__init__.py", "'''Shapes.'''\nfrom .area import area\n", **LIBRARY)
    main = project("main_program.py", "import shapes\ndef f():\n    return shapes.area(2)\n")
    program = walk(main.f)
    assert shipped(program) == ["shapes", "shapes.area", "shapes.base", "shapes.names", "tools"]
    assert "Unit" in program.classes
    expected = "(6, Unit(n=1), 'n', 12, 1)"
    assert in_guest(program) == [expected, expected, "True ['Unit']"]


def test_modules_imported_in_the_body_are_shipped_and_submodules_reached_as_attributes(project):
    project("shapes/__init__.py", "", **LIBRARY)
    text = (
        "import shapes.area\nimport json, xml.dom.minidom\nfrom shapes import base as b\n"
        "def f():\n    import tools as t\n    from shapes import names\n"
    )
    text += "    x = xml.dom.minidom.parseString('<a/>').documentElement.tagName\n"
    text += "    return shapes.area.area(1)[0], t.double(1), names.NAME, b.SCALE, x, json.dumps(1)\n"
    program = walk(project("main_program.py", text).f)
    assert shipped(program) == ["shapes", "shapes.area", "shapes.base", "shapes.names", "tools"]
    assert carrier.decode(program.carrier, python=PYTHON).submodules == ["shapes.area", "xml.dom", "xml.dom.minidom"]
    assert in_guest(program)[0] == "(3, 6, 'n', 3, 'a', '1')"


def test_relative_import_in_a_body_of_a_package(project):
    project("shapes/__init__.py", "", **LIBRARY)
    text = "def f():\n    from ..base import SCALE\n    from .. import names\n    return SCALE, names.NAME"
    main = project("shapes/inner/__init__.py", "", **{"shapes/inner/deep.py": text})
    deep = importlib.import_module(main.__name__ + ".deep")
    program = walk(deep.f)
    assert shipped(program) == ["shapes", "shapes.base", "shapes.names"]
    assert in_guest(program)[0] == "(3, 'n')"


def test_a_package_without_init(project):
    main = project("main_program.py", "def f():\n    import bare.one\n    return bare.one.X\n", **{"bare/one.py": "X = 4"})
    program = walk(main.f)
    assert shipped(program) == ["bare", "bare.one"]
    assert in_guest(program)[0] == "4"


def test_functions_imported_from_a_local_module_travel_alone(project):
    project("tool.py", "K = 2\nLOCK = __import__('threading').Lock()\ndef g(x):\n    return x * K\n")
    main = project("main_program.py", "from tool import g\nK = 9\ndef f():\n    return g(3), K\n")
    program = walk(main.f)
    assert shipped(program) == []
    assert in_guest(program)[0] == "(6, 9)"


def test_what_the_walk_did_not_see_is_not_there(project):
    source = "A = 1\ndef f():\n    try:\n        return eval('A')\n"
    source += "    except NameError as e:\n        return str(e), 'A' in globals()\n"
    program = walk(project("main_program.py", source).f)
    assert in_guest(program)[0] == "(\"name 'A' is not defined\", False)"


def test_a_local_module_shadows_nothing_of_the_guest_after_it_is_gone(project, monkeypatch):
    from talkoot.node.guest import rebuild

    one = walk(project("main_one.py", "def f():\n    import tool_one\n    return tool_one.X\n", **{"tool_one.py": "X = 1"}).f)
    mine = types.ModuleType("tool_one")
    monkeypatch.setitem(sys.modules, "tool_one", mine)
    loaded = rebuild.load(one.carrier)
    assert loaded.build()() == 1
    loaded.close()
    assert sys.modules["tool_one"] is mine
    assert "__program__" not in sys.modules


def test_the_next_program_of_a_worker_does_not_see_the_modules_of_the_last(project):
    from talkoot.node.guest import rebuild

    text = "def f():\n    import tool_two\n    return tool_two.X\n"
    one = rebuild.load(walk(project("main_two.py", text, **{"tool_two.py": "X = 1"}).f).carrier)
    assert one.build()() == 1
    two = rebuild.load(walk(lambda: "tool_two" in sys.modules).carrier)
    assert two.build()() is False
    one.close()
    assert two.build()() is False
    assert one.build()() == 1
    one.close()


def test_needs_names_installed_packages_that_globals_refer_to():
    def f(x):
        import hypothesis

        return np.linalg.norm(x), json.dumps(1), talkoot, Exact, hypothesis

    assert walk(f).needs == {"numpy": f"{f.__qualname__} → globals['np']"}


def test_needs_looks_through_local_modules(project):
    project("deep_tool.py", "import numpy\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import hypothesis\n")
    program = walk(project("main_program.py", "import deep_tool\ndef f():\n    return deep_tool\n").f)
    assert program.needs == {"numpy": "f → globals['deep_tool'] → import numpy"}


def test_own_classes_of_the_runtime_go_by_name():
    def f():
        return Exact()

    program = walk(f)
    assert shipped(program) == []
    assert in_guest(program)[0] == "Exact()"


def test_missing_package_on_the_node_is_told():
    from talkoot.node.guest import rebuild

    made = walk(lambda: json.dumps(1)).carrier.replace(b"\xa4json", b"\xa4jsom")
    with pytest.raises(ProgramError, match="needs the module 'jsom', which this environment does not have"):
        rebuild.load(made).build()


def refusal(function):
    with pytest.raises(ProgramError) as caught:
        walk(function)
    return str(caught.value)


def test_syntax_error_in_a_local_module(project, tmp_path):
    main = project("main_program.py", "def f():\n    import wrong\n", **{"wrong.py": "x = 1\ndef ("})
    message = refusal(main.f)
    assert message.startswith("f → import wrong: the source of module 'wrong' does not compile")
    assert "wrong.py, line 2" in message


def test_module_whose_source_is_gone(project, tmp_path):
    main = project("main_program.py", "import gone\ndef f():\n    return gone.x\n", **{"gone.py": "x = 1"})
    (tmp_path / "gone.py").unlink()
    assert "the module 'gone' has no Python source" in refusal(main.f)


def test_modules_made_by_a_program():
    made = types.ModuleType("made")
    assert "the module 'made' was made by a program" in refusal(lambda: made)
    sys.modules["made_too"] = made_too = types.ModuleType("made_too")
    try:
        assert "neither in the standard library nor installed" in refusal(lambda: made_too)
    finally:
        del sys.modules["made_too"]


def test_local_module_that_hides_a_standard_one(project, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "this", raising=False)
    main = project("main_program.py", "import this\ndef f():\n    return this.X\n", **{"this.py": "X = 1"})
    message = refusal(main.f)
    assert "'this' (this.py) hides a module of the standard library" in message
    assert "another name" in message


def test_main_used_as_a_module():
    def f():
        import __main__

        return __main__

    assert "the module __main__ cannot be sent" in refusal(f)


def test_a_module_that_is_nowhere_fails_there_as_here():
    def f():
        try:
            import nowhere_at_all  # noqa: F401
        except ImportError:
            return "absent"

    assert in_guest(walk(f))[0] == "'absent'"


def test_submodules_are_noted_whether_they_were_used_before_or_not(monkeypatch):
    def f():
        return xml.dom.pulldom.START_ELEMENT

    monkeypatch.delitem(sys.modules, "xml.dom.pulldom", raising=False)
    monkeypatch.delattr(xml.dom, "pulldom", raising=False)
    cold = walk(f).id
    importlib.import_module("xml.dom.pulldom")
    assert walk(f).id == cold
