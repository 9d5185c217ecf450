import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from talkoot.core.errors import BadInput, BadSignature
from talkoot.crypto import KINDS, Kind, Signed, SigningKey, decode_signed, encode_signed, verify

KEY = SigningKey.from_seed(bytes(range(32)))
OTHER = SigningKey.from_seed(b"o" * 32)
STATEMENT_KINDS = sorted(KINDS - {Kind.CHECKPOINT})


@pytest.mark.parametrize("kind", STATEMENT_KINDS)
def test_a_statement_of_each_kind_verifies_and_gives_its_payload(kind):
    assert verify(KEY.sign(kind, b"payload"), kind, key=KEY.public) == b"payload"


@pytest.mark.parametrize("used_as", STATEMENT_KINDS)
@pytest.mark.parametrize("signed_as", STATEMENT_KINDS)
def test_a_statement_of_one_kind_is_worth_nothing_as_another(signed_as, used_as):
    if signed_as == used_as:
        return
    signed = KEY.sign(signed_as, b"payload")
    with pytest.raises(BadSignature, match="where"):
        verify(signed, used_as)
    with pytest.raises(BadSignature, match="does not verify"):
        verify(msgspec.structs.replace(signed, kind=used_as.value), used_as)


def test_a_signature_is_ed25519_over_the_domain_the_kind_and_the_payload():
    from nacl.signing import VerifyKey

    signed = KEY.sign(Kind.MANIFEST, b"payload")
    VerifyKey(KEY.public).verify(b"talkoot/v1/manifest\0payload", signed.signature)


def test_a_key_is_that_of_rfc_8032():
    key = SigningKey.from_seed(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign_raw(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )


def test_a_statement_by_another_key_is_refused_where_a_key_is_required():
    with pytest.raises(BadSignature, match="has to sign it"):
        verify(OTHER.sign(Kind.MANIFEST, b"payload"), Kind.MANIFEST, key=KEY.public)


def test_a_statement_put_under_another_key_is_refused():
    forged = msgspec.structs.replace(OTHER.sign(Kind.MANIFEST, b"payload"), key=KEY.public)
    with pytest.raises(BadSignature):
        verify(forged, Kind.MANIFEST, key=KEY.public)


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80))
def test_keys_and_signatures_that_were_made_up_are_refused(key, payload, signature):
    with pytest.raises(BadSignature):
        verify(Signed("manifest", key, payload, signature), Kind.MANIFEST)


def test_a_key_of_small_order_signs_nothing():
    # With the neutral element as key, (R=identity, S=0) would verify for every message.
    identity = b"\1" + bytes(31)
    with pytest.raises(BadSignature):
        verify(Signed("manifest", identity, b"anything", identity + bytes(32)), Kind.MANIFEST)


def test_the_second_form_of_a_signature_is_refused():
    signed = KEY.sign(Kind.MANIFEST, b"payload")
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(signed.signature[32:], "little") + order
    with pytest.raises(BadSignature):
        verify(
            msgspec.structs.replace(signed, signature=signed.signature[:32] + scalar.to_bytes(32, "little")),
            Kind.MANIFEST,
        )


def test_every_flipped_bit_of_an_encoded_statement_is_found():
    data = encode_signed(KEY.sign(Kind.LENDING, b"payload"))
    for position in range(8 * len(data)):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises((BadInput, BadSignature)):
            verify(decode_signed(bytes(changed)), Kind.LENDING, key=KEY.public)


def test_a_statement_has_one_form_only():
    signed = KEY.sign(Kind.LENDING, b"payload")
    longer = msgspec.msgpack.encode([signed.kind, signed.key, signed.payload, signed.signature, None])
    with pytest.raises(BadInput):
        decode_signed(longer)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_statement_are_bad_input(data):
    with pytest.raises(BadInput):
        decode_signed(data)


@pytest.mark.parametrize("data", [b"\x94" + b"\x91" * 100_000, b"\x94\xa1\xff\xc4\0\xc4\0\xc4\0", b""])
def test_deep_or_ill_coded_bytes_are_bad_input(data):
    with pytest.raises(BadInput):
        decode_signed(data)


def test_a_checkpoint_is_never_signed_as_a_statement():
    with pytest.raises(AssertionError):
        KEY.sign(Kind.CHECKPOINT, b"")


def test_raw_bytes_that_look_like_a_statement_are_not_signed():
    with pytest.raises(BadInput):
        KEY.sign_raw(b"talkoot/v1/manifest\0payload")


def test_no_representation_shows_a_payload():
    signed = KEY.sign(Kind.REQUEST, b"SECRET")
    assert "SECRET" not in repr(signed) + pretty_repr(signed)
    assert decode_signed(encode_signed(signed)) == signed
    assert pickle.loads(pickle.dumps(signed)) == signed
