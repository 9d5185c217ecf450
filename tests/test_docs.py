"""The documentation is under test: links lead somewhere, generated pages are current, the README's commands are CI's."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page):
    missing = [
        target
        for target in LINK.findall(page.read_text())
        if not target.startswith(("http:", "https:")) and not (page.parent / target).exists()
    ]
    assert not missing


def test_life_cycles_are_documented_as_they_are():
    made = runpy.run_path(str(ROOT / "scripts" / "lifecycles.py"))["page"]()
    assert (ROOT / "docs" / "reference" / "lifecycles.md").read_text() == made, "run python scripts/lifecycles.py"


def test_the_readmes_first_two_commands_set_up_and_run_the_demo_and_the_tests():
    demo, tests = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)[:2]
    assert demo.strip().endswith(".venv/bin/talkoot demo")
    assert tests.strip().endswith(".venv/bin/pytest")
    assert len(demo.strip().splitlines()) == len(tests.strip().splitlines()) == 1


def test_every_explanation_and_reference_page_can_be_found_from_the_readme_or_another_page():
    linked = {(page.parent / target).resolve() for page in PAGES for target in LINK.findall(page.read_text())}
    lost = [str(page.relative_to(ROOT)) for page in PAGES if page.resolve() not in linked and page.parent != ROOT]
    assert not lost


def test_locks_hold_no_addresses():
    for lock in ROOT.glob("requirements*.lock"):
        text = lock.read_text()
        assert "://" not in text
        assert all(line.startswith(("    --hash=sha256:", "#")) or "==" in line for line in text.splitlines() if line)
