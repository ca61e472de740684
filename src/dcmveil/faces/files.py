"""What the file faces share: opening without surprises, bytes copied by the kernel, and an output
that appears under its name whole or not at all.

Paths are bytes or str, as `os` takes them. OSError passes through: a caller reports its reason,
never its path.
"""

from __future__ import annotations

import errno
import os

from ..errors import DcmveilError
from .system import open_regular, piece_of, rename_new

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[[], None]

# The first read takes in most headers with one call, and little of the pixel data behind them.
HEAD = 32 << 10
AFTER_SKIP = 4 << 10  # what follows bulk is a few elements, or the item tag of the next fragment
TEMPORARY = b".dcmveil-"  # how the names of our own files begin; trees pass over them
_PIECE = piece_of(0, 1 << 62)  # the longest
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
# The kernel cannot copy between these two files by this call; another way may do.
_CANNOT = {
    errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY,
}  # fmt: skip
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}


class StopError(DcmveilError):
    """The run was asked to stop; the file in hand was undone."""


def write_whole(file: int, data: bytes | memoryview) -> None:
    """All of data: a write to a nearly full disk may take a part before it fails."""
    n = os.write(file, data)
    while n < len(data):
        n += os.write(file, data[n:])


# ---------------------------------------------------------------------------- bytes by the kernel


def _copy_file_range(src: int, dst: int, n: int) -> int:
    return os.copy_file_range(src, dst, n)


def _sendfile(src: int, dst: int, n: int) -> int:
    at = os.lseek(src, 0, os.SEEK_CUR)
    done = os.sendfile(dst, src, at, n)
    os.lseek(src, at + done, os.SEEK_SET)
    return done


def _read_and_write(src: int, dst: int, n: int) -> int:
    data = os.read(src, min(n, 1 << 20))
    write_whole(dst, data)
    return len(data)


class KernelCopy:
    """Copies from file to file, both at their positions, by the best call that works here:
    copy_file_range (which shares blocks where the file system can), sendfile, read and write."""

    def __init__(self) -> None:
        self._ways = [_copy_file_range, _sendfile, _read_and_write]
        if not hasattr(os, "copy_file_range"):
            del self._ways[0]

    def copy(self, src: int, dst: int, n: int) -> int:
        """At most n bytes; how many. 0: src has ended."""
        while True:
            try:
                return self._ways[0](src, dst, n)
            except OSError as error:
                if len(self._ways) == 1 or error.errno not in _CANNOT:
                    raise
                del self._ways[0]

    def bulk(self, src: int, dst: int, n: int) -> int:
        """The same in pieces that are aligned, as far as it can be."""
        return self.copy(src, dst, piece_of(os.lseek(src, 0, os.SEEK_CUR), n))

    def copy_all(self, src: int, dst: int, check: Check) -> int:
        """All that is left of src; how many bytes."""
        total = 0
        while n := self.copy(src, dst, _PIECE):
            total += n
            check()
        return total


# ------------------------------------------------------------------------------- new output files


def create(path: bytes, mode: int = 0o666) -> int:
    """A new file to write. What an earlier run left under that name is unlinked first, never
    truncated: it may be one file with an output that was published."""
    try:
        return os.open(path, _NEW, mode)
    except FileExistsError:
        os.unlink(path)
        return os.open(path, _NEW, mode)


def publish(temporary: bytes, final: bytes, *, replace: bool = False) -> bool:
    """Give a finished file its name. False: that name is taken, and nothing was changed."""
    if replace:
        os.replace(temporary, final)
        return True
    try:
        if rename_new(temporary, final):
            return True
        os.link(temporary, final, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(final):  # a file system without hard links
            return False
        os.rename(temporary, final)
        return True
    os.unlink(temporary)
    return True


def remove(path: bytes) -> None:
    """Away with a file of our own, if it is there."""
    try:
        os.unlink(path)
    except OSError:
        pass


def make_folders(path: bytes) -> list[bytes]:
    """Make a folder and those above it that are missing; the folders that have got an entry."""
    changed = []
    missing = path
    while not os.path.isdir(missing):
        missing = os.path.dirname(missing) or b"."
        changed.append(missing)
    os.makedirs(path, exist_ok=True)
    return changed


def same_bytes(one: bytes, other: bytes) -> bool:
    """Whether two regular files hold the same."""
    try:
        a = open_regular(one)
    except (OSError, DcmveilError):
        return False
    try:
        b = open_regular(other)
    except (OSError, DcmveilError):
        os.close(a)
        return False
    with open(a, "rb") as left, open(b, "rb") as right:
        if os.fstat(a).st_size != os.fstat(b).st_size:
            return False
        while True:
            data = left.read(1 << 18)
            if data != right.read(1 << 18):
                return False
            if not data:
                return True


def sync_folder(path: bytes) -> None:
    """Entries of a folder reach the disk, where the file system can be told so."""
    _sync(path, os.O_DIRECTORY)


def sync_file(path: bytes) -> None:
    """What a file holds reaches the disk."""
    _sync(path, os.O_NOFOLLOW)


def _sync(path: bytes, flags: int) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(file)
