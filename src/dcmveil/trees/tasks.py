"""What a worker does with one batch of files."""

from __future__ import annotations

import errno
import os
import time

from ..errors import DicomError, FileError, NotDicomError
from ..faces import copy as copying
from ..faces import patch as patching
from ..faces.files import HEAD, KernelCopy, StopError, create, remove, will_need
from ..faces.journal import FOLDER, Journal, JournalError, recover_batch
from ..faces.system import open_regular
from .record import (
    COPIED,
    FAILED,
    REWRITTEN,
    SKIPPED,
    Edits,
    Result,
    Results,
    error_of,
    from_journal,
    journal_line,
)
from .walk import AGAIN, SPECIAL, SYMLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from ..core import Trace
    from ..engine import Crosswalk
    from ..faces.names import Names
    from ..faces.ordinary import Ordinary
    from ..report import Report
    from ..session import Session, Watch
    from ..verify import Checker
    from .run import Options
    from .walk import Found
    from .workers import StopFlag

    class Veils(Protocol):
        """What a run wants of a Veil."""

        key: bytes

        @property
        def identity(self) -> str: ...
        def session(
            self,
            trace: list[Trace] | None = None,
            watch: Watch | None = None,
            crosswalk: Crosswalk | None = None,
            *,
            packs: bool = False,
            keep_file_ids: bool | None = None,
        ) -> Session: ...
        def ordinary(self) -> Ordinary: ...
        def looker(
            self, trace: list[Trace] | None = None, watch: Watch | None = None
        ) -> Session: ...


