"""The report of a run on disk, and how the next run goes on from it.

JSON Lines: a line that says which run it is, one line a file, a summary. A line is written once its
file is done, so a kill loses the lines of the files in hand at most; those are done again and come
out the same. `resume` keeps the lines of what is done, drops a torn last line, failures (they are
tried again) and the old summary, and puts the rest in place with one rename.
"""

from __future__ import annotations

import errno
import os

from .. import __version__
from ..errors import UsageError
from ..faces.files import remove, sync_folder
from .record import COPIED, REWRITTEN, SAME, SKIPPED, line_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from typing import Any, BinaryIO

    Path = str | os.PathLike[str]

_DONE = (REWRITTEN, SAME, COPIED, SKIPPED)
# Rows remembered, so that the UIDs of a study are not written with each of its files.
_CROSSWALK_MEMORY = 1 << 13
_CROSSWALK_HEAD = ("kind", "old", "new")


class DiskSet:
    """A set of byte strings on disk, for as many as a run has files. Raises OSError for a disk that
    is full or fails."""

    def __init__(self) -> None:
        import sqlite3

        self._error = sqlite3.Error
        self._base = sqlite3.connect("")  # a temporary file that no name leads to
        self._base.execute("PRAGMA journal_mode = OFF")
        self._base.execute("PRAGMA synchronous = OFF")
        self._base.execute("CREATE TABLE members (name BLOB PRIMARY KEY) WITHOUT ROWID")

    def add(self, name: bytes) -> bool:
        """Whether it is new."""
        return self._run("INSERT OR IGNORE INTO members VALUES (?)", name).rowcount == 1

    def __contains__(self, name: bytes) -> bool:
        return self._run("SELECT 1 FROM members WHERE name = ?", name).fetchone() is not None

    def close(self) -> None:
        self._base.close()

    def _run(self, command: str, name: bytes) -> sqlite3.Cursor:
        try:
            return self._base.execute(command, (name,))
        except self._error as error:
            full = "full" in str(error)
            number = errno.ENOSPC if full else errno.EIO
            raise OSError(number, os.strerror(number)) from error


class Ledger:
    """The report file of a run.

    run     what names the run: a resumed one must be the same
    resume  go on from what stands there; harmless where nothing does
    durable it and its name hold against a power cut
    outputs gets the names of the outputs that are done
    Raises UsageError for a file that exists and is not to be resumed, or is of another run.
    """

    def __init__(
        self,
        path: Path,
        run: dict[str, Any],
        *,
        resume: bool,
        durable: bool = False,
        outputs: DiskSet | None = None,
    ) -> None:
        self._outputs = outputs
        self.done: DiskSet | None = None
        self._fresh: Path | None = None  # its path, if this run has made it
        self.kept: dict[str, int] = {}  # outcomes of the lines that were kept
        head = line_of({"dcmveil": __version__, **run})
        if resume and os.path.exists(path):
            self.done = DiskSet()
            self._file = self._take_up(path, run, head, durable)
            _sync_name(path, durable)
            return
        try:
            self._file = open(_create(path), "wb")
            self._fresh = path
        except FileExistsError:
            raise UsageError(
                "the report exists already: --resume goes on from it, or name another file"
            ) from None
        self._file.write(head)
        self.flush(durable)
        _sync_name(path, durable)

    def _take_up(self, path: Path, run: dict[str, Any], head: bytes, durable: bool) -> BinaryIO:
        assert self.done is not None
        aside = f"{os.fspath(path)}.dcmveil-new"
        file: BinaryIO
        with open(path, "rb") as old:
            lines = _whole_lines(old)
            first = next(lines, None)
            if first is None and not _is_torn(old, head):
                raise UsageError("what stands in the place of the report is none: name another")
            if first is not None and {name: first[1].get(name) for name in run} != run:
                raise UsageError(
                    "the report is of a run with another key, profile, source or kind of output: "
                    "name another file"
                )
            file = open(aside, "wb", opener=_private)
            try:
                file.write(head if first is None else first[0])
                for line, record in lines:
                    if record.get("outcome") in _DONE and self.done.add(
                        bytes.fromhex(record["input"])
                    ):
                        file.write(line)
                        self._keep(record)
                _sync(file, durable)
                os.replace(aside, path)
            except BaseException:
                remove(os.fsencode(aside))
                try:
                    file.close()
                except OSError:
                    pass  # a full disk: closing writes what is left
                raise
        return file

    def write(self, line: bytes) -> None:
        """One line with its end, or the start of one."""
        self._file.write(line)

    def is_new(self, input: str) -> bool:
        """Whether no line that was kept is of this input."""
        return self.done is None or self.done.add(bytes.fromhex(input))

    def fileno(self) -> int:
        return self._file.fileno()

    def _keep(self, record: dict[str, Any]) -> None:
        self.kept[record["outcome"]] = self.kept.get(record["outcome"], 0) + 1
        if self._outputs is not None and "output" in record:
            self._outputs.add(os.fsencode(record["output"]))

    def flush(self, durable: bool) -> None:
        _sync(self._file, durable)

    def close(self) -> None:
        if self.done is not None:
            self.done.close()
        self._file.close()

    def abandon(self) -> None:
        """Close it; it goes if this run has made it, and nothing was done."""
        self._file.close()
        if self._fresh is not None:
            os.unlink(self._fresh)


