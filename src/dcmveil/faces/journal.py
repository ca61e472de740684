"""The redo journal of patching: what will be written where, on disk before any file is touched.

A kill in the middle of a write leaves a file half old and half new; a single pwrite is not atomic
either. So a batch of files is planned first, its new bytes go into a journal, and only a journal
that is whole is carried out. After a kill the next run finds it and carries it out again: the bytes
are absolute, so doing it twice is doing it once.

The folder `.dcmveil-journal` in the root of the tree holds the journals of a run. One journal is

    FILE  path length (2), path, inode (8), size (8)
    EDIT  offset (8), length (4), new bytes               as often as needed
    ROWS  length (4), rows of the crosswalk               where one is written
    DONE  length (4), line of the report, digest (16) of this record
    ...
    OVER  number of records (4), digest (16) over their digests; nothing after it counts

with little endian integers. It holds paths relative to the root, and old values only where a
crosswalk is written: once a file is patched nothing else has them. Its mode is 0600, and it is gone
when the run is. Its writer holds a lock on it: one without is left over.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct

from ..errors import DcmveilError, FileError
from ..keys import blake2b
from .files import open_regular, remove, sync_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, BinaryIO

    Rows = Sequence[tuple[str, bytes, bytes]]  # of a crosswalk

FOLDER = b".dcmveil-journal"
_FILE, _EDIT, _ROWS, _DONE, _OVER = b"FILE", b"EDIT", b"ROWS", b"DONE", b"OVER"
_EDIT_HEAD = struct.Struct("<4sQI")
_TEXT_HEAD = struct.Struct("<4sI")
_DIGEST = 16
_BUFFER = 1 << 20
_LONGEST = 1 << 30  # bytes of one edit: a damaged journal must not claim all memory
_CHANGED = (
    "an earlier run was cut off while it patched, and one of its files has been moved or changed "
    "since; put it back, or remove the folder .dcmveil-journal if that file is new"
)


class JournalError(DcmveilError):
    """A journal of an earlier run cannot be carried out; the files are as that run left them."""


class Journal:
    """One batch being planned, then carried out. It becomes a file when it is committed, or larger
    than _BUFFER. Close it in any case: then an uncommitted one leaves no trace."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.records = 0
        self._file = -1
        self._committed = False
        self._buffer = bytearray()  # what is not in the file yet
        self._written = 0  # bytes of the file that count
        self._start = 0  # of the record at hand, from the start of the journal
        self._hashed = 0  # up to where its digest goes, from the start of the buffer
        self._digest = blake2b(digest_size=_DIGEST)
        self._all = blake2b(digest_size=_DIGEST)
        # (file, size, edits) of what is planned, so that nothing has to be opened and read again;
        # None once it is too much
        self._planned: list[tuple[int, int, list[tuple[int, bytes]]]] | None = []
        self._edits: list[tuple[int, bytes]] = []
        self._size = 0

    def begin(self, relative: bytes, status: os.stat_result) -> None:
        """The next file of the batch."""
        self._start = self._written + len(self._buffer)
        self._hashed = len(self._buffer)
        self._digest = blake2b(digest_size=_DIGEST)
        self._edits = []
        self._size = status.st_size
        self._buffer += _FILE + len(relative).to_bytes(2, "little") + relative
        self._buffer += struct.pack("<QQ", status.st_ino, status.st_size)

    def edit(self, offset: int, new: bytes) -> None:
        self._buffer += _EDIT_HEAD.pack(_EDIT, offset, len(new))
        self._buffer += new
        if self._planned is not None:
            self._edits.append((offset, new))
        if len(self._buffer) > _BUFFER:
            self._spill()

    def end(self, file: int, line: bytes, rows: Rows = ()) -> None:
        """The file was understood to its end; `line` goes to the report once it is patched, `rows`
        to the crosswalk. From here on the journal closes `file`."""
        if rows:
            packed = json.dumps([(k, o.decode("latin-1"), n.decode("latin-1")) for k, o, n in rows])
            self._buffer += _TEXT_HEAD.pack(_ROWS, len(packed)) + packed.encode()
        self._buffer += _TEXT_HEAD.pack(_DONE, len(line)) + line
        self._hash()
        digest = self._digest.digest()
        self._buffer += digest
        self._all.update(digest)
        self.records += 1
        if self._planned is None:
            os.close(file)
        else:
            self._planned.append((file, self._size, self._edits))

    def forget(self) -> None:
        """The file at hand is refused: nothing of it is kept."""
        if self._start >= self._written:
            del self._buffer[self._start - self._written :]
        else:
            self._buffer.clear()
            self._written = self._start

    def commit(self, durable: bool) -> None:
        """The batch is whole: from here on it will be carried out, by this run or the next."""
        self._buffer += _TEXT_HEAD.pack(_OVER, self.records) + self._all.digest()
        self._write()
        if durable:
            os.fsync(self._file)
            folder = os.path.dirname(self.path)
            sync_folder(folder)
            sync_folder(os.path.dirname(folder))
        self._committed = True

    def carry_out(self, root: bytes, durable: bool) -> None:
        """Write the edits into the files of the batch."""
        if self._planned is None:
            with open(self._file, "rb", _BUFFER, closefd=False) as file:
                file.seek(0)
                for _ in _carry_out(file, root, durable):
                    pass
            return
        for target, size, edits in self._planned:
            if os.fstat(target).st_size != size:
                raise JournalError(_CHANGED)
            for offset, new in edits:
                _write_at(target, new, offset)
            if durable:
                os.fsync(target)

    def close(self) -> None:
        self._close_planned()
        if self._file >= 0:
            if not self._committed:
                discard(self.path)  # nothing was touched
            os.close(self._file)
            self._file = -1

    def _close_planned(self) -> None:
        for target, _, _ in self._planned or ():
            os.close(target)
        self._planned = None

    def _hash(self) -> None:
        with memoryview(self._buffer) as data:
            self._digest.update(data[self._hashed :])
        self._hashed = len(self._buffer)

    def _spill(self) -> None:
        """Out of memory into the file."""
        self._hash()
        self._write()
        self._hashed = 0
        self._close_planned()
        self._edits = []

    def _write(self) -> None:
        if self._file < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = _in_folder(self.path, flags)
            fcntl.flock(self._file, fcntl.LOCK_EX)
        with memoryview(self._buffer) as data:
            _write_at(self._file, data, self._written)
        self._written += len(self._buffer)
        self._buffer.clear()


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


