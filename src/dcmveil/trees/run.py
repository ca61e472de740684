"""One run over many files: the parent's part."""

from __future__ import annotations

import errno
import json
import os
import time

from ..errors import FileError, UsageError
from ..faces import journal
from ..faces.files import (
    KernelCopy,
    create,
    open_regular,
    publish,
    remove,
    same_bytes,
    sync_folder,
)
from ..faces.names import Names
from .ledger import Crosswalk, DiskSet, Ledger
from .record import FAILED, OUTCOMES, REWRITTEN, SAME, SKIPPED, Result
from .tasks import CopyTask, PatchTask, Task
from .walk import walk
from .workers import StopFlag, run_batches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from ..session import Session
    from .walk import Found

    Path = str | bytes | os.PathLike[str]

# Files given to a worker at one time: enough to make the way there and back cheap, few enough that
# a kill loses little work and that the last batches end together.
BATCH = 32
_LOCK_SECONDS = 10.0  # for workers of a killed run to finish the file in hand
TAKEN = "its output name is taken by a file that is not the same"


class Options:
    """How a run treats files, beside what the veil does to each. All have a default.

    jobs            processes that work; 1: this one alone
    names           template of output names (see Names), None: by new UIDs
    keep_names      output names mirror the input's, which may hold identity
    overwrite       replace files that stand in the place of an output
    nested          allow an output folder inside the input folder, or the reverse
    others          copy files that are not DICOM as they are; only with keep_names
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

    def add(self, record: dict[str, Any]) -> None:
        outcome = record["outcome"]
        self.outcomes[outcome] += 1
        if outcome == SKIPPED:
            _count(self.reasons, record["reason"], 1)
        self.bytes_in += record.get("bytes_in", 0)
        self.bytes_out += record.get("bytes_out", 0)
        for note, count in (record.get("notes") or {}).items():
            _count(self.warnings, note, count)
        for note, count in (record.get("uids") or {}).items():
            _count(self.warnings, f"{note} UIDs", count)

    def as_record(self) -> dict[str, Any]:
        return {"summary": vars(self)}


def _count(counts: dict[str, int], name: str, n: int) -> None:
    counts[name] = counts.get(name, 0) + n


def run(
    make_session: Callable[..., Session],
    identity: str,
    key: bytes,
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

    identity  what the output depends on beside the files, for a report that is resumed
    found     which files, relative to source; default: all of them
    single    `found` is one file that was named, and
    final     this is its output's name in target
    on_file   called with the result of each file, in the order of the report
    Raises UsageError and OSError before anything was written, JournalError, and what on_file
    raises.
    """
    return _Run(make_session, identity, key, source, target, options, final, single, stop).go(
        found, on_file
    )


