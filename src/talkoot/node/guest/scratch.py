"""Empty a folder whose content nobody vouches for: any depth, any names, links never followed."""

import errno
import os
import stat
from contextlib import suppress


def empty(folder: str | os.PathLike[str]) -> None:
    """Remove all that is in the folder, without recursion: sub-folders are lifted up to it, one level at a time.

    A tree a task has made may be deeper than any stack and its paths longer than PATH_MAX.
    """
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        serial = 0
        while names := os.listdir(top):
            for name in names:
                serial = _remove(top, name, serial)
    finally:
        os.close(top)


def _remove(top: int, name: str, serial: int) -> int:
    mode = os.stat(name, dir_fd=top, follow_symlinks=False).st_mode
    if not stat.S_ISDIR(mode):
        os.unlink(name, dir_fd=top)
        return serial
    if mode & 0o700 != 0o700:
        with suppress(OSError):
            os.chmod(name, 0o700, dir_fd=top)
    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    try:
        for child in os.listdir(inner):
            if stat.S_ISDIR(os.stat(child, dir_fd=inner, follow_symlinks=False).st_mode):
                serial = _lift(inner, child, top, serial)
            else:
                os.unlink(child, dir_fd=inner)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=top)
    return serial


def _lift(inner: int, child: str, top: int, serial: int) -> int:
    while True:
        serial += 1
        try:
            os.rename(child, f".lifted-{serial}", src_dir_fd=inner, dst_dir_fd=top)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        else:
            return serial
