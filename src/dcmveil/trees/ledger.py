"""The report of a run on disk, and how the next run goes on from it.

JSON Lines: a line that says which run it is, one line a file, a summary. A line is written once its
file is done, so a kill loses the lines of the files in hand at most; those are done again and come
out the same. `resume` keeps the lines of what is done, drops a torn last line, failures (they are
tried again) and the old summary, and puts the rest in place with one rename.
"""

from __future__ import annotations

import csv
import json
import os

from .. import __version__
from ..errors import UsageError
from .record import COPIED, REWRITTEN, SAME, SKIPPED, line_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

    Path = str | os.PathLike[str]

_DONE = (REWRITTEN, SAME, COPIED, SKIPPED)
_CROSSWALK_MEMORY = (
    1 << 16
)  # rows remembered, so that the UIDs of a study are not written each time


class DiskSet:
    """A set of byte strings on disk, for as many as a run has files."""

    def __init__(self) -> None:
        import sqlite3

        self._base = sqlite3.connect("")  # a temporary file that no name leads to
        self._base.execute("PRAGMA journal_mode = OFF")
        self._base.execute("PRAGMA synchronous = OFF")
        self._base.execute("CREATE TABLE members (name BLOB PRIMARY KEY) WITHOUT ROWID")

    def add(self, name: bytes) -> bool:
        """Whether it is new."""
        return self._base.execute("INSERT OR IGNORE INTO members VALUES (?)", (name,)).rowcount == 1

    def __contains__(self, name: bytes) -> bool:
        found = self._base.execute("SELECT 1 FROM members WHERE name = ?", (name,))
        return found.fetchone() is not None


class Ledger:
    """The report file of a run.

    run     what names the run: a resumed one must be the same
    resume  go on from what stands there; harmless where nothing does
    outputs gets the names of the outputs that are done
    Raises UsageError for a file that exists and is not to be resumed, or is of another run.
    """

    def __init__(
        self, path: Path, run: dict[str, Any], *, resume: bool, outputs: DiskSet | None = None
    ) -> None:
        self._outputs = outputs
        self.done: DiskSet | None = None
        self.kept: dict[str, int] = {}  # outcomes of the lines that were kept
        head = line_of({"dcmveil": __version__, **run})
        if resume and os.path.exists(path):
            self.done = DiskSet()
            self._file = self._take_up(path, run, head)
            return
        try:
            self._file = open(_create(path), "wb")
        except FileExistsError:
            raise UsageError(
                "the report exists already: --resume goes on from it, or name another file"
            ) from None
        self._file.write(head)
        self._file.flush()

    def _take_up(self, path: Path, run: dict[str, Any], head: bytes) -> BinaryIO:
        assert self.done is not None
        aside = f"{os.fspath(path)}.dcmveil-new"
        file: BinaryIO
        with open(path, "rb") as old:
            lines = _whole_lines(old)
            first = next(lines, None)
            if first is not None and {name: first[1].get(name) for name in run} != run:
                raise UsageError(
                    "the report is of a run with another key, profile, source or kind of output: "
                    "name another file"
                )
            file = open(aside, "wb", opener=_private)
            try:
                file.write(head if first is None else first[0])
                for line, record in lines:
                    if record.get("outcome") in _DONE and self.done.add(_mac(record)):
                        file.write(line)
                        self._keep(record)
                file.flush()
                os.replace(aside, path)
            except BaseException:
                file.close()
                os.unlink(aside)
                raise
        return file

    def write(self, record: dict[str, Any]) -> None:
        self._file.write(line_of(record))

    def write_line(self, line: bytes) -> None:
        """A line that a journal kept, unless it is here already."""
        record = json.loads(line)
        if self.done is not None and self.done.add(_mac(record)):
            self._file.write(line)
            self._keep(record)

    def _keep(self, record: dict[str, Any]) -> None:
        self.kept[record["outcome"]] = self.kept.get(record["outcome"], 0) + 1
        if self._outputs is not None and "output" in record:
            self._outputs.add(os.fsencode(record["output"]))

    def flush(self, durable: bool) -> None:
        self._file.flush()
        if durable:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _mac(record: dict[str, Any]) -> bytes:
    return bytes.fromhex(record["input"])


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _whole_lines(file: BinaryIO) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """(line, its object); ends at a line that a kill has torn."""
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

    def __init__(self, path: Path, *, resume: bool) -> None:
        fresh = not (resume and os.path.exists(path))
        try:
            file = _create(path) if fresh else os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileExistsError:
            raise UsageError("the crosswalk exists already, and is never overwritten") from None
        if not fresh:
            os.fchmod(file, 0o600)
            _cut_torn_line(file)
        self._file = open(file, "a" if fresh else "r+", newline="", encoding="utf-8")
        self._file.seek(0, os.SEEK_END)
        self._rows = csv.writer(self._file)
        if fresh:
            self._rows.writerow(("kind", "old", "new"))
        self._seen: set[tuple[str, bytes, bytes]] = set()

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
