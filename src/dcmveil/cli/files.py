"""`dcmveil copy` and `dcmveil patch`: files and folders."""

from __future__ import annotations

# `signal` wraps this in enums, which take long to import
import _signal as signal  # type: ignore[import-not-found]
import gc
import os

from ..errors import UsageError
from ..trees import Options, StopFlag, Summary, run
from ..trees.record import COPIED, FAILED, REWRITTEN, SAME, SKIPPED
from ..trees.tasks import DIRECTORY
from ..trees.walk import listed
from . import DONE, INTERRUPTED, NOT_ALL, Plan, say
from .pipe import make_veil
from .progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..trees.record import Result, Results
    from ..trees.walk import Found
    from ..veil import Veil

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
    AddCommon = Callable[[argparse.ArgumentParser], None]
    # source, target, files in there (None: all), output's name, one file that was named
    Job = tuple[str, str | None, Iterable[Found] | None, bytes | None, bool]

SHOWN_FAILURES = 20  # the report has the others

_BOTH = (
    ("--report", "report", "FILE", "write a report: JSON Lines, one object a file"),
    ("--resume", "resume", None, "go on from the report of a run that was cut off"),
    ("--report-paths", "report_paths", None, "show paths of inputs, in the report and here"),
    ("--report-edits", "report_edits", None, "list every changed value in the report, without it"),
    (
        "--crosswalk",
        "crosswalk",
        "FILE",
        "write old and new IDs and UIDs (CSV, mode 0600); with it the work can be undone",
    ),
    ("--quarantine", "quarantine", "DIR", "copy the inputs that fail into a folder, as they are"),
    ("--durable", "durable", None, "hold against a power cut, not only against a kill (slow)"),
)
_COPY = (
    (
        "--names",
        "names",
        "TEMPLATE",
        "names of outputs, from new values: {StudyInstanceUID}, {SeriesInstanceUID}, "
        "{SOPInstanceUID}, {PatientID}, {Mac}; default: the three UIDs as folders and file",
    ),
    ("--keep-names", "keep_names", None, "outputs are called as inputs; names may identify people"),
    ("--overwrite", "overwrite", None, "replace files that stand in the place of an output"),
    ("--nested", "nested", None, "allow one of the folders to lie inside the other"),
    ("--others", "others", None, "copy files that are not DICOM as they are; with --keep-names"),
    ("--verify", "verify", None, "compare each copy with its input before it gets its name"),
    ("--dicomdir", "dicomdir", None, "take DICOMDIRs too; by default they are left out"),
    ("--keep-times", "keep_times", None, "outputs get the modification times of inputs"),
    ("--keep-xattrs", "keep_xattrs", None, "outputs get the extended attributes of inputs"),
)
_PATCH = (("--hard-links", "hard_links", None, "patch files that have a second name too"),)

_COPY_TEXT = """\
Rewrite a file, or all DICOM files of a folder, into another place. The header is rewritten in
memory, the kernel copies the rest. An output appears under its name when it is whole; nothing is
overwritten unasked. Files that are not DICOM are skipped; a file that fails is listed and stops no
other."""
_PATCH_TEXT = """\
Rewrite files and folders in place. A file is touched once all of it was understood, and then only
where it changes. A journal on disk makes sure that no file stays half patched: after a kill, give
the same command again."""


def add_copy(commands: Commands, add_common: AddCommon) -> None:
    parser = _parser(commands, "copy", "a file or a folder into another place", _COPY_TEXT)
    parser.add_argument("source", metavar="SRC", help="a file or a folder")
    parser.add_argument("target", metavar="DST", help="a file, or a folder")
    _add(parser, _COPY)
    _add_rest(parser, run_copy, add_common)


def add_patch(commands: Commands, add_common: AddCommon) -> None:
    parser = _parser(commands, "patch", "files and folders in place", _PATCH_TEXT)
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a file or a folder")
    _add(parser, _PATCH)
    _add_rest(parser, run_patch, add_common)


