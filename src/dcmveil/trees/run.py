"""One run over many files: the parent's part."""

from __future__ import annotations

import errno
import os
import time

from ..errors import FileError, UsageError
from ..faces import journal
from ..faces.files import (
    KernelCopy,
    create,
    make_folders,
    publish,
    remove,
    same_bytes,
    sync_file,
    sync_folder,
)
from ..faces.names import Names
from ..faces.system import open_regular
from .ledger import Crosswalk, DiskSet, Ledger
from .record import FAILED, OUTCOMES, REWRITTEN, SAME, SKIPPED, Result, from_journal, line_of
from .tasks import CopyTask, PatchTask, Task
from .walk import AGAIN, walk
from .workers import StopFlag, run_batches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from .tasks import Veils
    from .walk import Found

    Path = str | bytes | os.PathLike[str]

# Files given to a worker at one time: enough to make the way there and back cheap, few enough that
# a kill loses little work and that the last batches end together.
BATCH = 32
_LOCK_SECONDS = 10.0  # for workers of a killed run to finish the file in hand
FOLDERS_KNOWN = 4096  # to exist in the target: a hundred series a patient, and little memory
TAKEN = "its output name is taken by a file that is not the same"


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

    def add(self, result: Result) -> None:
        self.outcomes[result.outcome] += 1
        if result.outcome == SKIPPED:
            _count(self.reasons, result.reason, 1)
        self.bytes_in += result.bytes_in
        self.bytes_out += result.bytes_out
        if result.warnings:
            for note, count in result.warnings.items():
                _count(self.warnings, note, count)

    def as_record(self) -> dict[str, Any]:
        return {"summary": vars(self)}


