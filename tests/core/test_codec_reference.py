"""The reference page of the codec: its examples are golden, its table of marks is that of the code."""

import re
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from talkoot.core.codec import _marks, decode, encode, validate

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "codec.md").read_text()
EXAMPLES = re.findall(r"^\| `(.+?)` \| `([0-9a-f]+)` \|$", PAGE.split("## Examples")[1], re.MULTILINE)
NAMES = {"date": date, "Decimal": Decimal, "Fraction": Fraction, "np": np}


@pytest.mark.parametrize(("text", "encoding"), EXAMPLES)
def test_example_of_the_page(text: str, encoding: str) -> None:
    value = eval(text, NAMES)
    assert encode(value).hex() == encoding
    assert encode(decode(bytes.fromhex(encoding))).hex() == encoding
    validate(bytes.fromhex(encoding))


def test_every_mark_has_its_row_and_no_other() -> None:
    marks = {v for k, v in vars(_marks).items() if type(v) is int and not k.startswith("MAX_") and k != "FLOAT_BYTE"}
    assert {int(n) for n in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)} == marks
    assert len(EXAMPLES) > 10
