"""The redo journal of patching: what will be written where, on disk before any file is touched.

A kill in the middle of a write leaves a file half old and half new; a single pwrite is not atomic
either. So a batch of files is planned first, its new bytes go into a journal, and only a journal
that is whole is carried out. After a kill the next run finds it and carries it out again: the bytes
are absolute, so doing it twice is doing it once.

The folder `.dcmveil-journal` in the root of the tree holds the journals of a run. One journal is

    FILE  path length (2), path, inode (8), size (8)
    EDIT  offset (8), length (4), new bytes               as often as needed
    DONE  length (4), line of the report
    ...
    OVER  number of files (4), CRC-32 of all before it (4)

with little endian integers. The CRC tells a journal that was cut off, or in which a power cut has
left holes, from a whole one; against whoever may write into the folder it is no help.

To make, fill and remove a file takes several times as long as to write over one. So once the files
of a batch stand in the report, the first four bytes of its journal become zeros, and a later batch
of that worker writes over the rest. FILE comes in their place after all else is written: of what a
kill leaves, no start of one batch is read together with the end of another. What stands behind OVER
counts for nothing. A journal with rows of a crosswalk is not kept like that: it has old values.

It holds paths relative to the root, and no old value unless a crosswalk is written (its rows stand
in the lines, since nothing else has them after patching). Its mode is 0600, and it is gone when the
run is. Its writer holds a lock on it: one without is left over.
"""

from __future__ import annotations

import fcntl
import os

from ..errors import DcmveilError, FileError
from .files import remove, sync_folder
from .records import Targets, add_done, add_edit, add_file, carry_out
from .system import open_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

    _Identity = tuple[int, ...]

FOLDER = b".dcmveil-journal"
_FILE, _EDIT, _DONE, _OVER = b"FILE", b"EDIT", b"DONE", b"OVER"
_FREE = bytes(len(_FILE))  # in place of the first FILE: it covers no file
_AGAIN = b"-again"  # ends the name of a journal that is to be written over
_BUFFER = 2 << 20  # bytes of a journal that stay in memory
_LONGEST = 1 << 30  # bytes of one edit: a damaged journal must not claim all memory


class JournalError(DcmveilError):
    """A journal of an earlier run cannot be carried out; the files are as that run left them."""


class Journals:
    """Those of one worker, one after the other.

    again  a file may be written over, since no old value stands in it
    """

    def __init__(self, root: bytes, again: bool) -> None:
        self._folder = os.path.join(root, FOLDER)
        self._end = _AGAIN if again else b""
        self._count = 0
        # files to be written over once their batches stand in the report, in the order of these
        self._kept: list[tuple[bytes, _Identity]] = []

    def begin(self) -> Journal:
        """For the next batch."""
        while self._kept:
            path, identity = self._kept[0]
            file, free = _again(path, identity)
            if file < 0 and not free:
                break  # nor are those of later batches
            del self._kept[0]
            if file >= 0:
                return Journal(path, file)
        self._count += 1
        name = b"%d-%d%b" % (os.getpid(), self._count, self._end)
        return Journal(os.path.join(self._folder, name))

    def close(self, journal: Journal) -> None:
        identity = journal.kept if self._end else None
        journal.close()
        if identity is not None:
            self._kept.append((journal.path, identity))