def recover(root: bytes, durable: bool) -> Iterator[tuple[bytes, bytes, Rows]]:
    """Carry out what an earlier run left in the folder of `root`, and yield (relative path, line of
    the report, rows of the crosswalk) of each file. A journal is discarded once all of its files
    were taken from here.

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
    started = False  # a record that has not ended

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
            started = True
            yield kind, (relative, inode, size)
        elif kind == _EDIT:
            offset, length = struct.unpack("<QI", take(12))
            if length > _LONGEST:
                raise ValueError("damaged")
            yield kind, (offset, take(length))
        elif kind == _ROWS:
            (length,) = struct.unpack("<I", take(4))
            rows = json.loads(take(length))
            yield kind, [(k, o.encode("latin-1"), n.encode("latin-1")) for k, o, n in rows]
        elif kind == _DONE:
            (length,) = struct.unpack("<I", take(4))
            line = take(length)
            if file.read(_DIGEST) != digest.digest():
                raise ValueError("damaged")
            whole.update(digest.digest())
            digest = blake2b(digest_size=_DIGEST)
            count += 1
            started = False
            yield kind, line
        elif kind == _OVER and not started:
            (number,) = struct.unpack("<I", take(4))
            if number != count or file.read(_DIGEST) != whole.digest():
                raise ValueError("damaged")
            return
        else:
            raise ValueError("damaged")


def _carry_out(file: BinaryIO, root: bytes, durable: bool) -> Iterator[tuple[bytes, bytes, Rows]]:
    """Write the edits of a whole journal; yields (relative path, line, rows) for each file."""
    target = -1
    relative = b""
    rows: Rows = ()
    try:
        for kind, content in _records(file):
            if kind == _FILE:
                relative, inode, size = content
                rows = ()
                target = _open_target(root, relative, inode, size)
            elif kind == _EDIT:
                offset, new = content
                _write_at(target, new, offset)
            elif kind == _ROWS:
                rows = content
            else:
                if durable:
                    os.fsync(target)
                os.close(target)
                target = -1
                yield relative, content, rows
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
    raise JournalError(_CHANGED)


def _write_at(file: int, data: bytes | memoryview, offset: int) -> None:
    n = os.pwrite(file, data, offset)
    while n < len(data):
        n += os.pwrite(file, data[n:], offset + n)