def _add_rest(
    parser: argparse.ArgumentParser, command: Callable[[Plan], int], add_common: AddCommon
) -> None:
    """What both commands have."""
    _add(parser, _BOTH)
    _add_shared(parser)
    add_common(parser)
    parser.set_defaults(command=command)


def _parser(commands: Commands, name: str, words: str, text: str) -> argparse.ArgumentParser:
    import argparse

    return commands.add_parser(
        name, help=words, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def _add(
    parser: argparse.ArgumentParser, options: tuple[tuple[str, str, str | None, str], ...]
) -> None:
    import argparse

    for name, stored, value, words in options:
        kind: dict[str, Any] = {"metavar": value} if value else {"action": "store_true"}
        parser.add_argument(name, dest=stored, default=argparse.SUPPRESS, help=words, **kind)


def _add_shared(parser: argparse.ArgumentParser) -> None:
    import argparse

    def add(*names: str, **options: Any) -> None:
        parser.add_argument(*names, default=argparse.SUPPRESS, **options)

    add("-j", "--jobs", type=int, metavar="N", help="processes that work (default: 1)")
    add(
        "--files-from",
        metavar="FILE",
        help="take only the files that FILE lists, one path a line, in the folder; - for standard "
        "input",
    )
    add("-0", "--null", action="store_true", help="the list's paths end in NUL, not in a line end")
    add(
        "--progress",
        choices=("bar", "plain"),
        help="how to show progress (default: a bar on a terminal, nothing elsewhere)",
    )
    add("--no-progress", dest="progress", action="store_const", const="none", help="show none")


# ------------------------------------------------------------------------------------ what is done


def run_copy(plan: Plan) -> int:
    """Rewrite plan.source into plan.target; the exit status."""
    if os.path.isdir(plan.source):
        return _run_all(plan, [(plan.source, plan.target, _list(plan, plan.source), None, False)])
    if plan.files_from is not None:
        raise UsageError("a list of files needs the folder that they lie in")
    from ..trees.single import check_apart, output_of, place_of

    source, name = place_of(plan.source)
    target, final = output_of(plan.target)
    check_apart(source, name, target, final)
    return _run_all(plan, [(source, target, [(name, "")], final, True)])


def run_patch(plan: Plan) -> int:
    """Rewrite plan.paths in place; the exit status."""
    folders = {os.path.realpath(path): path for path in plan.paths if os.path.isdir(path)}
    if plan.files_from is not None and (len(plan.paths) != 1 or not folders):
        raise UsageError("a list of files needs one folder that they lie in")
    files: dict[str, dict[Found, None]] = {}
    for path in plan.paths:
        if not os.path.isdir(path):
            folder, name = os.path.split(path)
            files.setdefault(os.path.realpath(folder), {})[os.fsencode(name), ""] = None
    _check_overlap([*map(os.path.dirname, folders), *files], folders)
    jobs: list[Job] = [(path, None, _list(plan, path), None, False) for path in folders.values()]
    jobs += [(folder, None, found, None, True) for folder, found in files.items()]
    if len(jobs) > 1 and (plan_options(plan).report or plan_options(plan).crosswalk):
        raise UsageError("a report or a crosswalk is of one folder: run once for each")
    return _run_all(plan, jobs)


def _check_overlap(places: Iterable[str], folders: Iterable[str]) -> None:
    """Raises UsageError for places inside of folders: there a file would be met twice, and one
    without a preamble could not tell."""
    known = set(folders)
    for place in places:
        while place not in known:
            place, below = os.path.dirname(place), place
            if place == below:
                break
        else:
            raise UsageError("one of the paths lies inside another")


def plan_options(plan: Plan) -> Options:
    """The options of a run that the plan sets. Raises UsageError."""
    given = vars(plan)
    return Options(**{name: given[name] for name in Options.__annotations__ if name in given})


def _list(plan: Plan, folder: str) -> Iterable[Found] | None:
    if plan.files_from is None:
        return None
    source = open(0 if plan.files_from == "-" else plan.files_from, "rb")
    return listed(source, os.fsencode(folder), plan.null)


def _run_all(plan: Plan, jobs: list[Job]) -> int:
    veil = make_veil(plan)
    options = plan_options(plan)
    # Files leave no circles behind: collecting rarely saves a tenth of the time, in workers too.
    gc.set_threshold(50_000)
    stop = StopFlag()
    status = DONE
    with _Signals(stop) as signals:
        for job in jobs:
            summary = _run_one(veil, plan, options, job, stop)
            if not summary.all_done:
                status = NOT_ALL
            if stop:
                break
    if signals.number:
        return INTERRUPTED if signals.number == signal.SIGINT else 128 + signals.number
    return status


def _run_one(veil: Veil, plan: Plan, options: Options, job: Job, stop: StopFlag) -> Summary:
    source, target, found, final, single = job
    failures: list[str] = []
    total = None if found is not None else source

    def see(results: Results) -> None:
        for result in results.files:
            if result.outcome == FAILED and len(failures) < SHOWN_FAILURES:
                failures.append(_failure(result, options.report_paths))
            elif single and result.outcome == SKIPPED:  # it was asked for by its name
                failures.append(result.reason)
        progress.see(results)

    with Progress("none" if plan.quiet or single else plan.progress, total) as progress:
        summary = run(
            veil, source, target, options,
            found=found, final=final, single=single, on_batch=see, stop=stop,
        )  # fmt: skip
    for line in failures:
        say(line)
    if not plan.quiet:
        _say_summary(summary, len(failures), single)
    if single and summary.outcomes[SKIPPED]:
        summary.outcomes[FAILED] += summary.outcomes[SKIPPED]
    return summary


def _failure(result: Result, with_path: bool) -> str:
    error = result.more["error"] if result.more else {}
    place = [os.fsdecode(result.relative)] if with_path else []
    if error.get("offset") is not None:
        place.append(f"offset {error['offset']}")
    if error.get("path"):
        place.append(error["path"])
    return ": ".join(part for part in (", ".join(place), error["reason"]) if part)


def _say_summary(summary: Summary, shown: int, single: bool) -> None:
    if summary.fatal:
        say(f"stopped early: {summary.fatal}")
    for note, count in summary.warnings.items():
        say(f"note: {count} x {note}")
    if single:
        return
    outcomes = summary.outcomes
    if outcomes[FAILED] > shown:
        say(f"... and {outcomes[FAILED] - shown} more; --report lists all")
    parts = [f"{outcomes[name]} {name}" for name in (REWRITTEN, SAME, COPIED) if outcomes[name]]
    if outcomes[SKIPPED]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in summary.reasons.items())
        parts.append(f"{outcomes[SKIPPED]} skipped ({reasons})")
    if outcomes[FAILED]:
        parts.append(f"{outcomes[FAILED]} failed")
    if summary.before:
        parts.append(f"{summary.before} done before")
    rate = summary.files / summary.seconds if summary.seconds else 0
    megabytes = summary.bytes_in / 1e6
    say(
        f"{', '.join(parts) or 'no files'}; {megabytes:.1f} MB in {summary.seconds:.1f} s "
        f"({rate:.0f} files/s)"
    )
    if DIRECTORY in summary.reasons:
        say(
            "a DICOMDIR names the files of its folder, so it was left out: dcmmkdir of DCMTK makes "
            "a new one, --dicomdir takes it along"
        )
    if summary.interrupted:
        say("interrupted; the same command with --report FILE --resume goes on")


class _Signals:
    """While a run goes on, a signal asks it to finish what it has in hand; a second one ends it."""

    def __init__(self, stop: StopFlag) -> None:
        self.number = 0
        self._stop = stop
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays what it is
                self._before[number] = signal.signal(number, self._see)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _see(self, number: int, _frame: object) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.number:
            raise SystemExit(128 + number)
        self.number = number
        self._stop.set()
