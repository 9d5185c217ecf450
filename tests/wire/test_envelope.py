import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from talkoot.core import limits
from talkoot.core.errors import BadInput, BadSignature, Replayed, StaleEpoch, TooLarge
from talkoot.crypto import Kind, SigningKey, encode_signed
from talkoot.wire.envelope import Epochs, Request, epoch_text, open_request, parse_epoch, seal

KEY = SigningKey.from_seed(b"k" * 32)
HUB, OTHER_HUB = SigningKey.from_seed(b"h" * 32).public, SigningKey.from_seed(b"o" * 32).public
EPOCH, NONCE, PATH = b"e" * 16, b"n" * 16, "/v1/exchange"
SEALED = seal(KEY, HUB, EPOCH, NONCE, PATH, b"body")


def test_a_request_is_opened_by_the_hub_it_is_for():
    signed, request = open_request(SEALED, hub=HUB, path=PATH)
    assert signed.key == KEY.public
    assert request == Request(HUB, EPOCH, NONCE, PATH, b"body")


def test_a_request_for_one_hub_is_worth_nothing_at_another():
    with pytest.raises(BadSignature, match="another hub"):
        open_request(SEALED, hub=OTHER_HUB, path=PATH)


def test_a_request_for_one_path_is_worth_nothing_at_another():
    with pytest.raises(BadSignature, match="was sent to"):
        open_request(SEALED, hub=HUB, path="/v1/jobs/cancel")


@pytest.mark.parametrize("kind", [Kind.MANIFEST, Kind.RECEIPTS, Kind.LENDING, Kind.TICKET])
def test_a_statement_of_another_kind_is_not_a_request(kind):
    payload = msgspec.msgpack.encode(Request(HUB, EPOCH, NONCE, PATH, b"body"))
    with pytest.raises(BadSignature):
        open_request(encode_signed(KEY.sign(kind, payload)), hub=HUB, path=PATH)


def test_every_flipped_bit_of_a_request_is_found():
    for position in range(8 * len(SEALED)):
        changed = bytearray(SEALED)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises((BadInput, BadSignature)):
            open_request(bytes(changed), hub=HUB, path=PATH)


def test_every_truncated_or_lengthened_request_is_refused():
    for end in range(len(SEALED)):
        with pytest.raises(BadInput):
            open_request(SEALED[:end], hub=HUB, path=PATH)
    with pytest.raises(BadInput):
        open_request(SEALED + b"\0", hub=HUB, path=PATH)


@given(st.binary(max_size=300))
def test_bytes_of_strangers_give_only_our_errors(data):
    with pytest.raises(BadInput):
        open_request(data, hub=HUB, path=PATH)


@given(st.binary(max_size=200) | st.lists(st.binary() | st.text() | st.integers(-9, 9) | st.none()).map(msgspec.msgpack.encode))
def test_a_signed_payload_that_is_no_request_is_bad_input(payload):
    with pytest.raises(BadInput):
        open_request(encode_signed(KEY.sign(Kind.REQUEST, payload)), hub=HUB, path=PATH)


@pytest.mark.parametrize(("epoch", "nonce"), [(EPOCH, b""), (EPOCH, b"n" * 17), (b"", NONCE), (b"e" * 5000, NONCE)])
def test_a_nonce_or_epoch_of_another_length_is_bad_input(epoch, nonce):
    with pytest.raises(BadInput):
        open_request(seal(KEY, HUB, epoch, nonce, PATH, b""), hub=HUB, path=PATH)


def test_what_is_too_large_is_refused_before_it_is_sent_and_before_it_is_read():
    with pytest.raises(TooLarge):
        seal(KEY, HUB, EPOCH, NONCE, PATH, bytes(limits.MAX_REQUEST_BYTES))
    with pytest.raises(TooLarge):
        open_request(bytes(limits.MAX_REQUEST_BYTES + 1), hub=HUB, path=PATH)


def test_no_representation_shows_the_body():
    _, request = open_request(seal(KEY, HUB, EPOCH, NONCE, PATH, b"SECRET"), hub=HUB, path=PATH)
    assert "SECRET" not in repr(request) + pretty_repr(request)


def test_an_epoch_is_written_in_a_header_and_read_back():
    assert parse_epoch(epoch_text(EPOCH)) == EPOCH
    assert [parse_epoch(text) for text in ("", "zz", "00", "é")] == [None] * 4


def _nonces():
    return (number.to_bytes(16, "big") for number in range(10**9))


def _epochs(**limits_):
    numbers = iter(range(1, 1000))
    return Epochs(bytes(16), 100.0, draw=lambda: next(numbers).to_bytes(16, "big"), **limits_)


def test_a_request_is_good_once():
    epochs = _epochs()
    epochs.check(epochs.current, NONCE, 100)
    for now in (100, 200, 399):
        with pytest.raises(Replayed):
            epochs.check(bytes(16), NONCE, now)


def test_a_replay_is_found_in_the_previous_epoch_and_stale_after_it():
    epochs, nonces = _epochs(), _nonces()
    epochs.check(bytes(16), NONCE, 100)
    with pytest.raises(Replayed):
        epochs.check(bytes(16), NONCE, 401)  # turned over by this very call
    assert epochs.current != bytes(16)
    epochs.check(bytes(16), next(nonces), 402)  # a late comer
    epochs.check(epochs.current, next(nonces), 402)
    for now in (702, 10_000):
        with pytest.raises(StaleEpoch):
            epochs.check(bytes(16), NONCE, now)


def test_an_epoch_that_the_hub_never_had_is_stale():
    for epoch in (b"", b"x" * 16):
        with pytest.raises(StaleEpoch):
            _epochs().check(epoch, NONCE, 100)


def test_an_epoch_that_is_full_turns_over_and_loses_nothing():
    epochs, nonces, taken = _epochs(max_nonces=3), _nonces(), []
    for _ in range(9):
        taken.append((epochs.current, next(nonces)))
        epochs.check(*taken[-1], 100)
    assert len({epoch for epoch, _ in taken}) == 3
    for epoch, nonce in taken:
        with pytest.raises((Replayed, StaleEpoch)):
            epochs.check(epoch, nonce, 100)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9), st.sampled_from([0, 1, 150, 301]))))
def test_no_pair_of_epoch_and_nonce_is_ever_taken_twice_and_memory_is_bounded(steps):
    epochs, now, taken, known = _epochs(max_nonces=4), 100.0, set(), [bytes(16)]
    for nonce, age, wait in steps:
        now += wait
        epoch = known[max(0, len(known) - 1 - age // 3)]
        try:
            epochs.check(epoch, nonce.to_bytes(16, "big"), now)
        except (Replayed, StaleEpoch):
            pass
        else:
            assert (epoch, nonce) not in taken
            taken.add((epoch, nonce))
        if epochs.current != known[-1]:
            known.append(epochs.current)
        assert len(epochs._seen_current) + len(epochs._seen_previous) <= 3 * 4
