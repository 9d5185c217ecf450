import contextlib
import string
import traceback

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from talkoot.core import ids, limits
from talkoot.core.errors import TicketError
from talkoot.crypto import Kind, SigningKey, encode_signed
from talkoot.wire.tickets import Ticket, read_ticket, ticket_id, write_ticket

HUB = SigningKey.from_seed(b"h" * 32)
OTHER = SigningKey.from_seed(b"o" * 32)
SECRET = b"\xa5SECRET-OF-TICK\xa5"
EXPIRES_MS = 1_700_000_000_000
TICKET = Ticket("http://127.0.0.1:8470", HUB.public, "proteins", "researcher", EXPIRES_MS, SECRET)
TEXT = write_ticket(HUB, TICKET)


def read(text, now_ms=EXPIRES_MS - 1):
    return read_ticket(text, now_ms=now_ms)


def test_a_ticket_comes_back():
    assert read(TEXT) == TICKET
    assert TEXT.startswith("talkoot1")
    assert set(TEXT) <= set(string.ascii_lowercase + string.digits)


@pytest.mark.parametrize(
    "mangle",
    [
        str.upper,
        str.title,
        lambda text: f"\n  {text}\t\r\n",
        lambda text: "\n> ".join(text[i : i + 60] for i in range(0, len(text), 60)).replace(">", ""),
        " ".join,
    ],
)
def test_case_and_white_space_that_mail_programs_add_do_not_matter(mangle):
    assert read(mangle(TEXT)) == TICKET


def test_every_flipped_bit_of_a_ticket_is_found():
    data = TEXT.encode()
    for position in range(8 * len(data)):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        text = changed.decode("latin-1")
        if text.lower() != TEXT:  # another case is the same ticket
            with pytest.raises(TicketError):
                read(text)


def test_every_truncated_ticket_is_refused():
    for end in range(len(TEXT)):
        with pytest.raises(TicketError):
            read(TEXT[:end])
    with pytest.raises(TicketError):
        read(TEXT + "a")


def test_an_expired_ticket_says_when_it_expired():
    for now_ms in (EXPIRES_MS, EXPIRES_MS + 10**12):
        with pytest.raises(TicketError, match="expired on 2023-11-14 at 22:13:20 UTC"):
            read(TEXT, now_ms)


def _signed_by(key, ticket, kind=Kind.TICKET):
    return "talkoot1" + ids.base32(encode_signed(key.sign(kind, msgspec.msgpack.encode(ticket))))


def test_a_ticket_to_a_hub_that_did_not_sign_it_is_refused():
    with pytest.raises(TicketError, match="not signed by the hub"):
        read(_signed_by(OTHER, TICKET))
    with pytest.raises(TicketError):
        write_ticket(OTHER, TICKET)


def test_another_statement_of_the_hub_is_no_ticket():
    with pytest.raises(TicketError, match="tampered"):
        read(_signed_by(HUB, TICKET, Kind.LENDING))


@pytest.mark.parametrize(
    "change",
    [
        {"address": "http://192.0.2.1:8470"},
        {"address": "file:///etc/passwd"},
        {"role": "emperor"},
        {"project": ""},
        {"project": "x" * (limits.MAX_NAME_CHARS + 1)},
        {"secret": b"short"},
        {"expires_ms": -1},
        {"expires_ms": 2**62},
    ],
)
def test_what_could_not_be_used_is_neither_written_nor_read(change):
    ticket = msgspec.structs.replace(TICKET, **change)
    with pytest.raises(TicketError):
        write_ticket(HUB, ticket)
    with pytest.raises(TicketError):
        read(_signed_by(HUB, ticket))


def test_the_longest_ticket_fits_the_limit():
    ticket = msgspec.structs.replace(TICKET, project="\N{SLICE OF PIZZA}" * limits.MAX_NAME_CHARS)
    assert read(write_ticket(HUB, ticket)) == ticket


@pytest.mark.parametrize("text", ["", "hello", "talkoot1", "talkoot1!!", "talkoot2" + TEXT[8:], TEXT + "\u212a", "\ud800"])
def test_what_is_not_a_ticket_is_refused(text):
    with pytest.raises(TicketError):
        read(text)


def test_a_text_beyond_the_limit_is_not_read():
    with pytest.raises(TicketError, match="at most"):
        read("talkoot1" + "a" * limits.MAX_TICKET_CHARS)


@given(
    st.text()
    | st.binary(max_size=300).map(lambda data: "talkoot1" + ids.base32(data))
    | st.binary(max_size=100).map(lambda data: "talkoot1" + ids.base32(encode_signed(HUB.sign(Kind.TICKET, data))))
    | st.lists(st.text(max_size=9) | st.integers(-9, 9) | st.binary(max_size=9), max_size=7).map(lambda x: _signed_by(HUB, x))
)
def test_whatever_is_given_only_our_error_comes_out(text):
    with pytest.raises(TicketError):
        read(text)


@given(
    st.integers(0, len(TEXT)),
    st.integers(0, len(TEXT)),
    st.text(alphabet=string.ascii_letters + "234567 \n", max_size=4),
)
def test_edited_tickets_are_refused_or_the_same(start, end, insert):
    with contextlib.suppress(TicketError):
        assert read(TEXT[:start] + insert + TEXT[end:]) == TICKET


def test_the_secret_is_in_no_representation_and_no_error():
    shown = repr(TICKET) + pretty_repr(TICKET)
    for change in (8, 200, -1):
        with pytest.raises(TicketError) as caught:
            read(TEXT[:change] + "9" + TEXT[change:])
        shown += "".join(traceback.format_exception(caught.value))
    with pytest.raises(TicketError) as caught:
        read(TEXT, EXPIRES_MS)
    shown += "".join(traceback.format_exception(caught.value))
    assert "SECRET-OF" not in shown
    assert TEXT[20:40] not in shown


def test_the_hub_knows_a_ticket_by_an_id_that_does_not_redeem_it():
    assert ticket_id(SECRET) == ids.derive("ticket/1", SECRET)
    assert SECRET not in ticket_id(SECRET)