class Journal:
    """One batch being planned, then carried out. It becomes a file when it is committed, or larger
    than _BUFFER; or it has one with a lock on it, to be written over. Close it in any case: then an
    uncommitted one leaves no trace.

    records  those that are not in the file yet; FILE and EDIT may be added from outside
    targets  files that were planned to their end. They are held open, so that nothing has to be
             opened and read again, as long as all the records fit into the buffer
    """

    def __init__(self, path: bytes, file: int = -1) -> None:
        self.path = path
        self.records = bytearray()
        self.targets = Targets()
        self._file = file
        self._committed = False
        self._written = 0  # bytes of the file that count
        self._head = bytearray()  # the first of them
        self._start = 0  # of the record at hand, from the start of the journal
        self._crc = 0  # of what is in the file
        self._crc_before = 0  # without the record at hand
        self._status: os.stat_result | None = None  # of the file at hand

    @property
    def count(self) -> int:
        """Files that were planned to their end."""
        return self.targets.count

    def start(self) -> None:
        """The next file of the batch: begin() follows, or records from outside."""
        self._start = self._written + len(self.records)

    def begin(self, relative: bytes, status: os.stat_result) -> None:
        self.start()
        self._status = status
        add_file(self.records, relative, status.st_ino, status.st_size)

    def edit(self, offset: int, new: bytes) -> None:
        add_edit(self.records, offset, new)
        if len(self.records) > _BUFFER:
            self._spill()

    def end(self, file: int, line: bytes) -> None:
        """The file was understood to its end; `line` tells what is reported once it is patched.
        From here on the journal closes `file`."""
        add_done(self.records, line)
        assert self._status is not None
        self.take(file, self._status.st_size, self._status.st_ctime_ns)

    def take(self, file: int, size: int, changed_ns: int) -> None:
        """The same where the records, with the line, were added from outside: of a file of that
        size, whose status changed at that time."""
        if len(self.records) > _BUFFER:
            self._spill()
        self.targets.add(file, size, changed_ns)

    def forget(self) -> None:
        """The file at hand is refused: nothing of it is kept."""
        if self._start >= self._written:
            del self.records[self._start - self._written :]
        else:
            self._crc = self._crc_before
            self.records.clear()
            self._written = self._start

    def commit(self, durable: bool) -> None:
        """The batch is whole: from here on it will be carried out, by this run or the next."""
        self.records += _OVER + self.count.to_bytes(4, "little")
        self.records += _crc32(self.records, self._crc).to_bytes(4, "little")
        self._write(self.records)
        _write_at(self._file, self._head, 0)
        if durable:
            os.fsync(self._file)
            folder = os.path.dirname(self.path)
            sync_folder(folder)
            sync_folder(os.path.dirname(folder))
        self._committed = True

    def carry_out(self, root: bytes, durable: bool) -> set[bytes]:
        """Write the edits into the files of the batch. Those that come back were moved or changed
        since they were planned, and were not touched."""
        if self.targets.held:
            return carry_out(self.records, self.targets, durable)
        refused: set[bytes] = set()
        with open(self._file, "rb", _BUFFER, closefd=False) as file:
            file.seek(0)
            for _ in _carry_out(file, root, durable, refused):
                pass
        return refused

    @property
    def kept(self) -> _Identity | None:
        """What its file is, None: it has none that is to be written over."""
        if not self._committed or self._written > _BUFFER:
            return None
        status = os.fstat(self._file)
        return _identity(status) if status.st_nlink == 1 else None

    def close(self) -> None:
        self.targets.let_go()
        if self._file >= 0:
            if not self._committed:
                remove(self.path)  # nothing was touched
            os.close(self._file)
            self._file = -1

    def _spill(self) -> None:
        """Out of memory into the file. Where that fails, forget() leaves what was before the record
        at hand, wherever it is, and it is carried out from the file."""
        self.targets.let_go()
        before = self._start - self._written  # bytes of records that stay whatever comes
        if before >= 0:
            self._put(self.records[:before])
            self._crc_before = self._crc
            del self.records[:before]
        self._put(self.records)
        self.records.clear()

    def _put(self, data: bytearray) -> None:
        self._write(data)
        self._crc = _crc32(data, self._crc)  # of what was written, and not before

    def _write(self, data: bytearray) -> None:
        if self._file < 0:
            self._file = _locked(self.path)
        if self._written or not data:
            _write_at(self._file, data, self._written)
        else:  # void until it is committed
            self._head = data[: len(_FREE)]
            data[: len(_FREE)] = _FREE
            try:
                _write_at(self._file, data, 0)
            finally:
                data[: len(_FREE)] = self._head
        self._written += len(data)


def _locked(path: bytes) -> int:
    """A new file with a lock on it, in a folder that is made when it is missing. Another run may
    take the folder away before there is a file in it, and the file before there is a lock on it."""
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            continue
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return file
        os.close(file)


def _again(path: bytes, identity: _Identity) -> tuple[int, bool]:
    """A file of ours that was kept, with a lock on it; or -1, and whether it is gone for good: else
    its batch does not stand in the report yet."""
    try:
        file = open_regular(path, os.O_RDWR)
    except (OSError, FileError):
        return -1, True
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        same = _identity(os.fstat(file)) == identity  # nobody has put another one there
        if same and os.pread(file, len(_FREE), 0) == _FREE:
            return file, False
    except OSError:
        same = False
    os.close(file)
    return -1, not same


def _identity(status: os.stat_result) -> _Identity:
    """Another file that stands in its place, or that has a second name, has another one."""
    return status.st_dev, status.st_ino, status.st_nlink, status.st_mode, status.st_uid


def discard(path: bytes) -> None:
    """A journal that was carried out and reported. Where it is to be written over, it is void from
    here on; others are removed."""
    if not path.endswith(_AGAIN):
        remove(path)
        return
    try:
        file = open_regular(path, os.O_RDWR)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(file)
            if (
                status.st_size <= _BUFFER
                and status.st_nlink == 1
                and os.pread(file, len(_FILE), 0) == _FILE
                and os.pwrite(file, _FREE, 0) == len(_FREE)
            ):
                return
        finally:
            os.close(file)
    except (OSError, FileError):
        pass
    remove(path)


