"""One run over many files: the parent's part."""

from __future__ import annotations

import os
import time

from ..errors import UsageError
from ..faces import journal
from ..faces.names import Names
from .batches import Batches
from .record import (
    FAILED,
    OUTCOMES,
    REWRITTEN,
    SAME,
    SKIPPED,
    Results,
    from_journal,
    line_of,
)
from .walk import AGAIN, walk
from .workers import Ahead, StopFlag, run_batches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from .ledger import Crosswalk, DiskSet, Ledger
    from .outputs import Outputs, Quarantine
    from .record import Result
    from .tasks import Task, Veils
    from .walk import Found

    Path = str | bytes | os.PathLike[str]

_LOCK_SECONDS = 10.0  # for workers of a killed run to finish the file in hand


class Options:
    """How a run treats files, beside what the veil does to each. All have a default.

    jobs            processes that work; 1: this one alone
    names           template of output names (see Names), None: by new UIDs
    keep_names      output names mirror the input's, which may hold identity
    overwrite       replace files that stand in the place of an output
    nested          allow an output folder inside the input folder, or the reverse
    others          copy files that are not DICOM as they are; only with keep_names
    verify          compare each copy with its input before it gets its name (see verify)
    dicomdir        take DICOMDIRs too; in place they always are
    hard_links      patch files that have a second name
    keep_times      outputs get the modification times of the inputs
    keep_xattrs     outputs get the extended attributes of the inputs
    quarantine      folder that receives copies of the inputs that failed
    report          path of the report (JSON Lines), None: none is written
    resume          go on from that report; harmless when there is none yet
    report_paths    let the report hold the paths of inputs
    report_edits    let the report hold every edit (offset, length, tag path, action)
    crosswalk       path of a CSV with old and new IDs and UIDs, mode 0600
    durable         hold against a power cut, not only against a kill
    """

    jobs: int = 1
    names: str | None = None
    keep_names: bool = False
    overwrite: bool = False
    nested: bool = False
    others: bool = False
    verify: bool = False
    dicomdir: bool = False
    hard_links: bool = False
    keep_times: bool = False
    keep_xattrs: bool = False
    quarantine: Path | None = None
    report: str | os.PathLike[str] | None = None
    resume: bool = False
    report_paths: bool = False
    report_edits: bool = False
    crosswalk: str | os.PathLike[str] | None = None
    durable: bool = False

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            if name not in Options.__annotations__:
                raise UsageError(f"a run has no option {name}")
            setattr(self, name, value)
        if not 1 <= self.jobs <= 1024:
            raise UsageError("the number of jobs must lie between 1 and 1024")
        if self.others and not self.keep_names:
            raise UsageError(
                "files that are not DICOM can only be copied where names are kept: they have no "
                "UIDs to be named by"
            )
        if self.resume and self.report is None:
            raise UsageError("to resume, name the report of the run before")


class Summary:
    """A whole run.

    outcomes     how many files came to each end (record.OUTCOMES)
    reasons      how many were skipped for each reason
    warnings     what was tolerated, and how often
    before       files that an earlier run had done
    bytes_in, bytes_out, seconds
    interrupted  it was asked to stop, and something is left to do
    fatal        why it had to stop early, "" if it did not
    """

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self.reasons: dict[str, int] = {}
        self.warnings: dict[str, int] = {}
        self.before = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.seconds = 0.0
        self.interrupted = False
        self.fatal = ""

    @property
    def files(self) -> int:
        return sum(self.outcomes.values())

    @property
    def all_done(self) -> bool:
        """Whether every DICOM input was treated."""
        return not (self.outcomes[FAILED] or self.interrupted or self.fatal)

    def add(self, results: Results) -> None:
        for result in results.files:
            self.outcomes[result.outcome] += 1
            if result.outcome == SKIPPED:
                _count(self.reasons, {result.reason: 1})
            self.bytes_in += result.bytes_in
            self.bytes_out += result.bytes_out
            _count(self.warnings, result.warnings or {})
        self.outcomes[REWRITTEN] += results.tally.files
        self.bytes_in += results.tally.bytes
        self.bytes_out += results.tally.bytes
        _count(self.warnings, results.tally.warnings)

    def as_record(self) -> dict[str, Any]:
        return {"summary": vars(self)}


