"""Folders and tar archives side by side: which output belongs to which original.

First by equal relative path; what is left, by the new SOP Instance UID that the key gives the
original. Names and UIDs of the outputs, and the members of an archive, are held in a temporary
database of SQLite, so memory is bounded.
"""

from __future__ import annotations

import io
import os
import sqlite3
import stat
import tarfile
import tempfile
from contextlib import closing

from ..errors import DicomError, NotDicomError, UsageError
from .verdict import Finding, Verdict
from .walk import Flat, Walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO, Any, BinaryIO

    from . import Checker
    from .compare import Veils
    from .walk import Make

_SPOOL = 16 << 20  # bytes of an unpacked archive in memory, before it goes to a temporary file


class Folder:
    """The regular files of a folder and of those in it; links are not followed."""

    def __init__(self, root: str) -> None:
        self._root = root

    def names(self) -> Iterator[str]:
        """Relative paths with slashes, sorted."""
        yield from self._names("")

    def _names(self, prefix: str) -> Iterator[str]:
        with os.scandir(os.path.join(self._root, prefix)) as found:
            entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
        for name, is_folder in entries:
            if is_folder:
                yield from self._names(f"{prefix}{name}/")
            else:
                yield prefix + name

    def open(self, name: str) -> BinaryIO | None:
        """None: no regular file."""
        path = os.path.join(self._root, name)
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        return open(path, "rb")

    def words(self, name: str) -> str:
        """All text that comes with the file, its name first."""
        return name


class Archive:
    """The members of a tar archive; a packed one is unpacked into a temporary file first."""

    def __init__(self, path: str) -> None:
        self._file = _unpacked(path)
        self._index = sqlite3.connect("")
        self._index.execute(
            "CREATE TABLE member (name BLOB PRIMARY KEY, start INTEGER, size INTEGER, words BLOB)"
        )
        with tarfile.open(fileobj=self._file, mode="r:") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # they would pile up
                if member.isdir():
                    continue
                words = [member.name, member.linkname, member.uname, member.gname]
                words += member.pax_headers.values()
                start = member.offset_data if member.isreg() and not member.issparse() else -1
                row = (start, member.size, _stored("\n".join(words)))
                add = "INSERT INTO member VALUES (?, ?, ?, ?)"
                try:
                    self._index.execute(add, (_stored(member.name), *row))
                except sqlite3.IntegrityError:  # a name that stood before; both must be compared
                    again = f"{member.name}\0{member.offset}"
                    self._index.execute(add, (_stored(again), *row))

    def names(self) -> Iterator[str]:
        for (name,) in self._index.execute("SELECT name FROM member ORDER BY start"):
            yield _loaded(name)

    def open(self, name: str) -> BinaryIO | None:
        start, size = self._row(name, "start, size")
        return None if start < 0 else io.BufferedReader(_Part(self._file, start, size))

    def words(self, name: str) -> str:
        return _loaded(self._row(name, "words")[0])

    def _row(self, name: str, columns: str) -> tuple[Any, ...]:
        query = f"SELECT {columns} FROM member WHERE name = ?"
        row: tuple[Any, ...] = self._index.execute(query, (_stored(name),)).fetchone()
        return row