class _Run:
    def __init__(
        self, make_session: Callable[..., Session], identity: str, key: bytes, source: Path,
        target: Path | None, options: Options, final: bytes | None, single: bool,
        stop: StopFlag | None,
    ) -> None:  # fmt: skip
        self.source = os.fsencode(source)
        self.target = None if target is None else os.fsencode(target)
        self.options = options
        self.identity = identity
        self.names = Names(options.names, keep=options.keep_names, key=key)
        self.final = final
        self.single = single
        self.make_session = make_session
        self.stop = stop or StopFlag()
        self.summary = Summary()
        self.folders: set[bytes] = set()  # that are known to exist in target
        # names given in this run, where those that stood before may be replaced
        self.made = DiskSet() if options.overwrite else None
        self.ledger: Ledger | None = None
        self.crosswalk: Crosswalk | None = None
        self.recovered: set[bytes] = set()
        self.kernel = KernelCopy()

    # -- the run -----------------------------------------------------------------------------

    def go(
        self, found: Iterable[Found] | None, on_file: Callable[[Result], None] | None
    ) -> Summary:
        start = time.monotonic()
        leave_out = self._check_places()
        # single files side by side do not get in each other's way
        lock = _lock(self.source if self.target is None else self.target, self.single)
        try:
            self._open_files()
            if self.target is None:
                self._recover()
            batches = self._batches(walk(self.source, leave_out) if found is None else found)
            self._work(self._task(), batches, on_file)
            if self.target is None:
                if not self.summary.fatal:
                    self._recover()  # of a worker that died
                journal.close_folder(self.source)
        finally:
            self.summary.seconds = round(time.monotonic() - start, 3)
            self._close_files()
            os.close(lock)
        return self.summary

    def _work(
        self,
        task: Task,
        batches: Iterator[list[Found]],
        on_file: Callable[[Result], None] | None,
    ) -> None:
        coming = run_batches(task, batches, self.options.jobs, task.died, self.stop)
        try:
            for results in coming:
                self._take(results, on_file)
        except BaseException:
            self.stop.set()
            for results in coming:
                for result in results:
                    if result.temporary is not None and self.target is not None:
                        remove(result.temporary)
            raise
        self.summary.interrupted = bool(self.stop) and not self.summary.fatal

    def _take(self, results: list[Result], on_file: Callable[[Result], None] | None) -> None:
        """One batch that has come back: names, report, then the end of its journal."""
        journals = self._finish(results)
        if self.ledger is not None:
            self.ledger.flush(self.options.durable)
        if self.crosswalk is not None:
            self.crosswalk.flush(self.options.durable)
        for path in journals:
            journal.discard(path)
        if on_file is not None:
            for result in results:
                on_file(result)

    def _finish(self, results: list[Result]) -> list[bytes]:
        """Outputs get their names, the report its lines; journals that are to be discarded then."""
        journals = []
        touched: set[bytes] = set()
        for result in results:
            if result.temporary is not None and self.target is None:
                journals.append(result.temporary)
            elif result.temporary is not None:
                self._publish(result, touched)
            self._record(result)
        if self.options.durable:
            for folder in touched:
                sync_folder(folder)
        return journals

    def _record(self, result: Result) -> None:
        if self.options.quarantine is not None and result.record["outcome"] == FAILED:
            self._quarantine(result)
        if self.crosswalk is not None and result.record["outcome"] in (REWRITTEN, SAME):
            self.crosswalk.write(result.crosswalk)
        if self.ledger is not None:
            self.ledger.write(result.record)
        self.summary.add(result.record)
        if result.fatal and not self.summary.fatal:
            self.summary.fatal = result.record["error"]["reason"]
            self.stop.set()

    # -- where things are --------------------------------------------------------------------

    def _check_places(self) -> frozenset[tuple[int, int]]:
        """Folders that the walk leaves out. Raises UsageError for places that do not go
        together."""
        if not os.path.isdir(self.source):
            raise UsageError("the source is not a folder")
        places = [self.options.quarantine] if self.options.quarantine is not None else []
        if self.target is None:
            if journal.pending_above(self.source):
                raise UsageError(
                    "a run over a folder above this one was cut off while it patched: repeat it"
                )
        else:
            os.makedirs(self.target, exist_ok=True)
            places.append(self.target)
            if self.final is None:
                self._check_nesting(self.target)
        for place in places:
            os.makedirs(place, exist_ok=True)
        status = [os.stat(place) for place in places]
        return frozenset((s.st_dev, s.st_ino) for s in status)

    def _check_nesting(self, target: bytes) -> None:
        one = os.path.join(os.path.realpath(self.source), b"")
        other = os.path.join(os.path.realpath(target), b"")
        if one == other:
            raise UsageError("source and target are one folder; dcmveil patch rewrites in place")
        if not self.options.nested and (one.startswith(other) or other.startswith(one)):
            raise UsageError("source and target lie inside one another (--nested allows it)")

    def _task(self) -> Task:
        common = (self.source, self.make_session, self.names, self.options, self.stop)
        if self.target is None:
            return PatchTask(*common)
        return CopyTask(*common, self.target)

    def _open_files(self) -> None:
        options = self.options
        if options.report is not None:
            kind = {
                "run": self.identity,
                "source": self.names.mac(os.path.realpath(self.source)),
                "output": "in place" if self.target is None else "copy",
            }
            self.ledger = Ledger(options.report, kind, resume=options.resume, outputs=self.made)
            self.summary.before = sum(self.ledger.kept.values())
        if options.crosswalk is not None:
            self.crosswalk = Crosswalk(options.crosswalk, resume=options.resume)

    def _close_files(self) -> None:
        if self.crosswalk is not None:
            self.crosswalk.close()
        if self.ledger is not None:
            try:
                self.ledger.write(self.summary.as_record())
                self.ledger.close()
            except OSError as error:  # a full disk: what is torn is left out by --resume
                self.summary.fatal = self.summary.fatal or error.strerror or "no report"

    # -- which files -------------------------------------------------------------------------

    def _recover(self) -> None:
        """What an earlier run was about to patch when it was killed."""
        for relative, line in journal.recover(self.source, self.options.durable):
            self.recovered.add(relative)
            record = json.loads(line)
            if self.ledger is not None and self.ledger.done is not None:
                self.ledger.write_line(line)
                self.ledger.flush(self.options.durable)
            elif self.ledger is not None:
                self.ledger.write(record)
            self.summary.add(record)

    def _batches(self, found: Iterable[Found]) -> Iterator[list[Found]]:
        batch: list[Found] = []
        done = self.ledger.done if self.ledger is not None else None
        for relative, reason in found:
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

    # -- outputs -----------------------------------------------------------------------------

    def _publish(self, result: Result, touched: set[bytes]) -> None:
        assert self.target is not None
        assert result.temporary is not None
        name = result.output if self.final is None else self.final
        path = os.path.join(self.target, name)
        try:
            self._make_folder(os.path.dirname(path), touched)
            replace = self.made is not None and self.made.add(name)
            new = publish(result.temporary, path, replace=replace)
            if not new and not same_bytes(result.temporary, path):
                result.exception = FileExistsError(errno.EEXIST, TAKEN)
                self._fail(result, TAKEN)
            else:
                if self.final is None and (
                    not self.options.keep_names or self.options.report_paths
                ):
                    result.record["output"] = os.fsdecode(name)
                if new:
                    touched.add(os.path.dirname(path))
                    return
                result.record["outcome"] = SAME
        except OSError as error:
            result.exception = error
            self._fail(result, error.strerror or "the output could not be named")
            result.fatal = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        remove(result.temporary)

    def _fail(self, result: Result, reason: str) -> None:
        kept: dict[str, Any] = {
            name: result.record[name] for name in ("input", "path") if name in result.record
        }
        result.record = {**kept, "outcome": FAILED, "error": {"reason": reason}}

    def _make_folder(self, folder: bytes, touched: set[bytes]) -> None:
        if folder in self.folders:
            return
        if len(self.folders) > 100_000:  # of a series each; they are only remembered
            self.folders.clear()
        if not os.path.isdir(folder):
            os.makedirs(folder, exist_ok=True)
            touched.add(os.path.dirname(folder))
        self.folders.add(folder)

    def _quarantine(self, result: Result) -> None:
        """A copy of the input, as it is, under its own path."""
        assert self.options.quarantine is not None
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
            result.record["quarantine"] = error.strerror or "not copied"
        finally:
            os.close(src)
            remove(temporary)


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
