"""The redo journal of patching: what will be written where, on disk before any file is touched.

A kill in the middle of a write leaves a file half old and half new; a single pwrite is not atomic
either. So a batch of files is planned first, its new bytes go into a journal, and only a journal
that is whole is carried out. After a kill the next run finds it and carries it out again: the bytes
are absolute, so doing it twice is doing it once.

The folder `.dcmveil-journal` in the root of the tree holds the journals of a run. One journal is

    FILE  path length (2), path, inode (8), size (8)
    EDIT  offset (8), length (4), new bytes               as often as needed
    DONE  length (4), line of the report, digest (16) of this record
    ...
    OVER  number of records (4), digest (16) over their digests

with little endian integers. It holds no old value, but paths relative to the root; its mode is
0600, and it is gone when the run is. Its writer holds a lock on it: one without is left over.
"""

from __future__ import annotations

import fcntl
import os
import struct

from ..errors import DcmveilError, FileError
from ..keys import blake2b
from .files import open_regular, remove, sync_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

FOLDER = b".dcmveil-journal"
_FILE, _EDIT, _DONE, _OVER = b"FILE", b"EDIT", b"DONE", b"OVER"
_DIGEST = 16
_BUFFER = 1 << 20
_LONGEST = 1 << 30  # bytes of one edit: a damaged journal must not claim all memory


class JournalError(DcmveilError):
    """A journal of an earlier run cannot be carried out; the files are as that run left them."""


