"""The archive face: tar and zip, each member rewritten as it streams past.

A member is held until it is known to be good, so a bad one is left out and the next one follows.
"""

from __future__ import annotations

from ..errors import DicomError, NotDicomError, UsageError
from ..report import Report
from .compression import (
    COMPRESSIONS,
    GZIP,
    NONE,
    TAR,
    ZIP,
    ZSTD,
    Input,
    compressed,
    decompressed,
    kind_of,
)
from .members import DIRECTORY, Member, MemberError, Seen, Spool
from .stream import pieces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..session import Session
    from .members import Reader, Writer
    from .names import Names
    from .stream import Readable, Writable

    Record = dict[str, Any]
    OnMember = Callable[[Record, bytes], None]

REWRITTEN, COPIED, SKIPPED, FAILED = "rewritten", "copied", "skipped", "failed"
NOT_DICOM = "no DICOM"


class ArchiveReport:
    """The outcome for one archive.

    rewritten, copied,    how many members; copied are folders and what is no DICOM, where names
    skipped, failed       are kept
    skips                 why members were skipped, and how often each
    total                 a Report with the sums of all rewritten members
    surplus               something stood behind the end of the archive, and was left out
    """

    __slots__ = ("copied", "failed", "rewritten", "skipped", "skips", "surplus", "total")

    def __init__(self) -> None:
        self.rewritten = self.copied = self.skipped = self.failed = 0
        self.skips: dict[str, int] = {}
        self.total = Report()
        self.total.uids = {"short": 0, "vanished": 0, "foreign": 0}
        self.surplus = False

    @property
    def complete(self) -> bool:
        """Whether every member that is DICOM is in the output."""
        return not self.failed and not self.surplus

    def warnings(self) -> list[str]:
        """What a user should know of, one line each."""
        lines = self.total.warnings()
        if self.surplus:
            lines.append("what stood behind the end of the archive was left out")
        return lines

    def _count(self, record: Record, report: Report | None) -> None:
        outcome = record["outcome"]
        setattr(self, outcome, getattr(self, outcome) + 1)
        if outcome == SKIPPED:
            reason = record["reason"]
            self.skips[reason] = self.skips.get(reason, 0) + 1
        if outcome == REWRITTEN and report is not None:
            total = self.total
            total.bytes_in += report.bytes_in
            total.bytes_out += report.bytes_out
            total.elements += report.elements
            for sums, counts in (
                (total.actions, report.actions),
                (total.uids, report.uids),
                (total.notes, report.notes),
            ):
                for name, count in counts.items():
                    sums[name] = sums.get(name, 0) + count


class Archive:
    """How archives are rewritten.

    sessions   makes the session of one member
    names      what members are called
    to         "tar" or "zip"; None: as the input
    compress   of a tar "none", "gzip" or "zstd", None: as the input; of a zip None: deflated, and
               "none": stored
    others     members that are no DICOM are copied as they are; only where names are kept, since
               their names say what they are
    dicomdir   a DICOMDIR is rewritten too; without, it is skipped, since it lists files by names
               that they no longer have

    Raises UsageError for what does not go together.
    """

    def __init__(
        self,
        sessions: Callable[[], Session],
        names: Names,
        *,
        to: str | None = None,
        compress: str | None = None,
        others: bool = False,
        dicomdir: bool = False,
    ) -> None:
        if to not in (None, TAR, ZIP):
            raise UsageError("an archive is a tar or a zip")
        if compress not in (None, *COMPRESSIONS):
            raise UsageError(f"a compression is one of: {', '.join(COMPRESSIONS)}")
        if others and not names.keep:
            raise UsageError("what is no DICOM is copied only where names are kept")
        self._sessions = sessions
        self._names = names
        self._to = to
        self._compress = compress
        self._others = others
        self._dicomdir = dicomdir

    def run(self, src: Readable, dst: Writable, on_member: OnMember | None = None) -> ArchiveReport:
        """Rewrite src into dst. Raises ArchiveError: then what was written is no whole archive.

        A member that fails is left out and counted; `on_member` is called for each member with a
        record ready for JSON, and with its old name, which may name a person.
        """
        start = Input(src)
        kind = kind_of(start.start)
        reader: Reader
        if kind == ZIP:
            from .zip import ZipReader

            reader = ZipReader(src)
        else:
            from .tar import TarReader

            reader = TarReader(decompressed(start, kind))
        writer = self._writer(dst, kind)
        try:
            report = self._run(reader, writer, on_member)
            writer.close()
        except BaseException:
            writer.abandon()
            raise
        return report

    def _writer(self, dst: Writable, kind: str) -> Writer:
        """Made for an input of that kind."""
        if (self._to or (ZIP if kind == ZIP else TAR)) == ZIP:
            if self._compress not in (None, NONE):
                raise UsageError("a zip is deflated, or stored with the compression none")
            from .zip import ZipWriter

            return ZipWriter(compressed(dst, NONE), stored=self._compress == NONE)
        from .tar import TarWriter

        same = kind if kind in (GZIP, ZSTD) else NONE
        return TarWriter(compressed(dst, self._compress or same))

    def _run(self, reader: Reader, writer: Writer, on_member: OnMember | None) -> ArchiveReport:
        outcome = ArchiveReport()
        with Spool() as spool:
            run = _Run(self._names, reader, writer, spool, self._others, self._dicomdir)
            for member in reader:
                record = _record(member, self._names)
                report = None
                try:
                    report = run.one(member, record, self._sessions)
                except DicomError as error:
                    _fail(record, error.offset, error.path, error.reason)
                except MemberError as error:
                    _fail(record, None, "", str(error))
                outcome._count(record, report)
                if on_member is not None:
                    on_member(record, member.name)
        outcome.surplus = reader.surplus
        return outcome