NOT_DICOM = "not DICOM"
DIRECTORY = "a DICOMDIR"
SECOND_NAME = "it has a second name (a hard link), which would change with it"
INTERNAL = "internal error"
MOVED = "it was moved or changed while it was treated"
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.ETXTBSY}
# No file after this one could be written either.
_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class Task:
    """The common part: one file after the other, each fault kept to its file. The files of a batch
    are opened beforehand, so that the disk reads one while another is treated."""

    flags = os.O_RDONLY
    read_ahead = HEAD  # bytes of each file

    def __init__(
        self, root: bytes, veil: Veils, names: Names, options: Options,
        stop: StopFlag,
    ) -> None:  # fmt: skip
        self.root = root
        self.veil = veil
        self.names = names
        self.options = options
        self.stop = stop
        self.edits = Edits()
        self.rows: Crosswalk = []
        # where all is asked of each file, there is no ordinary one
        all_asked = options.report_edits or options.crosswalk is not None
        self.ordinary = None if all_asked else veil.ordinary()
        self.inside = os.path.join(root, b"")
        self._ahead: dict[bytes, int] = {}  # relative path -> open file

    @property
    def names_stay(self) -> bool:
        return self.options.keep_names

    def check(self) -> None:
        if self.stop:
            raise StopError("stopped")

    def __call__(self, batch: list[Found]) -> Results:
        results = Results()
        if self.stop:
            return results
        try:
            self._open_ahead(batch)
            for relative, reason in batch:
                if self.stop.is_set:
                    break
                result = self._one(relative, reason)
                if result is None:
                    break
                results.append(result)
                if result.fatal:
                    break
        except BaseException:
            self.undo(results)
            raise
        finally:
            for file in self._ahead.values():
                os.close(file)
            self._ahead.clear()
        return results

    def _open_ahead(self, batch: list[Found]) -> None:
        for relative, reason in batch:
            if reason or relative in self._ahead:
                continue
            try:
                file = open_regular(self.inside + relative, self.flags)
            except (OSError, FileError, ValueError):
                continue  # met again when it is its turn
            self._ahead[relative] = file
            will_need(file, self.read_ahead)

    def open(self, relative: bytes) -> int:
        """The file descriptor of an input. Raises as open_regular does."""
        file = self._ahead.pop(relative, None)
        return open_regular(self.inside + relative, self.flags) if file is None else file

    def undo(self, results: list[Result]) -> None:
        """Away with what a batch has made, since nobody will take it."""

    def died(self, batch: list[Found]) -> Results:
        """The results of a batch whose worker has died."""
        return Results(
            self.failed(relative, {"reason": "the worker process died"}) for relative, _ in batch
        )

    def _one(self, relative: bytes, reason: str) -> Result | None:
        """The result for one file, None: it was undone, since the run is to stop."""
        if reason:
            if reason in (SYMLINK, SPECIAL, AGAIN):
                return self.skipped(relative, reason)
            return self.failed(relative, {"reason": reason})
        start = time.perf_counter()
        try:
            try:
                result = self.treat(relative)
            except NotDicomError as error:
                _let_go(error)
                result = self.not_dicom(relative, error)
        except StopError:
            return None
        except Exception as error:
            _let_go(error)
            result = self._fault(relative, error)
        result.seconds = time.perf_counter() - start
        return result

    def _fault(self, relative: bytes, error: Exception) -> Result:
        fatal = False
        if isinstance(error, DicomError):
            result = self.failed(relative, error_of(error))
        elif isinstance(error, FileError):
            reason = str(error)
            made = self.skipped if reason in (SYMLINK, SPECIAL) else self._refused
            result = made(relative, reason)
        elif isinstance(error, OSError):
            result = self.failed(relative, {"reason": error.strerror or "input or output failed"})
            fatal = error.errno in _FATAL
        else:  # a bug of ours: its message might show a value
            result = self.failed(relative, {"reason": f"{INTERNAL} ({type(error).__name__})"})
        result.exception = error
        result.fatal = fatal
        return result

    def treat(self, relative: bytes) -> Result:
        raise NotImplementedError

    def not_dicom(self, relative: bytes, error: NotDicomError) -> Result:
        result = self.skipped(relative, NOT_DICOM)
        result.exception = error
        return result

    # -- results -----------------------------------------------------------------------------

    def result(self, relative: bytes, outcome: str) -> Result:
        result = Result(relative, self.names.mac(relative), outcome)
        if self.options.report_paths:
            result.add("path", os.fsdecode(relative))
        return result

    def skipped(self, relative: bytes, reason: str) -> Result:
        result = self.result(relative, SKIPPED)
        result.add("reason", reason)
        return result

    def failed(self, relative: bytes, error: dict[str, Any]) -> Result:
        result = self.result(relative, FAILED)
        result.add("error", error)
        return result

    def _refused(self, relative: bytes, reason: str) -> Result:
        return self.failed(relative, {"reason": reason})

    def rewritten(self, relative: bytes, report: Report) -> Result:
        result = self.result(relative, REWRITTEN)
        result.tell(report)
        if self.options.crosswalk is not None:
            result.crosswalk = self.rows
        if self.options.report_edits:
            result.add("edits", self.edits.list)
        return result

    def session(self) -> Session:
        """For the next file, with those who look on that the report asks for."""
        self.edits, self.rows = Edits(), []
        look = self.options.report_edits
        return self.veil.session(
            trace=self.edits.trace if look else None,
            watch=self.edits.see if look else None,
            packs=look,
            crosswalk=self.rows if self.options.crosswalk is not None else None,
            # where the files keep their names, so do the links to them
            keep_file_ids=True if self.names_stay else None,
        )