class _Part(io.RawIOBase):
    """Some bytes of a file, as a file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: object) -> int:
        room = memoryview(buffer)  # type: ignore[arg-type]
        n = max(0, min(len(room), self._size - self._at))
        self._file.seek(self._start + self._at)
        data = self._file.read(n)
        room[: len(data)] = data
        self._at += len(data)
        return len(data)


def _unpacked(path: str) -> BinaryIO:
    import bz2
    import gzip
    import lzma
    import shutil

    file = open(path, "rb")
    start = file.read(6)
    file.seek(0)
    openers: list[tuple[bytes, Callable[[BinaryIO], IO[bytes]]]] = [
        (b"\x1f\x8b", lambda packed: gzip.GzipFile(fileobj=packed)),  # type: ignore[list-item, return-value]
        (b"BZh", bz2.BZ2File),
        (b"\xfd7zXZ\0", lzma.LZMAFile),
    ]
    for magic, opener in openers:
        if start.startswith(magic):
            spool = tempfile.SpooledTemporaryFile(_SPOOL)
            with file:
                shutil.copyfileobj(opener(file), spool, 1 << 18)
            spool.seek(0)
            return spool  # type: ignore[return-value]
    return file


def opened(path: str) -> Folder | Archive | None:
    """A folder, an archive, or None for a single file. Raises UsageError and OSError."""
    if os.path.isdir(path):
        return Folder(path)
    try:
        if not tarfile.is_tarfile(path):
            return None
        return Archive(path)
    except (tarfile.TarError, EOFError):
        raise UsageError("the archive is damaged") from None


class Outcome:
    """What is known of one pair, or of one that has no other.

    before, after   relative paths, None: there is none
    verdict         its findings
    skipped         the original is no DICOM, and rightly has no output
    """

    __slots__ = ("after", "before", "skipped", "verdict")

    def __init__(self, before: str | None, after: str | None, verdict: Verdict) -> None:
        self.before = before
        self.after = after
        self.verdict = verdict
        self.skipped = False


class Pairs:
    """All files of two trees."""

    def __init__(
        self,
        veil: Veils,
        checker: Checker,
        before: Folder | Archive,
        after: Folder | Archive,
        *,
        pixels: bool = True,
    ) -> None:
        self._veil = veil
        self._checker = checker
        self._before = before
        self._after = after
        self._pixels = pixels
        self._index = sqlite3.connect("")
        self._index.execute(
            "CREATE TABLE output (number INTEGER PRIMARY KEY, name BLOB UNIQUE, uid TEXT, used)"
        )

    def outcomes(self) -> Iterator[Outcome]:
        """Every original, then every output that belongs to none. Raises OSError."""
        with closing(self._index):
            self._index.executemany(
                "INSERT INTO output (name, used) VALUES (?, 0)",
                ((_stored(name),) for name in self._after.names()),
            )
            left = False
            for name in self._before.names():
                if self._mark(name):
                    yield self._compared(name, name)
                else:
                    left = True
            if left:
                yield from self._by_uid()
            for (left_over,) in self._index.execute("SELECT name FROM output WHERE used = 0"):
                yield self._alone(None, _loaded(left_over), "from nowhere")

    def learn(self) -> None:
        """Read every original first, so that each output is searched for the names and IDs of
        all. Raises OSError."""
        for name in self._before.names():
            file = self._before.open(name)
            if file is not None:
                with file:
                    self._checker.learn(file)

    def _mark(self, name: str) -> bool:
        """Whether there is an output of this name; then it is used."""
        done = self._index.execute("UPDATE output SET used = 1 WHERE name = ?", (_stored(name),))
        return done.rowcount > 0

    # -- by UID ------------------------------------------------------------------------------

    def _by_uid(self) -> Iterator[Outcome]:
        """The originals that no output has the name of."""
        for number, output in _in_blocks(self._index):
            uid = self._instance(self._after, _loaded(output), self._veil.looker)[0]
            self._index.execute("UPDATE output SET uid = ? WHERE number = ?", (uid, number))
        self._index.execute("CREATE INDEX by_uid ON output (uid)")
        for name in self._before.names():
            query = "SELECT 1 FROM output WHERE name = ?"
            if self._index.execute(query, (_stored(name),)).fetchone() is None:
                yield self._find(name)

    def _find(self, name: str) -> Outcome:
        uid, fault = self._instance(self._before, name, self._veil.session)
        if isinstance(fault, NotDicomError):
            outcome = Outcome(name, None, Verdict())
            outcome.skipped = True
            return outcome
        query = "SELECT number, name FROM output WHERE uid = ? ORDER BY used LIMIT 1"
        row = self._index.execute(query, (uid,)).fetchone() if uid else None
        if row is None:
            fault = self._instance(self._before, name, self._veil.session, whole=True)[1]
            refused = "" if fault is None else "it is refused by the profile"
            return self._alone(name, None, "no output", refused)
        self._index.execute("UPDATE output SET used = 1 WHERE number = ?", row[:1])
        return self._compared(name, _loaded(row[1]))

    def _instance(
        self, tree: Folder | Archive, name: str, make: Make, *, whole: bool = False
    ) -> tuple[str, DicomError | None]:
        """The SOP Instance UID that a session writes, of an output its own; and why the file is
        refused, as far as it is read."""
        file = tree.open(name)
        if file is None:
            return "", NotDicomError(None, None, "no regular file")
        with file:
            walk = Walk(make, Flat(file))
            try:
                for _ in walk.elements():
                    if walk.session.report.instance and not whole:
                        break
            except DicomError as error:
                return "", error
            return walk.session.report.instance, None

    # -- one pair ----------------------------------------------------------------------------

    def _compared(self, before: str, after: str) -> Outcome:
        old, new = self._before.open(before), self._after.open(after)
        if old is None or new is None:
            for file in (old, new):
                if file is not None:
                    file.close()
            return self._alone(before, after, "not DICOM", "no regular file")
        with old, new:
            try:
                verdict = self._checker.check(
                    old, new, pixels=self._pixels, name=self._after.words(after)
                )
            except NotDicomError:
                return self._alone(before, after, "not DICOM")
            except DicomError as error:
                return self._alone(before, after, "unread", error.reason)
        return Outcome(before, after, verdict)

    def _alone(self, before: str | None, after: str | None, kind: str, detail: str = "") -> Outcome:
        verdict = Verdict()
        verdict.add(Finding(kind, detail=detail))
        return Outcome(before, after, verdict)


def _in_blocks(index: sqlite3.Connection) -> Iterator[tuple[int, bytes]]:
    """(number, name) of the outputs that are not used, while rows are updated."""
    last = 0
    query = (
        "SELECT number, name FROM output WHERE used = 0 AND number > ? ORDER BY number LIMIT 999"
    )
    while rows := index.execute(query, (last,)).fetchall():
        yield from rows
        last = rows[-1][0]


def _stored(name: str) -> bytes:
    """A name may be no text: SQLite takes its bytes."""
    return os.fsencode(name)


def _loaded(name: bytes) -> str:
    return os.fsdecode(name)
