"""Secret keys: made, kept in a file, and used to sign.

The bytes of a secret key leave this module only into its own file: never into a log line, an error, a repr, a
pickle or another process. A key file that cannot be read is never replaced, for whoever owns the key would lose
a name, and everything that was earned under it.
"""

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Final, NoReturn, Self

from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_seed_keypair

from talkoot.core import ids
from talkoot.core.errors import BadInput, DiskFull, NotFound, TalkootError
from talkoot.core.ids import PublicKey
from talkoot.crypto.signed import DOMAIN, Kind, Signed, signing_input

SEED_BYTES: Final = 32
_PREFIX: Final = "talkoot-secret-key-1 "
_CHECK_BYTES: Final = 4
_MAX_FILE_BYTES: Final = 1024


class SigningKey:
    """An Ed25519 key that can sign. `public` is the name by which everybody else knows it."""

    __slots__ = ("_secret", "_seed", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise BadInput(f"The seed of a key has {SEED_BYTES} bytes, not {len(seed)}.")
        public, self._secret = crypto_sign_seed_keypair(seed)
        self._seed = seed
        self.public = PublicKey(public)

    @classmethod
    def generate(cls, entropy: bytes | None = None) -> Self:
        """A new key, from the operating system's randomness or from at least 32 bytes of `entropy`."""
        if entropy is None:
            return cls(os.urandom(SEED_BYTES))
        if len(entropy) < SEED_BYTES:
            raise BadInput(f"A key needs at least {SEED_BYTES} bytes of entropy; {len(entropy)} were given.")
        return cls(ids.derive("key-seed/1", entropy))

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """The key of an RFC 8032 secret of 32 bytes."""
        return cls(seed)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The key in a file. Raises NotFound, or BadInput if others can read the file or it is damaged."""
        return cls(_read_seed(Path(path)))

    @classmethod
    def load_or_create(cls, path: str | os.PathLike[str]) -> Self:
        """The key in a file, made on first use. Processes that race for it all get the same key."""
        path = Path(path)
        if not os.path.lexists(path):
            with contextlib.suppress(FileExistsError):  # another process was first: its key is the key
                _create(path, cls.generate()._seed)
        return cls.load(path)

    def sign(self, kind: Kind, payload: bytes) -> Signed:
        """A statement of this key."""
        return Signed(kind.value, self.public, payload, self._signature(signing_input(kind, payload)))

    def sign_raw(self, message: bytes) -> bytes:
        """The signature over bare bytes, for a format that others prescribe. Only `checkpoint` calls it.

        Bytes that could be taken for a statement of ours are refused.
        """
        if message.startswith(DOMAIN):
            raise BadInput(f"Bytes that begin with {DOMAIN!r} are signed as a statement only: call `sign`.")
        return self._signature(message)

    def _signature(self, message: bytes) -> bytes:
        return crypto_sign(message, self._secret)[:crypto_sign_BYTES]

    def __repr__(self) -> str:
        return f"SigningKey({ids.key_text(self.public)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret key is not pickled or copied; pass the path of its file instead.")


def _encode(seed: bytes) -> bytes:
    return (_PREFIX + ids.base32(seed + ids.derive("key-file/1", seed)[:_CHECK_BYTES]) + "\n").encode()


def _decode(data: bytes) -> bytes | None:
    """The seed in the content of a key file; None if it is damaged."""
    try:
        seed = ids.from_base32(data.decode("ascii").strip().removeprefix(_PREFIX))[:SEED_BYTES]
    except ValueError:
        return None
    return seed if data.strip() == _encode(seed).strip() else None


def _read_seed(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_open_unblocked) as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_FILE_BYTES + 1) if stat.S_ISREG(mode) else b""
    except FileNotFoundError:
        raise NotFound(f"There is no key in {path}.") from None
    except OSError as error:
        raise _disk_error("read", path, error) from None
    if stat.S_ISREG(mode) and mode & 0o077:
        raise BadInput(
            f"The key file {path} has mode {stat.S_IMODE(mode):04o}: others than its owner can use it.",
            hint=f"If nobody else has read it, run: chmod 600 {path}",
        )
    seed = _decode(data)
    if seed is None:
        raise BadInput(
            f"The key file {path} is damaged ({len(data)} bytes that are not a key). It was left as it is.",
            hint="Put a backup of it back. Without one the key is lost: move the file away to start with a new key.",
        )
    return seed


def _open_unblocked(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a named pipe would block for ever; it is refused once open


def _create(path: Path, seed: bytes) -> None:
    """Write the file whole or not at all. Raises FileExistsError if it is there already.

    A link instead of O_EXCL on the path itself: no other process ever sees a file that is still being written,
    and a crash in the middle leaves no damaged key behind.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _write_synced(draft, _encode(seed))
            os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except FileExistsError:
        if not os.path.lexists(path):
            raise BadInput(f"No key can be kept in {path}: {path.parent} is not a folder.") from None
        raise
    except OSError as error:
        raise _disk_error("write", path, error) from None


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)  # whatever the umask says
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_error(verb: str, path: Path, error: OSError) -> TalkootError:
    kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else BadInput
    return kind(f"Cannot {verb} the key file {path}: {error.strerror}.")
