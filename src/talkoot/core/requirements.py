"""What a submitter may ask for: names, extras, versions and markers of packages, and nothing else.

A requirement is parsed here and written anew from its parts, so that no text of a submitter ever reaches a
tool. Whatever could name a place (an address, a path, a repository, an index) or an option of a tool is
refused; the `[tool.*]` tables of a script's block (PEP 723) are never looked at.
"""

import re
import tomllib
from collections.abc import Sequence
from typing import Final

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import Specifier
from packaging.utils import canonicalize_name
from packaging.version import Version

from talkoot.core import limits
from talkoot.core.errors import RequirementError, TooLarge

OWN_NAME: Final = "talkoot"
"""Left out of a script's requirements: the node brings its own."""

_FOREIGN_CHARACTER = re.compile(r"""[^A-Za-z0-9 \t._\-\[\],<>=!~;()'"*+]""")
_NORMAL_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_NAMED_ADDRESS = re.compile(r"[A-Za-z0-9._-]+\s*(\[[^\]]*\])?\s*@")
_ARCHIVE = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2")
_EXTRA = re.compile(r"\bextra\b")
_VALUE = re.compile(r"'[^']*'|\"[^\"]*\"")

_SCRIPT_BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
"""The reference expression of PEP 723."""
_SCRIPT_OPENING = re.compile(r"(?m)^# /// script[ \t]*$")


def parse_requirements(texts: Sequence[str]) -> list[str]:
    """The requirements as `name[extras]specifier; marker`, normalised, sorted, without repetitions.

    Raises RequirementError, naming the text and the reason, for anything but a name, extras, a version
    specifier and a marker (PEP 508).
    """
    if isinstance(texts, str):
        raise RequirementError(f"requirements {texts!r} are one text", hint="Give a list: requirements=[...].")
    if len(texts) > limits.MAX_REQUIREMENTS:
        raise RequirementError(f"{len(texts)} requirements; at most {limits.MAX_REQUIREMENTS} are accepted")
    return sorted({_parse(text) for text in texts})


def is_normal_name(name: str) -> bool:
    """Whether it is a package's name in normal form (PEP 503), and not too long."""
    short = len(name) <= limits.MAX_NAME_CHARS
    return short and _NORMAL_NAME.fullmatch(name) is not None and canonicalize_name(name) == name


def parse_marker(text: str) -> str:
    """The marker, written anew. Raises RequirementError for what is not one, or is too long or too deep."""
    if len(text) > limits.MAX_MARKER_CHARS or _depth(text) > limits.MAX_MARKER_DEPTH:
        raise RequirementError(f"marker {_short(text)} is too long or too deep")
    if foreign := _FOREIGN_CHARACTER.search(text):
        raise RequirementError(f"marker {_short(text)} has the character {foreign.group()!r}")
    try:
        marker = str(Marker(text))
    except InvalidMarker as error:
        raise RequirementError(f"marker {_short(text)} is not understood: {_first_line(error)}") from None
    if _EXTRA.search(_VALUE.sub("", marker)):
        raise RequirementError(f"marker {_short(text)} asks for an extra; write it as name[extra]")
    return marker


def script_requirements(source: str) -> list[str]:
    """The dependencies in a script's `# /// script` block (PEP 723), without Talkoot itself; [] without a block.

    Raises RequirementError for a malformed block, and as `parse_requirements` does.
    """
    block = _script_block(source)
    dependencies = block.get("dependencies", [])
    if not isinstance(dependencies, list) or not all(isinstance(text, str) for text in dependencies):
        raise RequirementError("the script's block: `dependencies` is not a list of texts")
    return parse_requirements([text for text in dependencies if not _is_own(text)])


def script_requires_python(source: str) -> str | None:
    """The `requires-python` of a script's block, or None. Raises RequirementError for a malformed block."""
    wanted = _script_block(source).get("requires-python")
    if wanted is not None and not isinstance(wanted, str):
        raise RequirementError("the script's block: `requires-python` is not a text")
    return wanted