class CopyTask(Task):
    """Each file into a temporary file in the output folder; the parent gives it its name."""

    read_ahead = 1 << 20

    def __init__(
        self, root: bytes, veil: Veils, names: Names, options: Options,
        stop: StopFlag, target: bytes, final: bytes | None,
    ) -> None:  # fmt: skip
        super().__init__(root, veil, names, options, stop)
        self.place = b"%s\0%s" % (final or b"", os.path.join(os.path.realpath(root), b""))
        self.start_of_temporary = os.path.join(target, b".dcmveil-")
        self.kernel = KernelCopy()
        self._checker: Checker | None = None

    def treat(self, relative: bytes) -> Result:
        src = self.open(relative)
        try:
            temporary, report = self._into_temporary(relative, src, self._rewrite)
        except DirectoryMetError:
            return self.skipped(relative, DIRECTORY)
        finally:
            os.close(src)
        assert report is not None
        try:
            result = self.rewritten(relative, report)
            result.temporary = temporary
            result.output = self.names.name(report, relative)
        except BaseException:
            remove(temporary)
            raise
        return result

    def undo(self, results: list[Result]) -> None:
        for result in results:
            if result.temporary is not None:
                remove(result.temporary)

    def died(self, batch: list[Found]) -> Results:
        for relative, _ in batch:
            remove(self.temporary_of(relative))
        return super().died(batch)

    def not_dicom(self, relative: bytes, error: NotDicomError) -> Result:
        if not self.options.others:
            return super().not_dicom(relative, error)
        src = open_regular(self.inside + relative)
        try:
            temporary, _ = self._into_temporary(relative, src, self._copy_as_it_is)
        finally:
            os.close(src)
        result = self.result(relative, COPIED)
        result.temporary = temporary
        result.output = relative
        return result

    def _into_temporary(
        self, relative: bytes, src: int, work: Callable[[int, int], Report | None]
    ) -> tuple[bytes, Report | None]:
        """(path, report) of what `work` makes of src."""
        temporary = self.temporary_of(relative)
        dst = create(temporary)
        try:
            report = work(src, dst)
            self._finish(src, dst)
        except BaseException:
            remove(temporary)
            raise
        finally:
            os.close(dst)
        return temporary, report

    def _copy_as_it_is(self, src: int, dst: int) -> None:
        self.kernel.copy_all(src, dst, self.check)

    def _bulk(self, src: int, dst: int, n: int) -> int:
        self.check()
        return self.kernel.bulk(src, dst, n)

    def _rewrite(self, src: int, dst: int) -> Report:
        report = None
        if self.ordinary is not None:
            report = self.ordinary.copy(src, dst, self._bulk)
            if report is None:
                os.ftruncate(dst, 0)
                os.lseek(dst, 0, os.SEEK_SET)
                os.lseek(src, 0, os.SEEK_SET)
        if report is None:
            session = self.session()
            report = copying.copy(session, src, dst, self.kernel, self._wanted(session))
        if self.options.verify:
            self._verify(src, dst)
        return report

    def _verify(self, src: int, dst: int) -> None:
        """Raises FileError if the copy is not what the input must become."""
        if self._checker is None:
            from ..verify import Checker

            self._checker = Checker(_Looked(self.veil, self.names_stay))
        with open(os.dup(src), "rb") as before, open(os.dup(dst), "rb") as after:
            verdict = self._checker.check(before, after, pixels=False)
        if not verdict.ok:
            first = f": {verdict.findings[0]}" if verdict.findings else ""
            raise FileError(f"the copy is not as it should be{first}")

    def temporary_of(self, relative: bytes) -> bytes:
        # Of the input, so that the same command finds and replaces what a kill has left; and of
        # its folder, since single files from anywhere may be on their way at one time.
        whole = self.names.mac(self.place + relative).encode()
        return b"%b%b.tmp" % (self.start_of_temporary, whole)

    def _wanted(self, session: Session) -> Callable[[], None]:
        def check() -> None:
            self.check()
            if session.directory and not self.options.dicomdir:
                raise DirectoryMetError

        return check

    def _finish(self, src: int, dst: int) -> None:
        if self.options.keep_xattrs:
            for name in os.listxattr(src):
                if name.startswith("user."):  # others are for the system to give
                    os.setxattr(dst, name, os.getxattr(src, name))
        if self.options.keep_times:
            status = os.fstat(src)
            os.utime(dst, ns=(status.st_atime_ns, status.st_mtime_ns))
        if self.options.durable:
            os.fsync(dst)


class _Looked:
    """A veil whose sessions treat links as those of the run do."""

    def __init__(self, veil: Veils, names_stay: bool) -> None:
        self._veil = veil
        self._keep_file_ids = True if names_stay else None

    def session(self, trace: list[Trace] | None = None, watch: Watch | None = None) -> Session:
        return self._veil.session(trace=trace, watch=watch, keep_file_ids=self._keep_file_ids)

    def looker(self, trace: list[Trace] | None = None, watch: Watch | None = None) -> Session:
        return self._veil.looker(trace, watch)


