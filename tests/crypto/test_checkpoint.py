import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkoot.core import limits
from talkoot.core.errors import BadInput, BadSignature
from talkoot.crypto import Checkpoint, SigningKey, checkpoint, open_checkpoint, sign_checkpoint
from talkoot.crypto.merkle import EMPTY_ROOT

HUB = SigningKey.from_seed(b"h" * 32)
OTHER = SigningKey.from_seed(b"o" * 32)
HEAD = Checkpoint("talkoot/z6MkHub", 1207, bytes(range(32)))
NOTE = sign_checkpoint(HUB, HEAD)

# The key and note of golang.org/x/mod/sumdb/note's own tests.
PETER_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
PETER_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="


def opened(note):
    return open_checkpoint(note, HEAD.origin, HUB.public)


def test_a_checkpoint_comes_back():
    assert opened(NOTE) == HEAD
    empty = Checkpoint("log", 0, EMPTY_ROOT)
    assert open_checkpoint(sign_checkpoint(HUB, empty), "log", HUB.public) == empty


def test_the_note_has_the_form_that_c2sp_prescribes():
    body, line = NOTE.split("\n\n")
    assert body == "talkoot/z6MkHub\n1207\n" + base64.b64encode(bytes(range(32))).decode()
    assert line.startswith("— talkoot/z6MkHub ")
    assert line.count("\n") == 1


def test_key_id_and_signature_are_those_of_the_reference_implementation():
    peter = SigningKey.from_seed(PETER_SEED)
    blob = checkpoint.key_id("PeterNeumann", peter.public) + peter.sign_raw(PETER_TEXT.encode())
    assert blob[:4].hex() == "c74f20a3"
    assert f"— PeterNeumann {base64.b64encode(blob).decode()}" == PETER_LINE


def test_a_note_that_is_not_a_checkpoint_is_refused_though_it_is_signed():
    peter = SigningKey.from_seed(PETER_SEED)
    with pytest.raises(BadSignature, match="not a checkpoint"):
        open_checkpoint(f"{PETER_TEXT}\n{PETER_LINE}\n", "PeterNeumann", peter.public)


def _sign_text(text, name=HEAD.origin, key=HUB):
    blob = checkpoint.key_id(name, key.public) + key.sign_raw(text.encode())
    return f"{text}\n— {name} {base64.b64encode(blob).decode()}\n"


ROOT = base64.b64encode(HEAD.root).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD.origin}\n01207\n{ROOT}\n",
        f"{HEAD.origin}\n-1\n{ROOT}\n",
        f"{HEAD.origin}\n+1\n{ROOT}\n",
        f"{HEAD.origin}\n१\n{ROOT}\n",
        f"{HEAD.origin}\n{2**63}\n{ROOT}\n",
        f"{HEAD.origin}\n1 \n{ROOT}\n",
        f"{HEAD.origin}\n1\n{ROOT[:-1]}\n",
        f"{HEAD.origin}\n1\n{ROOT[:-4]}\n",
        f"{HEAD.origin}\n1\n{ROOT}\nextension\n",
        f"{HEAD.origin}\n1\n",
        f"other\n1\n{ROOT}\n",
    ],
)
def test_a_signed_text_with_another_form_or_origin_is_refused(text):
    with pytest.raises(BadSignature):
        opened(_sign_text(text))


def test_a_checkpoint_of_another_key_or_log_is_refused():
    with pytest.raises(BadSignature):
        open_checkpoint(NOTE, HEAD.origin, OTHER.public)
    with pytest.raises(BadSignature):
        open_checkpoint(NOTE, "talkoot/another", HUB.public)
    with pytest.raises(BadSignature):
        open_checkpoint(NOTE, HEAD.origin, b"not a key")


def test_every_flipped_bit_of_a_note_is_found():
    data = NOTE.encode()
    for position in range(8 * len(data)):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(BadSignature):
            opened(changed.decode(errors="surrogateescape"))


def test_every_truncated_note_is_refused():
    for end in range(len(NOTE)):
        with pytest.raises(BadSignature):
            opened(NOTE[:end])


def test_signatures_of_witnesses_are_passed_over():
    body, line = NOTE.split("\n\n")
    witness = _sign_text(body + "\n", "witness.example", OTHER).split("\n\n")[1]
    assert opened(f"{body}\n\n{witness}{line}") == opened(f"{body}\n\n{line}{witness}") == HEAD
    assert opened(f"{body}\n\n{line}{witness * 16}") == HEAD


def test_one_bad_signature_of_the_hub_spoils_the_note():
    body, line = NOTE.split("\n\n")
    blob = checkpoint.key_id(HEAD.origin, HUB.public) + bytes(64)
    with pytest.raises(BadSignature):
        opened(f"{body}\n\n{line}— {HEAD.origin} {base64.b64encode(blob).decode()}\n")


def test_a_note_beyond_the_limit_is_not_read():
    with pytest.raises(BadSignature, match="characters"):
        opened(NOTE * limits.MAX_CHECKPOINT_CHARS)


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\nb", "a\0b", "a\u2003b", "x" * 201])
def test_a_log_without_a_usable_name_gets_no_checkpoint(origin):
    with pytest.raises(BadInput):
        sign_checkpoint(HUB, Checkpoint(origin, 1, bytes(32)))


def test_a_head_that_cannot_be_gets_no_checkpoint():
    for size, root in ((-1, bytes(32)), (2**63, bytes(32)), (1, bytes(31))):
        with pytest.raises(BadInput):
            sign_checkpoint(HUB, Checkpoint("log", size, root))


PIECES = st.sampled_from(["\n", "\n\n", "— ", " ", HEAD.origin, ROOT, "1207", NOTE, "\ud800", "=", "AAAA"])


@given(st.text() | st.lists(PIECES, max_size=12).map("".join))
def test_whatever_is_given_only_our_error_comes_out(note):
    with contextlib.suppress(BadSignature):
        assert opened(note) == HEAD