def _parse(text: str) -> str:
    if not isinstance(text, str):
        raise RequirementError(f"requirement {text!r} is not a text")
    if len(text) > limits.MAX_REQUIREMENT_CHARS:
        raise RequirementError(
            f"requirement {_short(text)} has {len(text)} characters; at most {limits.MAX_REQUIREMENT_CHARS} are accepted"
        )
    if reason := _why_refused(text.strip(" \t")):
        raise RequirementError(
            f"requirement {_short(text)} is refused: {reason}",
            hint="Write a name, extras, versions and a marker, such as \"pandas[parquet]>=2; os_name == 'posix'\".",
        )
    try:
        parsed = Requirement(text)
    except InvalidRequirement as error:
        raise RequirementError(f"requirement {_short(text)} is not understood: {_first_line(error)}") from None
    return _written_anew(parsed, text)


def _why_refused(text: str) -> str:
    """Why a text cannot be a requirement of ours, or an empty text. The first reasons are the clearest ones."""
    place = "only packages of an index are accepted, by name"
    if not text:
        return "it is empty"
    if any(ord(letter) < 32 and letter != "\t" for letter in text):
        return "it has a line break or another control character"
    if text.startswith("-"):
        return "it is an option of an installer; which index is used is for the owner of each device to say"
    if "$" in text or "%" in text:
        return "variables are not replaced"
    if _NAMED_ADDRESS.match(text) or "://" in text or text.startswith("git+"):
        return f"it names an address; {place}"
    if text.startswith((".", "~")) or "/" in text or "\\" in text or text.lower().endswith(_ARCHIVE):
        return f"it names a file or a folder; {place}"
    if foreign := _FOREIGN_CHARACTER.search(text):
        return f"it has the character {foreign.group()!r}"
    if "===" in text:
        return "=== compares texts, not versions; write =="
    if _depth(text) > limits.MAX_MARKER_DEPTH:
        return "its marker is too deep"
    return ""


def _written_anew(parsed: Requirement, text: str) -> str:
    name, extras = canonicalize_name(parsed.name), sorted({canonicalize_name(extra) for extra in parsed.extras})
    if not all(is_normal_name(one) for one in (name, *extras)):
        raise RequirementError(f"requirement {_short(text)} has a name that is malformed or too long")
    versions = ",".join(sorted({_specifier(one) for one in parsed.specifier}))
    marker = f"; {parse_marker(str(parsed.marker))}" if parsed.marker else ""
    return name + (f"[{','.join(extras)}]" if extras else "") + versions + marker


def _specifier(one: Specifier) -> str:
    """One clause with its version in normal form. Trailing zeros stay: `~=2.0` and `~=2` are not the same."""
    if one.version.endswith(".*"):
        return f"{one.operator}{Version(one.version.removesuffix('.*'))}.*"
    return f"{one.operator}{Version(one.version)}"


def _script_block(source: str) -> dict[str, object]:
    source = source.replace("\r\n", "\n")
    blocks = list(_SCRIPT_BLOCK.finditer(source))
    scripts = [block for block in blocks if block["type"] == "script"]
    for opening in _SCRIPT_OPENING.finditer(source):
        if not any(block.start() <= opening.start() < block.end() for block in blocks):
            raise RequirementError(
                "the script's `# /// script` block is not closed",
                hint='Every line of it starts with "# " (or is "#"), and the last one is "# ///" (PEP 723).',
            )
    if not scripts:
        return {}
    if len(scripts) > 1:
        raise RequirementError(f"the script has {len(scripts)} `# /// script` blocks; PEP 723 allows one")
    return _toml(scripts[0]["content"])


def _toml(content: str) -> dict[str, object]:
    if len(content.encode(errors="replace")) > limits.MAX_SCRIPT_BLOCK_BYTES:
        raise TooLarge(f"the script's block is larger than {limits.MAX_SCRIPT_BLOCK_BYTES} bytes")
    lines = [line[2:] if line.startswith("# ") else line[1:] for line in content.splitlines(keepends=True)]
    try:
        return tomllib.loads("".join(lines))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RequirementError(f"the script's block is not TOML: {_first_line(error)}") from None


def _is_own(text: str) -> bool:
    name = re.match(r"\s*([A-Za-z0-9._-]+)", text)
    return name is not None and canonicalize_name(name[1]) == OWN_NAME


def _depth(text: str) -> int:
    depth = deepest = 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        deepest = max(deepest, depth)
    return deepest


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