class Journal:
    """One batch being planned, then carried out. Open until `close`."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file: BinaryIO = open(_in_folder(path, flags), "w+b", _BUFFER)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._digest = blake2b(digest_size=_DIGEST)
        self._all = blake2b(digest_size=_DIGEST)
        self._start = 0  # of the record at hand
        self.records = 0

    def begin(self, relative: bytes, status: os.stat_result) -> None:
        """The next file of the batch."""
        self._start = self._file.tell()
        self._digest = blake2b(digest_size=_DIGEST)
        head = struct.pack("<4sH", _FILE, len(relative)) + relative
        self._write(head + struct.pack("<QQ", status.st_ino, status.st_size))

    def edit(self, offset: int, new: bytes) -> None:
        self._write(struct.pack("<4sQI", _EDIT, offset, len(new)))
        self._write(new)

    def end(self, line: bytes) -> None:
        """The file was understood to its end; `line` goes to the report once it is patched."""
        self._write(struct.pack("<4sI", _DONE, len(line)) + line)
        digest = self._digest.digest()
        self._file.write(digest)
        self._all.update(digest)
        self.records += 1

    def forget(self) -> None:
        """The file at hand is refused: nothing of it is kept."""
        self._file.seek(self._start)
        self._file.truncate()

    def commit(self, durable: bool) -> None:
        """The batch is whole: from here on it will be carried out, by this run or the next."""
        self._file.write(struct.pack("<4sI", _OVER, self.records) + self._all.digest())
        self._file.flush()
        if durable:
            os.fsync(self._file.fileno())
            sync_folder(os.path.dirname(self.path))

    def carry_out(self, root: bytes, durable: bool) -> None:
        """Write the edits into the files of the batch."""
        self._file.seek(0)
        for _ in _carry_out(self._file, root, durable):
            pass

    def close(self) -> None:
        self._file.close()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)


def _in_folder(path: bytes, flags: int) -> int:
    """A new file, in a folder that is made when it is missing."""
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        return os.open(path, flags, 0o600)


def discard(path: bytes) -> None:
    """A journal that was carried out and reported, or was never whole."""
    remove(path)


def close_folder(root: bytes) -> None:
    """The end of a run."""
    try:
        os.rmdir(os.path.join(root, FOLDER))
    except OSError:
        pass  # a journal is left in it, and waits for the next run


def recover(root: bytes, durable: bool) -> Iterator[tuple[bytes, bytes]]:
    """Carry out what an earlier run left in the folder of `root`, and yield (relative path, line of
    the report) of each file. A journal is discarded once all of its files were taken from here.

    Raises JournalError for one that cannot be carried out, FileError and OSError.
    """
    folder = os.path.join(root, FOLDER)
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise FileError("what stands in the place of the journal is no folder") from None
    for name in names:
        path = os.path.join(folder, name)
        try:
            file = open(open_regular(path), "rb", _BUFFER)
        except FileNotFoundError:
            continue  # another run was faster
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # its run is alive
            if _is_whole(file):
                file.seek(0)
                yield from _carry_out(file, root, durable)
            discard(path)


def pending_above(path: bytes) -> bool:
    """Whether a run on a folder above this one was cut off and waits to be repeated."""
    folder = os.path.dirname(os.path.realpath(path))
    while True:
        if os.path.isdir(os.path.join(folder, FOLDER)):
            return True
        parent = os.path.dirname(folder)
        if parent == folder:
            return False
        folder = parent


# ----------------------------------------------------------------------------------- reading back


def _is_whole(file: BinaryIO) -> bool:
    """Whether the journal was finished: otherwise no file of it was touched."""
    try:
        for _ in _records(file):
            pass
    except (ValueError, struct.error):
        return False
    return True


def _records(file: BinaryIO) -> Iterator[tuple[bytes, Any]]:
    """(kind, content) one by one. Raises ValueError or struct.error where it is not whole."""
    digest = blake2b(digest_size=_DIGEST)
    whole = blake2b(digest_size=_DIGEST)
    count = 0

    def take(n: int) -> bytes:
        data = file.read(n)
        if len(data) != n:
            raise ValueError("cut off")
        digest.update(data)
        return data

    while True:
        kind = take(4)
        if kind == _FILE:
            (length,) = struct.unpack("<H", take(2))
            relative = take(length)
            inode, size = struct.unpack("<QQ", take(16))
            yield kind, (relative, inode, size)
        elif kind == _EDIT:
            offset, length = struct.unpack("<QI", take(12))
            if length > _LONGEST:
                raise ValueError("damaged")
            yield kind, (offset, take(length))
        elif kind == _DONE:
            (length,) = struct.unpack("<I", take(4))
            line = take(length)
            if file.read(_DIGEST) != digest.digest():
                raise ValueError("damaged")
            whole.update(digest.digest())
            digest = blake2b(digest_size=_DIGEST)
            count += 1
            yield kind, line
        elif kind == _OVER:
            (number,) = struct.unpack("<I", take(4))
            if number != count or file.read(_DIGEST) != whole.digest():
                raise ValueError("damaged")
            return
        else:
            raise ValueError("damaged")


def _carry_out(file: BinaryIO, root: bytes, durable: bool) -> Iterator[tuple[bytes, bytes]]:
    """Write the edits of a whole journal; yields (relative path, line) for each file."""
    target = -1
    relative = b""
    try:
        for kind, content in _records(file):
            if kind == _FILE:
                relative, inode, size = content
                target = _open_target(root, relative, inode, size)
            elif kind == _EDIT:
                offset, new = content
                _write_at(target, new, offset)
            else:
                if durable:
                    os.fsync(target)
                os.close(target)
                target = -1
                yield relative, content
    finally:
        if target >= 0:
            os.close(target)


def _open_target(root: bytes, relative: bytes, inode: int, size: int) -> int:
    """The file of a record, which must be the one that was planned."""
    parts = relative.split(b"/")
    if b".." in parts or b"" in parts:
        raise JournalError("a journal of an earlier run is damaged")
    try:
        target = open_regular(os.path.join(root, relative), os.O_RDWR)
    except (OSError, FileError):
        target = -1
    if target >= 0:
        status = os.fstat(target)
        if (status.st_ino, status.st_size) == (inode, size):
            return target
        os.close(target)
    raise JournalError(
        "an earlier run was cut off while it patched, and one of its files has been moved or "
        "changed since; put it back, or remove the folder .dcmveil-journal if that file is new"
    )


def _write_at(file: int, data: bytes, offset: int) -> None:
    n = os.pwrite(file, data, offset)
    while n < len(data):
        n += os.pwrite(file, data[n:], offset + n)
