"""The compiled core fed some bytes at a time: what is counted and what is timed are one loop."""

from __future__ import annotations

from dcmveil import core


def walk(rewriter: core.Rewriter, whole: memoryview, size: int) -> None:
    """All of an input, in a window that gets `size` bytes more at a time. No byte is moved: what a
    copy costs is another thing. The turns of the window are Python, and their time counts, so
    there is as little of it as can be."""
    step, drop, total = rewriter.step, rewriter.drop, len(whole)
    base, end = 0, size
    while True:
        if end > total:
            end = total
        status = step(whole[base:end], end - base, end == total)
        if status == core.SYNTAX:
            rewriter.set_encoding(core.UNKNOWN)
        elif status == core.DONE:
            return
        else:
            settled = rewriter.position
            drop(settled - base)
            base = settled
            end = (end if end > base else base) + size
