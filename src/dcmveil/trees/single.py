"""One file that was named, by the way of the trees."""

from __future__ import annotations

import os

from ..errors import FileError, UsageError
from .record import FAILED, SKIPPED, Result
from .run import Options, run
from .walk import SYMLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..report import Report
    from .tasks import Veils

    Path = str | os.PathLike[str]


def place_of(src: Path) -> tuple[str, bytes]:
    """(folder, name) of the file behind a path that may be a symbolic link."""
    folder, name = os.path.split(os.path.realpath(src))
    return folder, os.fsencode(name)


def output_of(dst: Path) -> tuple[str, bytes | None]:
    """(folder, name) of an output; None: it is named by its new UIDs."""
    path = os.fspath(dst)
    if os.path.isdir(path) or path.endswith("/"):
        return path, None
    folder, name = os.path.split(path)
    return folder or ".", os.fsencode(name)


def check_apart(source: str, relative: bytes, target: str, final: bytes | None) -> None:
    """Raises UsageError for an output that is its own input."""
    if final is not None:
        one = os.path.join(os.fsencode(source), relative)
        if one == os.path.realpath(os.path.join(os.fsencode(target), final)):
            raise UsageError("source and target are one file; dcmveil patch rewrites in place")


def copy(veil: Veils, src: Path, dst: Path, options: dict[str, Any]) -> Report:
    """See Veil.copy."""
    source, relative = place_of(src)
    target, final = output_of(dst)
    check_apart(source, relative, target, final)
    return _only(veil, source, target, Options(**options), relative, final)


def patch(veil: Veils, path: Path, options: dict[str, Any]) -> Report:
    """See Veil.patch."""
    if os.path.islink(path):
        raise FileError(SYMLINK)
    source, relative = place_of(path)
    return _only(veil, source, None, Options(**options), relative, None)


def _only(
    veil: Veils, source: str, target: str | None,
    options: Options, relative: bytes, final: bytes | None,
) -> Report:  # fmt: skip
    if options.jobs != 1:
        raise UsageError("one file is the work of one process")
    results: list[Result] = []
    run(
        veil, source, target, options,
        found=[(relative, "")], final=final, single=True, on_file=results.append,
    )  # fmt: skip
    for result in results:
        if result.relative != relative:
            continue  # an earlier run was cut off in this folder
        if result.exception is not None and result.outcome in (FAILED, SKIPPED):
            raise result.exception
        if result.report is not None:
            return result.report
        raise FileError(result.reason or "not rewritten")
    raise UsageError("this file was done by the run that is resumed")
