"""Tasks that try to get away from those who watch over them."""

import pytest

from talkoot.core import codec
from talkoot.core.types import Rung


@pytest.fixture(params=[Rung.BWRAP, Rung.NAMESPACES, Rung.LANDLOCK])
def rung(request, lab):
    lab.need(request.param)
    return request.param


def test_a_task_cannot_make_a_process_beside_its_worker(lab, rung):
    assert lab.value(rung, "has_a_sibling_made") == []


def test_a_task_cannot_leave_an_orphan_that_nobody_finds(lab, rung):
    cell = lab.open(rung)
    try:
        run = cell.run(codec.encode((("leaves_an_orphan_to_others",), {})), 1, time_s=10)
        assert run.outcome == "answered"
        assert not cell.alive, "what it left behind went on in a warm cell"
    finally:
        cell.close()
