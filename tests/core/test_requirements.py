"""What a submitter may ask for, and what is refused with a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from talkoot.core import limits
from talkoot.core.errors import RequirementError, TooLarge
from talkoot.core.requirements import parse_requirements, script_requirements, script_requires_python

REFUSED = {
    "https://example.org/x-1.0-py3-none-any.whl": "address",
    "x @ https://example.org/x-1.0-py3-none-any.whl": "address",
    "x[a] @ file:///etc/passwd": "address",
    "x@git+https://example.org/x": "address",
    "git+https://example.org/x": "address",
    "file:///etc/passwd": "address",
    "./x": "folder",
    "../x": "folder",
    "/etc/passwd": "folder",
    "~/x": "folder",
    "x.whl": "folder",
    "x\\y": "folder",
    "-r /etc/shadow": "option",
    "-e .": "option",
    "-c constraints.txt": "option",
    "--index-url https://example.org/simple": "option",
    "--find-links=/x": "option",
    "x --hash=sha256:00": "':'",
    "x --config-settings=a": "not understood",
    "${HOME}": "variables",
    "x==${HOME}": "variables",
    "x==%HOME%": "variables",
    "x\n--index-url https://example.org": "line break",
    "x\r--pre": "line break",
    "x\0": "control",
    "x # comment": "'#'",
    "": "empty",
    " ": "empty",
    "0_": "malformed",
    "x==": "not understood",
    "x;": "not understood",
    "x===1.0": "write ==",
    "ｘ": "character",
    "x; extra == 'a'": "extra",
    "x; nonsense == 'a'": "not understood",
    "x; " + "(" * 20 + "os_name == 'a'" + ")" * 20: "too deep",
    "x" * (limits.MAX_NAME_CHARS + 1): "too long",
    "x>=1," * 200 + "x": "characters",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refused_requirement_is_named_with_its_reason(text: str):
    with pytest.raises(RequirementError) as refusal:
        parse_requirements(["numpy", text])
    assert REFUSED[text] in refusal.value.message


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("NumPy", "numpy"),
        ("scikit_learn >= 1.4 , <2", "scikit-learn<2,>=1.4"),
        ("pandas [Parquet,excel]", "pandas[excel,parquet]"),
        ("x==1.0.*", "x==1.0.*"),
        ("x~=2.0", "x~=2.0"),
        ("x==1.0RC1+CPU", "x==1.0rc1+cpu"),
        ("x==1!2.0", "x==1!2.0"),
        ("x;sys_platform=='linux'", 'x; sys_platform == "linux"'),
        ("x (>=1)", "x>=1"),
    ],
)
def test_requirement_is_written_in_its_normal_form(text: str, normal: str):
    assert parse_requirements([text]) == [normal]
    assert parse_requirements([normal]) == [normal]


def test_order_and_repetition_do_not_matter():
    assert parse_requirements(["b", "A", "a", "b ; os_name=='x'"]) == parse_requirements(["a", 'b;os_name == "x"', "b", "b"])


def test_too_many_requirements_are_refused():
    with pytest.raises(RequirementError, match=str(limits.MAX_REQUIREMENTS)):
        parse_requirements([f"x{n}" for n in range(limits.MAX_REQUIREMENTS + 1)])


def test_one_text_instead_of_a_list_is_refused():
    with pytest.raises(RequirementError, match="Give a list"):
        parse_requirements("numpy")


@given(st.text(max_size=60))
def test_whatever_is_accepted_is_a_plain_requirement(text: str):
    try:
        (normal,) = parse_requirements([text])
    except RequirementError:
        return
    parsed = Requirement(normal)
    assert parsed.url is None
    assert normal.isascii()
    assert not set(normal) & set("/\\$%@#\n\r\0")
    assert parse_requirements([normal]) == [normal]


SCRIPT = """\
#!/usr/bin/env python
# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "numpy>=2",
#   "Talkoot[fast]>=0.1",
#   "talkoot-tools",
# ]
#
# [tool.uv]
# index-url = "https://example.org/simple"
# [tool.uv.sources]
# numpy = { url = "https://example.org/numpy.whl" }
# ///
import numpy
"""


def test_script_block_gives_dependencies_without_talkoot_and_without_tool_settings():
    assert script_requirements(SCRIPT) == ["numpy>=2", "talkoot-tools"]
    assert script_requires_python(SCRIPT) == ">=3.11"
    assert script_requirements(SCRIPT.replace("\n", "\r\n")) == ["numpy>=2", "talkoot-tools"]


def test_own_name_is_left_out_even_where_it_names_a_folder():
    assert script_requirements('# /// script\n# dependencies = ["talkoot @ file:///x"]\n# ///\n') == []


@pytest.mark.parametrize("source", ["", "import numpy\n", "# ///\n", "# /// pyproject\n# a = 1\n# ///\n", 'x = "# /// script"\n'])
def test_script_without_a_block_has_no_requirements(source: str):
    assert script_requirements(source) == []
    assert script_requires_python(source) is None


@pytest.mark.parametrize(
    "source",
    [
        '# /// script\n# dependencies = ["x"]\nimport x\n',
        "# /// script\n# dependencies = [\n# ///\n",
        '# /// script\n# dependencies = "x"\n# ///\n',
        "# /// script\n# dependencies = [1]\n# ///\n",
        "# /// script\n# requires-python = 3.11\n# ///\n",
        "# /// script\n# a = 1\n# ///\n\n# /// script\n# a = 1\n# ///\n",
        "# /// script\n# a = " + "[" * 5000 + "\n# ///\n",
        '# /// script\n#dependencies = ["x"]\n# ///\n',
        '# /// script\n# dependencies = ["x @ https://example.org/x"]\n# ///\n',
    ],
)
def test_malformed_block_is_refused(source: str):
    with pytest.raises(RequirementError):
        script_requirements(source)
        script_requires_python(source)


def test_huge_block_is_too_large():
    source = "# /// script\n" + "# a = 1\n" * limits.MAX_SCRIPT_BLOCK_BYTES + "# ///\n"
    with pytest.raises(TooLarge):
        script_requirements(source)
