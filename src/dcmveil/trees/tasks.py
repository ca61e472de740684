"""What a worker does with one batch of files."""

from __future__ import annotations

import errno
import os
import time

from ..errors import DicomError, FileError, NotDicomError
from ..faces.files import HEAD, StopError
from ..faces.system import OpenFiles, open_regular
from .record import FAILED, REWRITTEN, SKIPPED, Counts, Edits, Result, Results, error_of
from .walk import AGAIN, SPECIAL, SYMLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from ..core import Trace
    from ..engine import Crosswalk
    from ..faces.names import Names
    from ..faces.ordinary import Ordinary
    from ..report import Report
    from ..session import Session, Watch
    from .record import Brief
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
INTERNAL = "internal error"
# No file after this one could be written either.
_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class Task:
    """The common part: one file after the other, each fault kept to its file. The files of a batch
    are opened beforehand, so that the disk reads one while another is treated.

    each  somebody wants the Result of each file; else a Brief does for most
    """

    flags = os.O_RDONLY
    read_ahead = HEAD  # bytes of each file

    def __init__(
        self, root: bytes, veil: Veils, names: Names, options: Options,
        stop: StopFlag, each: bool,
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
        ordinary = None if all_asked else veil.ordinary()
        # for one file at a time, or for as many of a batch as are ordinary
        self.ordinary = ordinary if each else None
        self.counts = None if each or ordinary is None else Counts(ordinary, veil.identity)
        self.inside = os.path.join(root, b"")
        self.start = 0.0  # when the file in hand was begun
        self._number = 0  # of the file in hand

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
        self._files = OpenFiles(self.inside, batch, self.flags, self.read_ahead)
        try:
            self._go_through(batch, results)
        except BaseException:
            self.undo(results)
            raise
        finally:
            self._files.close()
        return results

    def _go_through(self, batch: list[Found], results: Results) -> None:
        made = results.made  # one for each file that is done
        while not self.stop.is_set:
            if self.counts is not None:
                try:
                    self.pass_ordinary(self._files, batch, self.counts, made)
                except StopError:
                    return
                except Exception:
                    pass  # whatever it was, it is met again where the file is treated by itself
            if len(made) == len(batch) or self.stop.is_set:
                return
            self._number = len(made)
            result = self._one(*batch[self._number])
            if result is None:
                return
            made.append(result)
            if result.fatal:
                return

    def pass_ordinary(
        self, files: OpenFiles, batch: list[Found], counts: Counts, made: list[Result | Brief]
    ) -> None:
        """Treat the files of a batch that come next, up to one that is not ordinary."""
        raise NotImplementedError

    def open(self, relative: bytes) -> int:
        """The file descriptor of the input in hand, closed with its batch. Raises as open_regular
        does."""
        if self._files[self._number] < 0:
            self._files[self._number] = open_regular(self.inside + relative, self.flags)
        return self._files[self._number]

    def give_away(self) -> None:
        """Somebody else closes the input in hand."""
        self._files[self._number] = -1

    def close(self) -> None:
        """Away with what is kept from batch to batch, in this process."""

    def undo(self, results: Results) -> None:
        """Away with what a batch has made, since nobody will take it."""

    def died(self, batch: list[Found]) -> Results:
        """The results of a batch whose worker has died."""
        return Results(self.lost(relative) for relative, _ in batch)

    def lost(self, relative: bytes) -> Result:
        """With its worker."""
        return self.failed(relative, {"reason": "the worker process died"})

    def _one(self, relative: bytes, reason: str) -> Result | None:
        """The result for one file, None: it was undone, since the run is to stop."""
        if reason:
            if reason in (SYMLINK, SPECIAL, AGAIN):
                return self.skipped(relative, reason)
            return self.failed(relative, {"reason": reason})
        self.start = time.perf_counter()
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
            result = self.fault(relative, error)
        result.seconds = self.seconds()
        return result

    def seconds(self) -> float:
        """Since the file in hand was begun."""
        return time.perf_counter() - self.start

    def fault(self, relative: bytes, error: Exception) -> Result:
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

    def rewritten(self, relative: bytes, report: Report | None) -> Result:
        """With the report of a session; None: that of `ordinary`."""
        result = self.result(relative, REWRITTEN)
        if report is None:
            assert self.ordinary is not None
            report = self.ordinary.report()
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


def _let_go(error: Exception) -> None:
    """Of the frames, and with them of the window, until the garbage collector finds them."""
    error.__traceback__ = error.__context__ = None
