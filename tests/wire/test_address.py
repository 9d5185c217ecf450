import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkoot.core.errors import BadInput
from talkoot.wire.address import check_loopback, loopback_address, parse_address


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_allowed_and_its_address_reads_back(host):
    check_loopback(host)
    assert parse_address(loopback_address(host, 8470)) == (host, 8470)


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "::",
        "",
        "192.168.1.7",
        "203.0.113.9",
        "128.0.0.1",
        "fe80::1",
        "::1%eth0",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "example.org",
        "localhost.example.org",
        "127.0.0.1.example.org",
        "127.1",
        "0177.0.0.1",
        "2130706433",
        " 127.0.0.1",
        "127.0.0.1\n",
    ],
)
def test_everything_else_is_refused_with_the_reason(host):
    with pytest.raises(BadInput, match="loopback only as long as it has no TLS"):
        check_loopback(host)
    with pytest.raises(BadInput):
        loopback_address(host, 8470)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("http://127.0.0.1:8470", ("127.0.0.1", 8470)),
        ("http://127.0.0.1:8470/", ("127.0.0.1", 8470)),
        ("HTTP://LocalHost:1", ("localhost", 1)),
        ("http://[::1]:65535", ("::1", 65535)),
    ],
)
def test_an_address_is_read(text, where):
    assert parse_address(text) == where


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:8470",
        "https://127.0.0.1:8470",
        "ftp://127.0.0.1:8470",
        "http://127.0.0.1",
        "http://127.0.0.1:",
        "http://127.0.0.1:0",
        "http://127.0.0.1:65536",
        "http://127.0.0.1:٨٤٧٠",
        "http://127.0.0.1:8470/v1",
        "http://127.0.0.1:8470//",
        "http://127.0.0.1:8470?x",
        "http://127.0.0.1:8470#x",
        "http://127.0.0.1:8470\n",
        "http://127.0.0.1:8470\r\nhost: x",
        "http://127.0.0.1\\@192.0.2.1:80",
        "http://[127.0.0.1]:8470/x",
        "http://192.0.2.1:8470",
        "http://example.org:8470",
        "http://::1:8470",
    ],
)
def test_other_forms_are_refused(text):
    with pytest.raises(BadInput):
        parse_address(text)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(BadInput, match="no password") as caught:
        parse_address("http://me:hunter2@127.0.0.1:8470")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_a_port_that_cannot_be_is_refused(port):
    with pytest.raises(BadInput):
        loopback_address("127.0.0.1", port)


@given(st.text() | st.from_regex(r"\Ahttp://[0-9a-f.:\[\]]*:[0-9]*/?\Z"))
def test_whatever_is_given_is_read_as_loopback_or_refused(text):
    try:
        host, _ = parse_address(text)
    except BadInput:
        return
    check_loopback(host)