def _sync(file: BinaryIO, durable: bool) -> None:
    file.flush()
    if durable:
        os.fsync(file.fileno())


def _sync_name(path: Path, durable: bool) -> None:
    if durable:
        sync_folder(os.fsencode(os.path.dirname(path) or "."))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _is_torn(file: BinaryIO, head: bytes) -> bool:
    """Whether a kill has left no more than a part of the first line."""
    file.seek(0)
    start = file.read(len(head))
    return start == head[: len(start)] and b"\n" not in start


def _whole_lines(file: BinaryIO) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """(line, its object); ends at a line that a kill has torn."""
    import json

    for line in file:
        if not line.endswith(b"\n"):
            return
        try:
            record = json.loads(line)
        except ValueError:
            return
        if isinstance(record, dict):
            yield line, record


class Crosswalk:
    """Old and new IDs and UIDs, as CSV with the columns kind, old, new; mode 0600. Rows may repeat
    in long runs. Whoever has this file can undo the de-identification of what it lists."""

    def __init__(self, path: Path, *, resume: bool, durable: bool = False) -> None:
        import csv

        fresh = not (resume and os.path.exists(path))
        try:
            file = _create(path) if fresh else os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileExistsError:
            raise UsageError("the crosswalk exists already, and is never overwritten") from None
        self._file = open(file, "a" if fresh else "r+", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file, lineterminator="\n")
        if not fresh:
            self._take_up(file)
        if os.fstat(file).st_size == 0:
            self._rows.writerow(_CROSSWALK_HEAD)
            self._file.flush()
        _sync_name(path, durable)
        self._seen: set[tuple[str, bytes, bytes]] = set()

    def _take_up(self, file: int) -> None:
        head = ",".join(_CROSSWALK_HEAD).encode() + b"\n"
        start = os.pread(file, len(head), 0)
        if start != head[: len(start)]:
            self._file.close()
            raise UsageError("what stands in the place of the crosswalk is none: name another")
        os.fchmod(file, 0o600)
        _cut_torn_line(file)
        self._file.seek(0, os.SEEK_END)

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, rows: list[tuple[str, bytes, bytes]]) -> None:
        for row in rows:
            if row in self._seen:
                continue
            if len(self._seen) >= _CROSSWALK_MEMORY:
                self._seen.clear()
            self._seen.add(row)
            self._rows.writerow((row[0], _text(row[1]), _text(row[2])))

    def flush(self, durable: bool) -> None:
        self._file.flush()
        if durable:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _text(value: bytes) -> str:
    value = value.partition(b"\0")[0].strip(b" ")
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _cut_torn_line(file: int) -> None:
    """Away with what follows the last line end."""
    size = end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - (1 << 16))
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)