def _count(counts: dict[str, int], name: str, n: int) -> None:
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
    stop: StopFlag | None = None,
) -> Summary:
    """Rewrite the files under `source` into `target`, or in place where that is None.

    found     which files, relative to source; default: all of them
    single    `found` is one file that was named, and
    final     this is its output's name in target
    on_file   called with the result of each file, in the order of the report
    Raises UsageError and OSError before anything was written (UsageError for a list later, where
    it is none), JournalError, and what on_file raises.
    """
    return _Run(veil, source, target, options, final, single, stop).go(found, on_file)


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
        self.names = Names(options.names, keep=options.keep_names, key=veil.key)
        self.final = final
        self.single = single
        self.stop = StopFlag() if stop is None else stop  # one that is not set is false
        self.summary = Summary()
        self.folders: set[bytes] = set()  # that are known to exist in target
        # names given in this run, where those that stood before may be replaced
        self.made = DiskSet() if options.overwrite else None
        self.ledger: Ledger | None = None
        self.crosswalk: Crosswalk | None = None
        self.recovered: set[bytes] = set()
        self.listed = False  # the files come from a list
        self.kernel = KernelCopy()

    # -- the run -----------------------------------------------------------------------------

    def go(
        self, found: Iterable[Found] | None, on_file: Callable[[Result], None] | None
    ) -> Summary:
        start = time.monotonic()
        self.listed = found is not None and not self.single
        leave_out = self._check_places()
        # single files side by side do not get in each other's way
        lock = _lock(self.source if self.target is None else self.target, self.single)
        try:
            self._open_files()
            leave_out |= self._own_files()
            try:
                if self.target is None:
                    self._recover(on_file)
                batches = self._batches(walk(self.source, leave_out) if found is None else found)
                self._work(self._task(), batches, on_file)
                if self.target is None:
                    journal.close_folder(self.source)
            except BaseException:
                self.summary.interrupted = True
                raise
            finally:
                self.summary.seconds = round(time.monotonic() - start, 3)
                self._close_files()
        finally:
            os.close(lock)
        return self.summary

    def _work(
        self,
        task: Task,
        batches: Iterator[list[Found]],
        on_file: Callable[[Result], None] | None,
    ) -> None:
        coming = run_batches(task, batches, self.options.jobs, task.died, task.undo, self.stop)
        results: list[Result] = []
        try:
            for results in coming:
                self._take(results, on_file)
        except BaseException:
            self.stop.set()
            coming.close()
            task.undo(results)
            raise
        self.summary.interrupted = bool(self.stop) and not self.summary.fatal

    def _take(self, results: list[Result], on_file: Callable[[Result], None] | None) -> None:
        """One batch that has come back: names, crosswalk, report, then the end of its journal."""
        journals = self._finish(results)
        self._note(results)
        for path in journals:
            journal.discard(path)
        if on_file is not None:
            for result in results:
                on_file(result)

    def _finish(self, results: list[Result]) -> list[bytes]:
        """Outputs get their names; the journals that are to be discarded once all is reported."""
        journals = []
        touched: set[bytes] = set()
        for result in results:
            if result.temporary is not None and self.target is None:
                journals.append(result.temporary)
            elif result.temporary is not None:
                self._publish(result, touched)
            if self.options.quarantine is not None and result.outcome == FAILED:
                self._quarantine(result)
        if self.options.durable:
            for folder in touched:
                sync_folder(folder)
        return journals

    def _note(self, results: list[Result]) -> None:
        """Into the crosswalk, and then into the report: what stands there is not done again."""
        if self.crosswalk is not None:
            for result in results:
                if result.crosswalk and result.outcome in (REWRITTEN, SAME):
                    self.crosswalk.write(result.crosswalk)
            self.crosswalk.flush(self.options.durable)
        for result in results:
            if self.ledger is not None:
                self.ledger.write(result.line() + b"\n")
            self.summary.add(result)
            if result.fatal and not self.summary.fatal:
                self.summary.fatal = result.reason
                self.stop.set()
        if self.ledger is not None:
            self.ledger.flush(self.options.durable)

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
        common = (self.source, self.veil, self.names, self.options, self.stop)
        if self.target is None:
            return PatchTask(*common)
        return CopyTask(*common, self.target, self.final)

    def _open_files(self) -> None:
        options = self.options
        if options.report is not None:
            kind = {
                "run": self.identity,
                "source": self.names.mac(os.path.realpath(self.source)),
                "output": "in place" if self.target is None else self._kind_of_copy(self.target),
            }
            self.ledger = Ledger(
                options.report, kind,
                resume=options.resume, durable=options.durable, outputs=self.made,
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

    def _recover(self, on_file: Callable[[Result], None] | None) -> None:
        """What an earlier run was about to patch when it was killed."""
        for relative, line in journal.recover(self.source, self.options.durable):
            result = from_journal(self.identity, relative, line)
            if result is None:
                continue  # it bears the mark of another key or profile, and is met as such
            self.recovered.add(relative)
            if self.ledger is None or self.ledger.is_new(result.input):
                self._note([result])
            if on_file is not None:
                on_file(result)

    def _batches(self, found: Iterable[Found]) -> Iterator[list[Found]]:
        batch: list[Found] = []
        done = self.ledger.done if self.ledger is not None else None
        for relative, reason in self._once(found):
            if relative in self.recovered:
                continue
            if done is not None and bytes.fromhex(self.names.mac(relative)) in done:
                continue
            batch.append((relative, reason))
            if len(batch) == BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _once(self, found: Iterable[Found]) -> Iterator[Found]:
        """Each file once: two workers must never write one file. A list may name a file twice; two
        names may lead to one file that is patched."""
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

    # -- outputs -----------------------------------------------------------------------------

    def _publish(self, result: Result, touched: set[bytes]) -> None:
        assert self.target is not None
        assert result.temporary is not None
        name = result.output if self.final is None else self.final
        path = os.path.join(self.target, name)
        folder = os.path.dirname(path)
        try:
            if folder not in self.folders:
                self._make_folder(folder, touched)
            replace = self.made is not None and self.made.add(name)
            new = publish(result.temporary, path, replace=replace)
            if not new and not same_bytes(result.temporary, path):
                result.exception = FileExistsError(errno.EEXIST, TAKEN)
                self._fail(result, TAKEN)
            else:
                if self.final is None and (
                    not self.options.keep_names or self.options.report_paths
                ):
                    result.add("output", os.fsdecode(name))
                touched.add(folder)
                if new:
                    return
                result.outcome = SAME
                if self.options.durable:
                    sync_file(path)  # of a run that was killed before it could
        except OSError as error:
            result.exception = error
            self._fail(result, error.strerror or "the output could not be named")
            result.fatal = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        remove(result.temporary)

    def _fail(self, result: Result, reason: str) -> None:
        path = (result.more or {}).get("path")
        result.outcome = FAILED
        result.report = result.warnings = None
        result.counts, result.bytes_in, result.bytes_out = "", 0, 0
        result.more = {"error": {"reason": reason}}
        if path is not None:
            result.add("path", path)

    def _make_folder(self, folder: bytes, touched: set[bytes]) -> None:
        if len(self.folders) >= FOLDERS_KNOWN:
            self.folders.clear()
        touched.update(make_folders(folder))
        self.folders.add(folder)
        if self.options.durable:  # a run that was killed may have made those above it
            assert self.target is not None
            while len(folder) > len(self.target):
                folder = os.path.dirname(folder)
                touched.add(folder)

    def _quarantine(self, result: Result) -> None:
        """A copy of the input, as it is, under its own path."""
        assert self.options.quarantine is not None
        if os.path.isabs(result.relative) or b".." in result.relative.split(b"/"):
            return  # a list had it, and it lies outside the source
        folder = os.fsencode(self.options.quarantine)
        path = os.path.join(folder, result.relative)
        temporary = os.path.join(
            folder, b".dcmveil-%s.tmp" % self.names.mac(result.relative).encode()
        )
        try:
            src = open_regular(os.path.join(self.source, result.relative))
        except (OSError, FileError):
            return  # what cannot be read cannot be copied; the report says why
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            dst = create(temporary, 0o600)
            try:
                self.kernel.copy_all(src, dst, lambda: None)
            finally:
                os.close(dst)
            publish(temporary, path)  # a file that stands there stays
        except OSError as error:
            result.add("quarantine", error.strerror or "not copied")
        finally:
            os.close(src)
            remove(temporary)


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
