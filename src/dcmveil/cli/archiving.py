"""`dcmveil tar`: a tar or a zip, member by member."""

from __future__ import annotations

import os
import stat

from ..errors import UsageError
from ..faces.files import TEMPORARY, publish, remove
from ..trees.record import line_of
from . import say
from .pipe import check_standard_output, make_veil, same_file, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any, BinaryIO

    from ..faces.archive import ArchiveReport
    from ..veil import Veil
    from . import Plan

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_TOTALS = ("rewritten", "copied", "skipped", "skips", "failed", "complete")
# ending of OUT -> what it is to be; the longer first
_ENDINGS = {
    ".tar.gz": ("tar", "gzip"),
    ".tgz": ("tar", "gzip"),
    ".tar.zst": ("tar", "zstd"),
    ".tzst": ("tar", "zstd"),
    ".tar": ("tar", "none"),
    ".zip": ("zip", None),
}


def add_parser(commands: Commands, add_common: Callable[[argparse.ArgumentParser], None]) -> None:
    """The subcommand and its options."""
    import argparse

    parser = commands.add_parser(
        "tar",
        help="a tar or zip, member by member",
        description="De-identify every DICOM member of a tar (plain, gzip, zstd) or zip as it "
        "streams past, in bounded memory. Members are named by their new UIDs; owners, times and "
        "comments are left out, and so is what is no DICOM. A member that is refused is left out "
        "and listed, and the next one follows: then the exit status is 1.",
        epilog="docs/archives.md says what happens to names, owners, times and links.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def add(*names: str, **options: object) -> None:
        # the defaults stand in Plan alone
        parser.add_argument(*names, default=argparse.SUPPRESS, **options)  # type: ignore[arg-type]

    add("input", metavar="IN", nargs="?", help="the archive; - or nothing: standard input")
    add("output", metavar="OUT", nargs="?", help="a new file; - or nothing: standard output")
    add(
        "--names",
        metavar="TEMPLATE",
        help="names of members, of text, slashes and the fields {StudyInstanceUID}, "
        "{SeriesInstanceUID}, {SOPInstanceUID}, {PatientID} (all new values) and {Mac}, a keyed "
        "hash of the old name; default: {StudyInstanceUID}/{SeriesInstanceUID}/"
        "{SOPInstanceUID}.dcm",
    )
    add("--keep-names", action="store_true", help="members keep their names, which may identify")
    add("--to", choices=("tar", "zip"), help="default: by the ending of OUT, else as IN")
    add(
        "--compress",
        choices=("none", "gzip", "zstd"),
        help="default: by the ending of OUT, else as IN; a zip is deflated, or stored with none",
    )
    add(
        "--others",
        action="store_true",
        help="copy members that are no DICOM as they are; needs --keep-names",
    )
    add("--dicomdir", action="store_true", help="rewrite a DICOMDIR, which is left out otherwise")
    add("--overwrite", action="store_true", help="replace OUT where it exists")
    add(
        "--report",
        metavar="FILE",
        help="write a report: JSON Lines, one object a member, a summary at the end",
    )
    add(
        "--report-paths",
        action="store_true",
        help="show names of members, in the report and in messages",
    )
    add_common(parser)
    parser.set_defaults(command=run_tar)


def run_tar(plan: Plan) -> int:
    """Rewrite the archive; the exit status."""
    veil = make_veil(plan)
    _choose_kind(plan)
    if plan.input == "-" and os.isatty(0):
        raise UsageError("standard input is a terminal; name an archive or send one in")
    source = 0 if plan.input == "-" else plan.input
    with open(source, "rb", buffering=0, closefd=source != 0) as src, _lines(plan) as lines:
        if plan.output == "-":
            report = _to_standard_output(veil, plan, src, lines)
        else:
            report = _to_file(veil, plan, src, lines)
        if lines is not None:
            told = {name: getattr(report, name) for name in _TOTALS}
            lines.write(line_of({"summary": told}))
    if not plan.quiet:
        for line in _summary(report):
            say(line)
    if report.surplus:
        say("something stands behind the end of the archive, and was left out")
    return 0 if report.complete else 1


def _lines(plan: Plan) -> AbstractContextManager[BinaryIO | None]:
    """The report, a new file for its owner alone."""
    from contextlib import nullcontext

    if plan.report is None:
        return nullcontext()
    try:
        return open(plan.report, "xb", opener=lambda path, flags: os.open(path, flags, 0o600))
    except FileExistsError:
        raise UsageError("the report exists already, and is never overwritten") from None


def _choose_kind(plan: Plan) -> None:
    """By the ending of OUT, where nothing else is said."""
    for ending, (to, compress) in _ENDINGS.items():
        if plan.output.lower().endswith(ending):
            if plan.to is None:
                plan.to = to
            if plan.to == to and plan.compress is None:
                plan.compress = compress
            return


def _rewrite(
    veil: Veil, plan: Plan, src: BinaryIO, dst: BinaryIO, lines: BinaryIO | None
) -> ArchiveReport:
    def tell(record: dict[str, Any], name: bytes) -> None:
        if lines is not None:
            path = {"path": os.fsdecode(name)} if plan.report_paths else {}
            lines.write(line_of(record | path))
        error = record["error"]
        if error is not None:
            shown = f" ({_printable(name)})" if plan.report_paths else ""
            say(f"member {record['number']}{shown}: {_told(**error)}")

    return veil.tar(
        src,
        dst,
        names=plan.names,
        keep_names=plan.keep_names,
        to=plan.to,
        compress=plan.compress,
        others=plan.others,
        dicomdir=plan.dicomdir,
        on_member=tell,
    )


def _told(offset: int | None, path: str, reason: str) -> str:
    from ..errors import DicomError

    return str(DicomError(offset, path, reason))


def _printable(name: bytes) -> str:
    """A name in which nothing is left that a terminal might obey."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _summary(report: ArchiveReport) -> Iterator[str]:
    told = [f"{report.rewritten} rewritten"]
    if report.copied:
        told.append(f"{report.copied} copied as they are")
    if report.skipped:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in report.skips.items())
        told.append(f"{report.skipped} skipped ({reasons})")
    if report.failed:
        told.append(f"{report.failed} failed")
    yield f"members: {', '.join(told)}"
    for line in report.total.warnings():
        yield f"note: {line}"


# -- where it goes -------------------------------------------------------------------------------


def _to_standard_output(
    veil: Veil, plan: Plan, src: BinaryIO, lines: BinaryIO | None
) -> ArchiveReport:
    check_standard_output()
    if same_file(src.fileno(), 1):
        raise UsageError("the input and standard output are the same file")
    with open(1, "wb", buffering=0, closefd=False) as dst:
        return whole(dst, lambda: _rewrite(veil, plan, src, dst, lines))


def _to_file(veil: Veil, plan: Plan, src: BinaryIO, lines: BinaryIO | None) -> ArchiveReport:
    """Under a temporary name in the same folder, and under its own once it is whole."""
    import tempfile

    _check_free(plan, src)
    folder = os.fsencode(os.path.dirname(plan.output) or ".")
    file, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=folder)
    try:
        with open(file, "wb", buffering=0) as dst:
            report = _rewrite(veil, plan, src, dst, lines)
            _open_up(file)
        if not publish(temporary, os.fsencode(plan.output), replace=plan.overwrite):
            raise UsageError(_TAKEN)
    except BaseException:
        remove(temporary)
        raise
    return report


def _check_free(plan: Plan, src: BinaryIO) -> None:
    try:
        there = os.lstat(plan.output)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(there.st_mode):
        raise UsageError("OUT is not a regular file; anything else goes to standard output")
    if os.path.samestat(there, os.fstat(src.fileno())):
        raise UsageError("IN and OUT are the same file")
    if not plan.overwrite:
        raise UsageError(_TAKEN)


_TAKEN = "OUT exists already; --overwrite replaces it"


def _open_up(file: int) -> None:
    """The mode of any new file: a temporary one is for its owner alone."""
    mask = os.umask(0o077)  # it can only be read by setting it
    os.umask(mask)
    try:
        os.fchmod(file, 0o666 & ~mask)
    except OSError:
        pass  # a file system without modes
