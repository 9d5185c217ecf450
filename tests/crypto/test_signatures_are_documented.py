from pathlib import Path

import pytest

from talkoot.crypto import KINDS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "signatures.md"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_signature_has_its_row_and_section(kind):
    text = PAGE.read_text(encoding="utf-8")
    assert f"| `{kind}` |" in text
    assert f"\n### {kind}\n" in text
