"""The contract of a log: one class of tests for every implementation."""

import sqlite3

import pytest

from talkoot.core.errors import Conflict
from talkoot.core.events import Entry
from talkoot.crypto import merkle
from talkoot.hub import schema
from talkoot.hub.log import SqliteLog


def sqlite_log(folder):
    db = schema.connect(folder / "log.db")
    schema.migrate(db)
    return SqliteLog(db)


def entry(n):
    return Entry(b"public %d" % n, b"salt", b"payload")


@pytest.fixture(params=[sqlite_log])
def log(request, tmp_path):
    return request.param(tmp_path)


class TestLogContract:
    def test_a_new_log_is_empty(self, log):
        assert log.size() == 0
        assert list(log.read()) == []

    def test_what_was_appended_is_read_in_order_and_without_gaps(self, log):
        assert log.append([entry(1), entry(2)], after=0) == 2
        assert log.append([entry(3)], after=2) == 3
        assert list(log.read()) == [(1, entry(1)), (2, entry(2)), (3, entry(3))]
        assert list(log.read(3)) == [(3, entry(3))]

    @pytest.mark.parametrize("after", [0, 1, 3, 99])
    def test_a_writer_that_believes_in_another_position_is_fenced_off(self, log, after):
        log.append([entry(1), entry(2)], after=0)
        with pytest.raises(Conflict, match="the log has 2 entries"):
            log.append([entry(9)], after=after)
        assert log.size() == 2
        assert [position for position, _ in log.read()] == [1, 2]

    def test_more_entries_than_are_read_at_once_all_come(self, log):
        log.append([entry(n) for n in range(1, 2502)], after=0)
        assert [position for position, _ in log.read(2)] == list(range(2, 2502))

    def test_its_root_is_the_merkle_root_of_the_public_parts(self, log):
        log.append([entry(n) for n in range(7)], after=0)
        assert log.frontier.root() == merkle.root([merkle.leaf_hash(b"public %d" % n) for n in range(7)])


def test_a_database_of_a_newer_talkoot_is_refused_and_left_as_it_is(tmp_path):
    db = sqlite3.connect(tmp_path / "hub.db")
    db.execute("PRAGMA user_version = 9999")
    with pytest.raises(Conflict, match="version 9999"):
        schema.migrate(db)
    assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