def close_folder(root: bytes) -> None:
    """The end of a run: what covers no file is removed."""
    folder = os.path.join(root, FOLDER)
    try:
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            file = _abandoned(path)
            if file is None:
                continue
            with file:
                if file.read(len(_FREE)) in (b"", _FREE):
                    remove(path)
        os.rmdir(folder)
    except (OSError, FileError):
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
        file = _abandoned(path)
        if file is None:
            continue
        with file:
            if _files_of(file) is not None:
                file.seek(0)
                yield from _carry_out(file, root, durable)
            remove(path)


def recover_batch(
    root: bytes, batch: set[bytes], durable: bool
) -> tuple[bytes | None, list[tuple[bytes, bytes]]]:
    """The same for the one journal that a worker of this run, now dead, left of a batch: its path,
    to be discarded, and (relative path, line) of each file. None: no file was touched."""
    folder = os.path.join(root, FOLDER)
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        file = _abandoned(path)
        if file is None:
            continue
        with file:
            names = _files_of(file)
            if names is None:
                remove(path)
            elif names and names <= batch:
                file.seek(0)
                return path, list(_carry_out(file, root, durable))
    return None, []


def _abandoned(path: bytes) -> BinaryIO | None:
    """A journal, locked; None if its writer is alive, or another run was faster."""
    try:
        file = open(open_regular(path), "rb", _BUFFER)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_pending(folder: bytes) -> bool:
    """Whether a run on this folder was cut off and waits to be repeated, or is at work."""
    return os.path.lexists(os.path.join(folder, FOLDER))


def pending_above(path: bytes) -> bool:
    """Whether that holds for a folder above this one."""
    folder = os.path.dirname(os.path.realpath(path))
    while True:
        if is_pending(folder):
            return True
        parent = os.path.dirname(folder)
        if parent == folder:
            return False
        folder = parent


# ----------------------------------------------------------------------------------- reading back


def _files_of(file: BinaryIO) -> set[bytes] | None:
    """The files of a journal that was finished; None: it was not, and no file of it was touched."""
    try:
        return {content[0] for kind, content in _records(file) if kind == _FILE}
    except ValueError:
        return None


def _records(file: BinaryIO) -> Iterator[tuple[bytes, Any]]:
    """(kind, content) one by one. Raises ValueError where it is not whole."""
    crc = 0
    count = 0
    started = False  # a record that has not ended

    def take(n: int) -> bytes:
        nonlocal crc
        data = file.read(n)
        if len(data) != n:
            raise ValueError("cut off")
        crc = _crc32(data, crc)
        return data

    def number(n: int) -> int:
        return int.from_bytes(take(n), "little")

    while True:
        kind = take(4)
        if kind == _FILE:
            relative = take(number(2))
            inode, size = number(8), number(8)
            started = True
            yield kind, (relative, inode, size)
        elif kind == _EDIT:
            offset, length = number(8), number(4)
            if length > _LONGEST:
                raise ValueError("damaged")
            yield kind, (offset, take(length))
        elif kind == _DONE:
            line = take(number(4))
            count += 1
            started = False
            yield kind, line
        elif kind == _OVER and not started:
            if number(4) != count:
                raise ValueError("damaged")
            wanted = crc
            if number(4) != wanted:
                raise ValueError("damaged")
            return
        else:
            raise ValueError("damaged")


def _carry_out(
    file: BinaryIO, root: bytes, durable: bool, refused: set[bytes] | None = None
) -> Iterator[tuple[bytes, bytes]]:
    """Write the edits of a whole journal; yields (relative path, line) for each file. `refused`
    gets the files that are not those that were planned; without it they raise JournalError."""
    target = -1
    relative = b""
    try:
        for kind, content in _records(file):
            if kind == _FILE:
                relative, inode, size = content
                try:
                    target = _open_target(root, relative, inode, size)
                except JournalError:
                    if refused is None:
                        raise
                    refused.add(relative)
            elif target < 0:
                continue
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


def _write_at(file: int, data: bytes | bytearray, offset: int) -> None:
    n = os.pwrite(file, data, offset)
    while n < len(data):
        n += os.pwrite(file, data[n:], offset + n)


def _crc32(data: bytes | bytearray, before: int) -> int:
    from binascii import crc32  # most runs that import this module copy, and write no journal

    return crc32(data, before)