class DirectoryMetError(Exception):
    """The file in hand is a DICOMDIR, and those are not wanted."""


class PatchTask(Task):
    """Each batch in place: planned file by file into a journal, then carried out."""

    flags = os.O_RDWR

    def __init__(
        self, root: bytes, veil: Veils, names: Names, options: Options,
        stop: StopFlag,
    ) -> None:  # fmt: skip
        super().__init__(root, veil, names, options, stop)
        self.run = veil.identity
        self._journal: Journal | None = None
        self._count = 0

    @property
    def names_stay(self) -> bool:
        return True

    def __call__(self, batch: list[Found]) -> Results:
        """The results; the `temporary` of the first is the journal, which the parent discards once
        the batch stands in the report."""
        self._count += 1
        path = os.path.join(self.root, FOLDER, b"%d-%d" % (os.getpid(), self._count))
        journal = self._journal = Journal(path)
        try:
            results = super().__call__(batch)
            if journal.count == 0:
                return results
            try:
                journal.commit(self.options.durable)
                refused = journal.carry_out(self.root, self.options.durable)
            except (OSError, JournalError) as error:
                # committed, the journal stays for the next run; if not, nothing was touched
                return Results([self._undone(result, error) for result in results])
            if refused:
                results = Results(
                    self._fault(result.relative, FileError(MOVED))
                    if result.relative in refused
                    else result
                    for result in results
                )
            results[0].temporary = path
            return results
        finally:
            journal.close()

    def died(self, batch: list[Found]) -> Results:
        """What the worker was about to write is written, if it had got that far."""
        failed = super().died(batch)
        try:
            path, lines = recover_batch(
                self.root, {relative for relative, _ in batch}, self.options.durable
            )
        except (OSError, JournalError) as error:
            return Results(self._fatal(result.relative, error) for result in failed)
        kept = {relative: from_journal(self.run, relative, line) for relative, line in lines}
        results = Results(kept.get(result.relative) or result for result in failed)
        results[0].temporary = path
        return results

    def _undone(self, result: Result, error: Exception) -> Result:
        """The result of a file that was planned, and perhaps not patched."""
        if result.outcome != REWRITTEN:
            return result
        return self._fatal(result.relative, error)

    def _fatal(self, relative: bytes, error: Exception) -> Result:
        result = self._fault(relative, error)
        result.fatal = True
        return result

    def treat(self, relative: bytes) -> Result:
        journal = self._journal
        assert journal is not None
        try:
            file = self.open(relative)
        except OSError as error:
            if error.errno in _NOT_WRITABLE:
                self._look_at(relative)
            raise
        journal.start()
        try:
            report = None
            if self.ordinary is not None:
                report = self.ordinary.plan(file, relative, journal.records)
            if report is None:
                journal.forget()
                report = self._plan(relative, file, journal)
            result = self.rewritten(relative, report)
            line = journal_line(self.run, result)
        except BaseException:
            journal.forget()
            os.close(file)
            raise
        journal.end(file, line)
        return result

    def _plan(self, relative: bytes, file: int, journal: Journal) -> Report:
        status = os.fstat(file)
        if status.st_nlink > 1 and not self.options.hard_links:
            raise FileError(SECOND_NAME)
        journal.begin(relative, status)
        return patching.plan(self.session(), file, journal.edit, self.check)

    def _look_at(self, relative: bytes) -> None:
        """Raises NotDicomError for a file that need not be written."""
        try:
            file = open_regular(self.inside + relative)
        except OSError:
            return
        try:
            patching.plan(self.session(), file, lambda offset, new: None, self.check)
        except NotDicomError:
            raise
        except (OSError, DicomError, FileError):
            pass
        finally:
            os.close(file)


def _let_go(error: Exception) -> None:
    """Of the frames, and with them of the window, until the garbage collector finds them."""
    error.__traceback__ = error.__context__ = None
