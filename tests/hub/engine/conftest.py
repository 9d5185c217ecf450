"""The engine without HTTP, on virtual time and a real database; whatever a test does, the laws hold afterwards."""

import pytest

from talkoot.testing import InProcessHub
from talkoot.testing.checks import assert_laws


@pytest.fixture
def hub(tmp_path):
    hub = InProcessHub(tmp_path / "hub.db")
    yield hub
    assert_laws(hub)
    hub.engine.close()