def _count(counts: dict[str, int], more: dict[str, int]) -> None:
    for name, n in more.items():
        counts[name] = counts.get(name, 0) + n


def run(
    veil: Veils,
    source: Path,
    target: Path | None,
    options: Options,
    *,
    found: Iterable[Found] | None = None,
    final: bytes | None = None,
    single: bool = False,
    on_file: Callable[[Result], None] | None = None,
    on_batch: Callable[[Results], None] | None = None,
    stop: StopFlag | None = None,
) -> Summary:
    """Rewrite the files under `source` into `target`, or in place where that is None.

    found     which files, relative to source; default: all of them
    single    `found` is one file that was named, and
    final     this is its output's name in target
    on_file   called with the result of each file, in the order of the report
    on_batch  called with those of some files at a time; where there is neither a report nor
              on_file, most are only counted, and the run is faster for it
    Raises UsageError and OSError before anything was written (UsageError for a list later, where
    it is none), JournalError, and what on_file raises.
    """
    return _Run(veil, source, target, options, final, single, stop).go(found, on_file, on_batch)


class _Run:
    def __init__(
        self, veil: Veils, source: Path, target: Path | None, options: Options,
        final: bytes | None, single: bool, stop: StopFlag | None,
    ) -> None:  # fmt: skip
        self.source = os.fsencode(source)
        self.target = None if target is None else os.fsencode(target)
        self.options = options
        self.veil = veil
        self.identity = veil.identity
        self.on_file: Callable[[Result], None] | None = None
        self.on_batch: Callable[[Results], None] | None = None
        self.names = Names(options.names, keep=options.keep_names, key=veil.key)
        self.final = final
        self.single = single
        self.stop = StopFlag() if stop is None else stop  # one that is not set is false
        self.summary = Summary()
        self.ahead = Ahead()
        self.outputs: Outputs | None = None
        if self.target is not None:
            from .outputs import Outputs

            self.outputs = Outputs(self.target, self.names, options, final, self.ahead)
        self.quarantine: Quarantine | None = None
        if options.quarantine is not None:
            from .outputs import Quarantine

            self.quarantine = Quarantine(options.quarantine, self.source, self.names)
        self.ledger: Ledger | None = None
        self.crosswalk: Crosswalk | None = None
        self.recovered: set[bytes] = set()
        self.listed = False  # the files come from a list

    # -- the run -----------------------------------------------------------------------------

    def go(
        self,
        found: Iterable[Found] | None,
        on_file: Callable[[Result], None] | None,
        on_batch: Callable[[Results], None] | None,
    ) -> Summary:
        start = time.monotonic()
        self.on_file, self.on_batch = on_file, on_batch
        self.listed = found is not None and not self.single
        leave_out = self._check_places()
        # single files side by side do not get in each other's way
        lock = _lock(self.source if self.target is None else self.target, self.single)
        try:
            self._open_files()
            leave_out |= self._own_files()
            try:
                if self.target is None:
                    self._recover()
                elif not self.single:
                    self._remove_temporaries()
                wanted = self._wanted(walk(self.source, leave_out) if found is None else found)
                task = self._task()
                try:
                    self._work(task, Batches(wanted))
                finally:
                    task.close()
            except BaseException:
                self.summary.interrupted = True
                raise
            finally:
                if self.target is None:
                    journal.close_folder(self.source)
                elif not self.single:
                    self._remove_temporaries()
                self.summary.seconds = round(time.monotonic() - start, 3)
                self._close_files()
        finally:
            os.close(lock)
        return self.summary

    def _work(self, task: Task, batches: Batches) -> None:
        coming = run_batches(
            task, batches, self.options.jobs, task.died, task.undo, self.stop,
            took=batches.took, ahead=self.ahead,
        )  # fmt: skip
        results = Results()
        try:
            for results in coming:
                self._take(results)
        except BaseException:
            self.stop.set()
            coming.close()
            task.undo(results)
            raise
        self.summary.interrupted = bool(self.stop) and not self.summary.fatal

    def _take(self, results: Results) -> None:
        """One batch that has come back: names, crosswalk, report, then the end of its journal."""
        self._finish(results)
        self._note(results)
        if results.journal:
            journal.discard(results.journal)
        self._tell(results)

    def _tell(self, results: Results) -> None:
        """Those who look on."""
        if self.on_batch is not None:
            self.on_batch(results)
        if self.on_file is not None:
            for result in results.files:
                self.on_file(result)

    def _finish(self, results: Results) -> None:
        """Outputs get their names; inputs that failed are kept where that is wanted."""
        if self.outputs is not None:
            self.outputs.name_all(results)
        results.settle()
        if self.quarantine is not None:
            for result in results.files:
                if result.outcome == FAILED:
                    self.quarantine.take(result)

    def _note(self, results: Results) -> None:
        """Into the crosswalk, and then into the report: what stands there is not done again."""
        if self.crosswalk is not None:
            for result in results.files:
                if result.crosswalk and result.outcome in (REWRITTEN, SAME):
                    self.crosswalk.write(result.crosswalk)
            self.crosswalk.flush(self.options.durable)
        self.summary.add(results)
        for result in results.files:
            if self.ledger is not None:
                self.ledger.write(result.line() + b"\n")
            if result.fatal and not self.summary.fatal:
                self.summary.fatal = result.reason
                self.stop.set()
        if self.ledger is not None:
            self.ledger.flush(self.options.durable)

    def _remove_temporaries(self) -> None:
        from .outputs import remove_temporaries

        assert self.target is not None
        remove_temporaries(self.target)

    # -- where things are --------------------------------------------------------------------

    def _check_places(self) -> frozenset[tuple[int, int]]:
        """Folders that the walk leaves out. Raises UsageError for places that do not go
        together."""
        if not os.path.isdir(self.source):
            raise UsageError("the source is not a folder")
        if journal.pending_above(self.source):
            raise UsageError(
                "a run over a folder above this one was cut off while it patched: repeat it"
            )
        places: list[Path] = []
        if self.target is None and self.options.verify:
            raise UsageError("what is patched in place has no original left to be compared with")
        if self.target is not None:
            if journal.is_pending(self.source):
                raise UsageError("a run over this folder was cut off while it patched: repeat it")
            if not self.single:
                self._check_nesting(self.target)
            self._check_private(self.target)
            os.makedirs(self.target, exist_ok=True)
            places.append(self.target)
        if self.options.quarantine is not None:
            os.makedirs(self.options.quarantine, 0o700, exist_ok=True)
            places.append(self.options.quarantine)
        return frozenset(_identity(os.stat(place)) for place in places)

    def _check_private(self, target: bytes) -> None:
        """What identifies people does not go among the outputs."""
        inside = os.path.join(os.path.realpath(target), b"")
        for path in (self.options.quarantine, self.options.crosswalk):
            if path is not None:
                place = os.path.join(os.path.realpath(os.fsencode(path)), b"")
                if place.startswith(inside):
                    raise UsageError(
                        "the quarantine and the crosswalk identify people: they cannot lie in the "
                        "folder of the outputs"
                    )

    def _check_nesting(self, target: bytes) -> None:
        one = os.path.join(os.path.realpath(self.source), b"")
        other = os.path.join(os.path.realpath(target), b"")
        if one == other:
            raise UsageError("source and target are one folder; dcmveil patch rewrites in place")
        if not self.options.nested and (one.startswith(other) or other.startswith(one)):
            raise UsageError("source and target lie inside one another (--nested allows it)")
        if self.options.overwrite and one.startswith(other):
            raise UsageError("with the source inside the target, an output might replace an input")

    def _task(self) -> Task:
        each = self.ledger is not None or self.on_file is not None or self.single
        common = (self.source, self.veil, self.names, self.options, self.stop, each)
        if self.target is None:  # only one of them is imported, for a shorter start
            from .patching import PatchTask

            return PatchTask(*common)
        from .copying import CopyTask

        return CopyTask(*common, self.target, self.final, self.single)

    def _open_files(self) -> None:
        options = self.options
        if options.report is None and options.crosswalk is None:
            return
        from .ledger import Crosswalk, Ledger

        if options.report is not None:
            kind = {
                "run": self.identity,
                "source": self.names.mac(os.path.realpath(self.source)),
                "output": "in place" if self.target is None else self._kind_of_copy(self.target),
            }
            self.ledger = Ledger(
                options.report, kind,
                resume=options.resume, durable=options.durable,
                outputs=None if self.outputs is None else self.outputs.made,
            )  # fmt: skip
            self.summary.before = sum(self.ledger.kept.values())
        if options.crosswalk is not None:
            try:
                self.crosswalk = Crosswalk(
                    options.crosswalk, resume=options.resume, durable=options.durable
                )
            except BaseException:
                if self.ledger is not None:
                    self.ledger.abandon()
                raise

    def _kind_of_copy(self, target: bytes) -> str:
        """Stands for where outputs go and what they are called."""
        options = self.options
        names = (options.names, options.keep_names, options.others, options.dicomdir)
        parts = (os.path.realpath(target), self.final or b"", repr(names).encode())
        return f"copy {self.names.mac(bytes(1).join(parts))}"

    def _own_files(self) -> frozenset[tuple[int, int]]:
        """Which the walk leaves out wherever they stand."""
        files = [f for f in (self.ledger, self.crosswalk) if f is not None]
        return frozenset(_identity(os.fstat(file.fileno())) for file in files)

    def _close_files(self) -> None:
        try:
            if self.crosswalk is not None:
                self.crosswalk.close()
        except OSError as error:
            self.summary.fatal = self.summary.fatal or error.strerror or "no crosswalk"
        if self.ledger is not None:
            try:
                self.ledger.write(line_of(self.summary.as_record()))
                self.ledger.close()
            except OSError as error:  # a full disk: what is torn is left out by --resume
                self.summary.fatal = self.summary.fatal or error.strerror or "no report"

    # -- which files -------------------------------------------------------------------------

    def _recover(self) -> None:
        """What an earlier run was about to patch when it was killed."""
        run = self.identity.encode()
        for relative, line in journal.recover(self.source, self.options.durable):
            result = from_journal(run, self.names, relative, line)
            if result is None:
                continue  # it bears the mark of another key or profile, and is met as such
            self.recovered.add(relative)
            results = Results([result])
            results.settle()
            if self.ledger is None or self.ledger.is_new(result.input):
                self._note(results)
            self._tell(results)

    def _wanted(self, found: Iterable[Found]) -> Iterable[Found]:
        """What is not done yet, and each file once: two workers must never write one file."""
        if self.listed or (self.target is None and self.options.hard_links):
            found = self._once(found)
        done = self.ledger.done if self.ledger is not None else None
        if self.recovered or done is not None:
            found = self._not_done(found, done)
        return found

    def _not_done(self, found: Iterable[Found], done: DiskSet | None) -> Iterator[Found]:
        for relative, reason in found:
            if relative in self.recovered:
                continue
            if done is not None and bytes.fromhex(self.names.mac(relative)) in done:
                continue
            yield relative, reason

    def _once(self, found: Iterable[Found]) -> Iterator[Found]:
        """A list may name a file twice; two names may lead to one file that is patched."""
        from .ledger import DiskSet

        names = DiskSet() if self.listed else None
        files = DiskSet() if self.target is None and self.options.hard_links else None
        for relative, reason in found:
            if names is not None and not names.add(bytes.fromhex(self.names.mac(relative))):
                continue
            if files is not None and not reason and not self._is_first_name(relative, files):
                yield relative, AGAIN
            else:
                yield relative, reason

    def _is_first_name(self, relative: bytes, files: DiskSet) -> bool:
        try:
            status = os.lstat(os.path.join(self.source, relative))
        except OSError:
            return True  # met again when it is opened
        return status.st_nlink < 2 or files.add(repr(_identity(status)).encode())


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _lock(folder: bytes, shared: bool) -> int:
    """One run at a time in a folder. Workers hold the lock too, so that a run that was killed is
    over only when they are."""
    import fcntl

    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(file)
                raise UsageError("another run is at work in this folder") from None
            time.sleep(0.05)
        except OSError:
            return file  # a file system without locks
