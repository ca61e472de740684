"""The copy face: the header is rewritten in memory, bulk goes from file to file in the kernel."""

from __future__ import annotations

import os

from .files import AFTER_SKIP, HEAD, KernelCopy, write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..report import Report
    from ..session import Session
    from .files import Check


def copy(session: Session, src: int, dst: int, kernel: KernelCopy, check: Check) -> Report:
    """Rewrite the file src into the empty file dst, both open and at their start. Raises
    DicomError, OSError, and whatever `check` raises; then dst holds a part of the output."""
    size = os.fstat(src).st_size
    at = 0
    ask = HEAD
    while not session.done:
        if session.skip:
            ask = AFTER_SKIP
            check()
            n = kernel.bulk(src, dst, session.skip)
            session.passed(n)
            at += n
            continue
        with session.room() as room:
            n = os.readv(src, [room[:ask]])
        at += n
        ask *= 2
        for data in session.push(n, at == size):
            check()
            write_whole(dst, data)
    return session.report
