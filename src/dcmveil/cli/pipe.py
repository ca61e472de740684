"""The pipe: standard input to standard output."""

from __future__ import annotations

import gc
import os
import stat

from ..errors import UsageError
from ..veil import HOLD_LIMIT, INFLATE_LIMIT, NO_KEY, Veil
from . import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO, TypeVar

    from ..pseudonyms import PseudonymTable
    from ..report import Report
    from . import Plan

    Outcome = TypeVar("Outcome")

SPOOL = 16 << 20  # bytes that --atomic holds in memory before it takes a temporary file


def run_pipe(plan: Plan) -> int:
    """De-identify standard input to standard output; the exit status."""
    veil = make_veil(plan)
    check_standard_output()
    if same_file(0, 1):
        raise UsageError("standard input and standard output are the same file")
    with (
        open(0, "rb", buffering=0, closefd=False) as src,
        open(1, "wb", buffering=0, closefd=False) as dst,
    ):
        run = _run_atomic if plan.atomic else Veil.stream
        report = whole(dst, lambda: run(veil, src, dst))
    if not plan.quiet:
        for line in report.warnings():
            say(f"note: {line}")
    return 0


def check_standard_output() -> None:
    """Raises UsageError for a terminal."""
    if os.isatty(1):
        raise UsageError("standard output is a terminal; send the data to a file or a pipe")


def make_veil(plan: Plan) -> Veil:
    """The veil that the plan's options describe. Raises UsageError.

    Nothing that was made until it returns is collected any more: it stays to the end.
    """
    from ..keys import new_key, read_key

    if plan.ephemeral_key:
        key = new_key()
    elif plan.key_file:
        key = read_key(plan.key_file)
    else:
        raise UsageError(f"{NO_KEY} (--key-file, DCMVEIL_KEY_FILE, --ephemeral-key)")
    veil = Veil(
        plan.profile,
        options=plan.options,
        edition=plan.edition,
        key=key,
        uid_root=plan.uid_root,
        pseudonyms=_pseudonyms(plan.pseudonyms),
        accept_cut_pixels=plan.accept_truncated,
        ignore_mark=plan.ignore_mark,
        hold_limit=plan.hold_limit or HOLD_LIMIT,
        inflate_limit=plan.inflate_limit or INFLATE_LIMIT,
    )
    gc.freeze()
    gc.enable()
    return veil


def _pseudonyms(path: str | None) -> PseudonymTable | None:
    if path is None:
        return None
    from ..pseudonyms import load_table

    return load_table(path)


def same_file(one: int, other: int) -> bool:
    """Whether two descriptors are of one regular file."""
    a, b = os.fstat(one), os.fstat(other)
    return stat.S_ISREG(a.st_mode) and (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)


def whole(dst: BinaryIO, run: Callable[[], Outcome]) -> Outcome:
    """Run; on an error, cut the output back to where it began, where it is a file."""
    start = _start_of(dst.fileno())
    try:
        return run()
    except BaseException:  # also a signal, or a bug of ours: nothing half-written stays
        if start is not None:
            os.ftruncate(dst.fileno(), start)
            os.lseek(dst.fileno(), start, os.SEEK_SET)
        raise


def _start_of(file: int) -> int | None:
    """Where writing will begin in a regular file, None for anything that cannot be cut back."""
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        return None
    here = os.lseek(file, 0, os.SEEK_CUR)
    import fcntl

    return status.st_size if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_APPEND else here


def _run_atomic(veil: Veil, src: BinaryIO, dst: BinaryIO) -> Report:
    """Nothing leaves before all was understood."""
    import shutil
    import tempfile

    with tempfile.SpooledTemporaryFile(SPOOL) as spool:
        report = veil.stream(src, spool)
        spool.seek(0)
        shutil.copyfileobj(spool, _Whole(dst), 1 << 18)
    return report


class _Whole:
    """A raw file whose writes are never short."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        from ..faces.stream import write_all

        write_all(self._file, data)
        return len(data)
