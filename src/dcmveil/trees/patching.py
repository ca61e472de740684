"""What a worker does with a batch of files that are patched in place."""

from __future__ import annotations

import errno
import os

from ..errors import DicomError, FileError, NotDicomError
from ..faces import patch as sessions
from ..faces.journal import JournalError, Journals, recover_batch
from ..faces.records import add_done
from ..faces.system import open_regular
from .record import REWRITTEN, Result, Results, from_journal, journal_line
from .tasks import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..faces.journal import Journal
    from ..faces.names import Names
    from ..faces.system import OpenFiles
    from ..report import Report
    from .record import Brief, Counts
    from .run import Options
    from .tasks import Veils
    from .walk import Found
    from .workers import StopFlag

SECOND_NAME = "it has a second name (a hard link), which would change with it"
MOVED = "it was moved or changed while it was treated"
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.ETXTBSY}


class PatchTask(Task):
    """Each batch in place: planned file by file into a journal, then carried out."""

    flags = os.O_RDWR

    def __init__(
        self, root: bytes, veil: Veils, names: Names, options: Options,
        stop: StopFlag, each: bool,
    ) -> None:  # fmt: skip
        super().__init__(root, veil, names, options, stop, each)
        self.run = veil.identity.encode()
        self._journals = Journals(root, again=options.crosswalk is None)
        self._journal: Journal | None = None

    @property
    def names_stay(self) -> bool:
        return True

    def __call__(self, batch: list[Found]) -> Results:
        journal = self._journal = self._journals.begin()
        try:
            results = super().__call__(batch)
            if journal.count == 0:
                return results
            try:
                journal.commit(self.options.durable)
                refused = journal.carry_out(self.root, self.options.durable)
            except (OSError, JournalError) as error:
                # committed, the journal stays for the next run; if not, nothing was touched
                return Results(self._undone(result, error) for result in results.made)
            for number, result in enumerate(results.made if refused else ()):
                relative = _path_of(result)
                if relative in refused:
                    results.made[number] = self.fault(relative, FileError(MOVED))
            results.settle()
            results.journal = journal.path
            return results
        finally:
            self._journals.close(journal)

    def died(self, batch: list[Found]) -> Results:
        """What the worker was about to write is written, if it had got that far."""
        try:
            path, lines = recover_batch(
                self.root, {relative for relative, _ in batch}, self.options.durable
            )
        except (OSError, JournalError) as error:
            return Results(self._fatal(relative, error) for relative, _ in batch)
        kept = {
            relative: from_journal(self.run, self.names, relative, line) for relative, line in lines
        }
        made = (kept.get(relative) or self.lost(relative) for relative, _ in batch)
        return Results(made, path or b"")

    def _undone(self, result: Result | Brief, error: Exception) -> Result:
        """The result of a file that was planned, and perhaps not patched."""
        if not isinstance(result, tuple) and result.outcome != REWRITTEN:
            return result
        return self._fatal(_path_of(result), error)

    def _fatal(self, relative: bytes, error: Exception) -> Result:
        result = self.fault(relative, error)
        result.fatal = True
        return result

    def pass_ordinary(
        self, files: OpenFiles, batch: list[Found], counts: Counts, made: list[Result | Brief]
    ) -> None:
        counts.ordinary.plan_batch(files, batch, self._journal, counts, self.stop, made)

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
            ordinary = self.ordinary
            if ordinary is not None and ordinary.plan(file, relative, journal.records):
                result = self._line_of(relative, None)
                add_done(journal.records, journal_line(self.run, result))
                journal.take(file, ordinary.size, ordinary.changed_ns)
            else:
                journal.forget()
                result = self._line_of(relative, self._plan(relative, file, journal))
                journal.end(file, journal_line(self.run, result))
        except BaseException:
            journal.forget()
            raise
        self.give_away()
        return result

    def _line_of(self, relative: bytes, report: Report | None) -> Result:
        result = self.rewritten(relative, report)
        result.seconds = self.seconds()
        return result

    def _plan(self, relative: bytes, file: int, journal: Journal) -> Report:
        status = os.fstat(file)
        if status.st_nlink > 1 and not self.options.hard_links:
            raise FileError(SECOND_NAME)
        journal.begin(relative, status)
        return sessions.plan(self.session(), file, journal.edit, self.check)

    def _look_at(self, relative: bytes) -> None:
        """Raises NotDicomError for a file that need not be written."""
        try:
            file = open_regular(self.inside + relative)
        except OSError:
            return
        try:
            sessions.plan(self.session(), file, lambda offset, new: None, self.check)
        except NotDicomError:
            raise
        except (OSError, DicomError, FileError):
            pass
        finally:
            os.close(file)


def _path_of(result: Result | Brief) -> bytes:
    return result.relative if isinstance(result, Result) else result[0]
