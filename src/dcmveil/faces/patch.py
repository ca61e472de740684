"""The patch face: first the whole file is understood, reading headers and jumping over bulk; then
the changed spans are known, and nothing was touched yet."""

from __future__ import annotations

import os

from .. import core
from ..errors import FileError
from .files import AFTER_SKIP, HEAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..report import Report
    from ..session import Session
    from .files import Check

    Note = Callable[[int, bytes], None]

# Spans with fewer equal bytes between them are written as one: the kernel writes whole pages.
GAP = 4096


def plan(session: Session, file: int, note: Note, check: Check) -> Report:
    """Read a file and call `note` with (absolute offset, new bytes) for each span that changes, in
    order. Raises DicomError, FileError for a file that would change its length, OSError, and
    whatever `check` raises."""
    size = os.fstat(file).st_size
    at = 0
    ask = HEAD
    old = bytearray()  # as read, from the first byte that has not come back rewritten
    settled = 0  # absolute offset of old[0]
    while not session.done:
        if session.skip:
            ask = AFTER_SKIP
            check()
            n = max(0, min(session.skip, size - at))  # 0: it is shorter than it says
            session.passed(n)
            at += n
            settled += n
            continue
        with session.room() as room:
            n = os.preadv(file, [room[:ask]], at)
            old += room[:n]
        at += n
        ask *= 2
        for data in session.push(n, at == size):
            if session.deflated:
                raise FileError("a deflated data set would change its length: copy it instead")
            n = len(data)
            with memoryview(old) as before:
                for start, end in core.differences(before[:n], data, GAP):
                    note(settled + start, bytes(data[start:end]))
            del old[:n]
            settled += n
    return session.report
