"""What a worker does with one batch of files."""

from __future__ import annotations

import errno
import os
import time

from ..errors import DicomError, FileError, NotDicomError
from ..faces import copy as copying
from ..faces import patch as patching
from ..faces.files import KernelCopy, StopError, create, open_regular, remove
from ..faces.journal import FOLDER, Journal, JournalError, discard
from .record import (
    COPIED,
    FAILED,
    REWRITTEN,
    SKIPPED,
    Result,
    counts_of,
    edits_of,
    error_of,
    line_of,
)
from .walk import SPECIAL, SYMLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..core import Trace
    from ..engine import Crosswalk
    from ..faces.names import Names
    from ..report import Report
    from ..session import Session
    from .run import Options
    from .walk import Found
    from .workers import StopFlag

NOT_DICOM = "not DICOM"
DIRECTORY = "a DICOMDIR"
SECOND_NAME = "it has a second name (a hard link), which would change with it"
INTERNAL = "internal error"
# No file after this one could be written either.
_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class Task:
    """The common part: one file after the other, each fault kept to its file."""

    def __init__(
        self, root: bytes, make_session: Callable[..., Session], names: Names, options: Options,
        stop: StopFlag,
    ) -> None:  # fmt: skip
        self.root = root
        self.make_session = make_session
        self.names = names
        self.options = options
        self.stop = stop
        self.trace: list[Trace] = []
        self.rows: Crosswalk = []

    @property
    def names_stay(self) -> bool:
        return self.options.keep_names

    def check(self) -> None:
        if self.stop:
            raise StopError("stopped")

    def __call__(self, batch: list[Found]) -> list[Result]:
        results = []
        for relative, reason in batch:
            if self.stop:
                break
            result = self._one(relative, reason)
            if result is None:
                break
            results.append(result)
            if result.fatal:
                break
        return results

    def died(self, batch: list[Found]) -> list[Result]:
        """The results of a batch whose worker has died."""
        return [
            self.failed(relative, {"reason": "the worker process died"}) for relative, _ in batch
        ]

    def _one(self, relative: bytes, reason: str) -> Result | None:
        """The result for one file, None: it was undone, since the run is to stop."""
        if reason:
            if reason in (SYMLINK, SPECIAL):
                return self.skipped(relative, reason)
            return self.failed(relative, {"reason": reason})
        start = time.perf_counter()
        try:
            result = self.treat(relative)
        except StopError:
            return None
        except NotDicomError as error:
            result = self.not_dicom(relative, error)
        except Exception as error:
            result = self._fault(relative, error)
        result.record["seconds"] = round(time.perf_counter() - start, 6)
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
        record: dict[str, Any] = {"input": self.names.mac(relative), "outcome": outcome}
        if self.options.report_paths:
            record["path"] = os.fsdecode(relative)
        return Result(relative, record)

    def skipped(self, relative: bytes, reason: str) -> Result:
        result = self.result(relative, SKIPPED)
        result.record["reason"] = reason
        return result

    def failed(self, relative: bytes, error: dict[str, Any]) -> Result:
        result = self.result(relative, FAILED)
        result.record["error"] = error
        return result

    def _refused(self, relative: bytes, reason: str) -> Result:
        return self.failed(relative, {"reason": reason})

    def rewritten(self, relative: bytes, report: Report) -> Result:
        result = self.result(relative, REWRITTEN)
        result.report = report
        result.record.update(counts_of(report))
        if self.options.crosswalk is not None:
            result.crosswalk = self.rows
        if self.options.report_edits:
            result.record["edits"] = edits_of(self.trace)
        return result

    def session(self) -> Session:
        """For the next file, with those who look on that the report asks for."""
        self.trace, self.rows = [], []
        return self.make_session(
            trace=self.trace if self.options.report_edits else None,
            crosswalk=self.rows if self.options.crosswalk is not None else None,
            # where the files keep their names, so do the links to them
            keep_file_ids=True if self.names_stay else None,
        )


