"""What several rooms' tests share."""

import pytest

from talkoot.core.errors import TalkootError
from talkoot.sdk.resolve import resolve


@pytest.fixture(scope="session")
def index(tmp_path_factory) -> None:
    """Skip where the device's package index, whichever its owner has set, cannot be reached."""
    try:
        resolve(["six"], python="3.11", cache=tmp_path_factory.mktemp("probe"), timeout_s=15)
    except TalkootError as error:
        pytest.skip(f"no package index can be reached: {error.message}")