class _Run:
    """One archive on its way."""

    def __init__(
        self,
        names: Names,
        reader: Reader,
        writer: Writer,
        spool: Spool,
        others: bool,
        dicomdir: bool,
    ) -> None:
        self._names, self._reader, self._writer = names, reader, writer
        self._spool, self._others, self._dicomdir = spool, others, dicomdir
        self._seen = Seen()

    def one(self, member: Member, record: Record, sessions: Callable[[], Session]) -> Report | None:
        """Settle one member; its report where it was rewritten. Raises DicomError and
        MemberError, and then nothing of it was written."""
        if member.kind is DIRECTORY:
            self._directory(member, record)
            return None
        if member.skip:
            _skip(record, member.skip)
            return None
        if member.refuse:
            raise MemberError(member.refuse)
        session = sessions()
        source = _Source(self._reader, self._others)
        try:
            if not self._fill(session, source):
                _skip(record, "a DICOMDIR")
                return None
        except NotDicomError:
            if self._others:
                self._copy(member, record, source)
            else:
                _skip(record, NOT_DICOM)
            return None
        report = session.report
        self._add(self._names.name(report, member.name))
        _done(record, report)
        return report

    def _fill(self, session: Session, source: _Source) -> bool:
        """The rewritten member into the spool. False: it is a DICOMDIR that is not wanted."""
        spool = self._spool
        spool.clear()
        try:
            for piece in pieces(session, source):
                source.forget()
                if session.directory and not self._dicomdir:
                    return False
                spool.write(piece)
        except NotDicomError:
            raise
        except DicomError:
            if session.directory and not self._dicomdir:
                return False
            raise
        return self._dicomdir or not session.directory

    def _copy(self, member: Member, record: Record, source: _Source) -> None:
        """A member that is no DICOM, as it is."""
        spool = self._spool
        spool.clear()
        spool.write(source.start)
        source.forget()
        room = bytearray(1 << 16)
        with memoryview(room) as view:
            while n := source.readinto(view):
                spool.write(view[:n])
        self._add(self._names.name(Report(), member.name))
        record.update(outcome=COPIED, reason=NOT_DICOM, bytes_in=spool.size, bytes_out=spool.size)

    def _add(self, name: bytes) -> None:
        fault = self._writer.check(name)
        if fault:
            raise MemberError(fault)
        if not self._seen.add(name):
            raise MemberError("another member has the same new name")
        self._writer.add(name, self._spool.size, self._spool.pieces())

    def _directory(self, member: Member, record: Record) -> None:
        _skip(record, "a folder")
        if not self._names.keep or not member.name.strip(b"./"):
            return
        name = self._names.name(Report(), member.name)
        fault = self._writer.check(name)
        if fault:
            raise MemberError(fault)
        if self._seen.add(name + b"/"):
            self._writer.add_directory(name)
            record["outcome"] = COPIED


class _Source:
    """The data of a member; `start` is what was read until forget() is called, if that is
    wanted."""

    def __init__(self, reader: Reader, remember: bool) -> None:
        self._reader = reader
        self._remember = remember
        self.start = bytearray()

    def read(self, size: int) -> bytes:
        room = bytearray(size)
        with memoryview(room) as view:
            n = self.readinto(view)
        return bytes(room[:n])

    def readinto(self, buffer: memoryview) -> int:
        n = self._reader.readinto(buffer)
        if self._remember:
            self.start += buffer[:n]
        return n

    def forget(self) -> None:
        if self._remember:
            self._remember = False
            self.start = bytearray()


def _record(member: Member, names: Names) -> Record:
    return {
        "number": member.number,
        "input": names.mac(member.name),
        "outcome": "",
        "reason": "",
        "bytes_in": 0,
        "bytes_out": 0,
        "elements": 0,
        "actions": {},
        "notes": {},
        "uids": {},
        "transfer_syntax": "",
        "study": "",
        "series": "",
        "instance": "",
        "error": None,
    }


def _done(record: Record, report: Report) -> None:
    record["outcome"] = REWRITTEN
    for name in (
        "bytes_in", "bytes_out", "elements", "actions", "notes", "uids", "transfer_syntax",
        "study", "series", "instance",
    ):  # fmt: skip
        record[name] = getattr(report, name)


def _skip(record: Record, reason: str) -> None:
    record.update(outcome=SKIPPED, reason=reason)


def _fail(record: Record, offset: int | None, path: str, reason: str) -> None:
    error = {"offset": offset, "path": path, "reason": reason}
    record.update(outcome=FAILED, reason=reason, error=error)