class CopyTask(Task):
    """Each file into a temporary file in the output folder; the parent gives it its name."""

    def __init__(
        self, root: bytes, make_session: Callable[..., Session], names: Names, options: Options,
        stop: StopFlag, target: bytes,
    ) -> None:  # fmt: skip
        super().__init__(root, make_session, names, options, stop)
        self.target = target
        self.kernel = KernelCopy()

    def treat(self, relative: bytes) -> Result:
        src = open_regular(os.path.join(self.root, relative))
        try:
            session = self.session()
            temporary, report = self._into_temporary(relative, src, session)
        finally:
            os.close(src)
        if report is None:
            return self.skipped(relative, DIRECTORY)
        result = self.rewritten(relative, report)
        result.temporary = temporary
        result.output = self.names.name(report, relative)
        return result

    def not_dicom(self, relative: bytes, error: NotDicomError) -> Result:
        if not self.options.others:
            return super().not_dicom(relative, error)
        src = open_regular(os.path.join(self.root, relative))
        try:
            temporary, _ = self._into_temporary(relative, src, None)
        finally:
            os.close(src)
        result = self.result(relative, COPIED)
        result.temporary = temporary
        result.output = relative
        return result

    def _into_temporary(
        self, relative: bytes, src: int, session: Session | None
    ) -> tuple[bytes, Report | None]:
        """(path, report) of the copy of src; without a session, of its bytes as they are. No
        report: it is a DICOMDIR that is not wanted, and there is no copy."""
        temporary = self.temporary_of(relative)
        dst = create(temporary)
        report: Report | None = None
        try:
            if session is None:
                self.kernel.copy_all(src, dst, self.check)
            else:
                report = copying.copy(session, src, dst, self.kernel, self._wanted(session))
            self._finish(src, dst)
        except DirectoryMetError:
            remove(temporary)
        except BaseException:
            remove(temporary)
            raise
        finally:
            os.close(dst)
        return temporary, report

    def temporary_of(self, relative: bytes) -> bytes:
        # of the input, so that the same command finds and replaces what a kill has left
        return os.path.join(self.target, b".dcmveil-%s.tmp" % self.names.mac(relative).encode())

    def _wanted(self, session: Session) -> Callable[[], None]:
        def check() -> None:
            self.check()
            if session.directory and not self.options.dicomdir:
                raise DirectoryMetError

        return check

    def _finish(self, src: int, dst: int) -> None:
        if self.options.keep_xattrs:
            for name in os.listxattr(src):
                os.setxattr(dst, name, os.getxattr(src, name))
        if self.options.keep_times:
            status = os.fstat(src)
            os.utime(dst, ns=(status.st_atime_ns, status.st_mtime_ns))
        if self.options.durable:
            os.fsync(dst)


class DirectoryMetError(Exception):
    """The file in hand is a DICOMDIR, and those are not wanted."""


class PatchTask(Task):
    """Each batch in place: planned file by file into a journal, then carried out."""

    def __init__(
        self, root: bytes, make_session: Callable[..., Session], names: Names, options: Options,
        stop: StopFlag,
    ) -> None:  # fmt: skip
        super().__init__(root, make_session, names, options, stop)
        self._journal: Journal | None = None
        self._count = 0

    @property
    def names_stay(self) -> bool:
        return True

    def __call__(self, batch: list[Found]) -> list[Result]:
        """The results; the `temporary` of the first is the journal, which the parent discards once
        the batch stands in the report."""
        self._count += 1
        path = os.path.join(self.root, FOLDER, b"%d-%d" % (os.getpid(), self._count))
        journal = self._journal = Journal(path)
        try:
            results = super().__call__(batch)
            if journal.records == 0:
                discard(path)
                return results
            try:
                journal.commit(self.options.durable)
            except OSError as error:
                discard(path)  # nothing was touched yet
                return [self._undone(result, error) for result in results]
            try:
                journal.carry_out(self.root, self.options.durable)
            except (OSError, JournalError) as error:
                # the journal stays: the next run carries it out
                return [self._undone(result, error) for result in results]
            results[0].temporary = path
            return results
        finally:
            journal.close()

    def _undone(self, result: Result, error: Exception) -> Result:
        """The result of a file that was planned, and perhaps not patched."""
        if result.record["outcome"] != REWRITTEN:
            return result
        undone = self._fault(result.relative, error)
        undone.fatal = True
        return undone

    def treat(self, relative: bytes) -> Result:
        journal = self._journal
        assert journal is not None
        file = open_regular(os.path.join(self.root, relative), os.O_RDWR)
        try:
            status = os.fstat(file)
            if status.st_nlink > 1 and not self.options.hard_links:
                raise FileError(SECOND_NAME)
            journal.begin(relative, status)
            try:
                report = patching.plan(self.session(), file, journal.edit, self.check)
                result = self.rewritten(relative, report)
                journal.end(line_of(result.record))
            except BaseException:
                journal.forget()
                raise
        finally:
            os.close(file)
        return result
