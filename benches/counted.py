"""The work that instructions.py counts; run under callgrind, with a folder of inputs.

Little but dcmveil is imported, since all is thirty times slower here. Each section begins and ends
with a call of getsid, at which callgrind writes down its counts.
"""

from __future__ import annotations

import gc
import itertools
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from windows import walk

import dcmveil
from dcmveil import core

KEY = bytes(range(32))
WINDOW = 4096
LOOPS = 20  # of what takes so few instructions that the section itself would count
FILES = 64  # of a tree
_numbers = itertools.count()


def core_whole(veil: dcmveil.Veil, data: bytes) -> Callable[[], object]:
    """The core over an input that is all in the window."""
    window = bytearray(data)
    rewriter = core.Rewriter(veil.profile.rules, _same)

    def run() -> None:
        status = rewriter.step(window, len(window), True)
        if status == core.SYNTAX:
            rewriter.set_encoding(core.UNKNOWN)
            status = rewriter.step(window, len(window), True)
        assert status == core.DONE

    return run


def core_windows(veil: dcmveil.Veil, data: bytes) -> Callable[[], object]:
    """The same with a window that gets 4 KiB more at a time."""
    whole = memoryview(bytearray(data))
    rewriter = core.Rewriter(veil.profile.rules, _same)
    return lambda: walk(rewriter, whole, WINDOW)


def file_session(veil: dcmveil.Veil, data: bytes) -> Callable[[], object]:
    """A session as the faces use it, for one file; its UIDs are in the cache."""

    def run() -> None:
        at = 0
        session = veil.session()
        while not session.done:
            if session.skip:
                n = min(session.skip, len(data) - at)
                at += n
                session.passed(n)
                continue
            with session.room() as room:
                n = min(len(room), len(data) - at)
                room[:n] = data[at : at + n]
            at += n
            for _ in session.push(n, at == len(data)):
                pass

    return run


def file_plan(veil: dcmveil.Veil, data: bytes) -> Callable[[], object]:
    """The ordinary way from an open file to the records of a journal; its UIDs are in the cache."""
    file = os.memfd_create("input")
    os.write(file, data)
    ordinary = veil.ordinary()
    return lambda: ordinary.plan(file, b"path", bytearray())


def tree(veil: dcmveil.Veil, data: bytes) -> Callable[[], object]:
    """A folder of files with UIDs of their own, patched in place with a journal."""
    folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
    old = inputs_uid(data)
    for number in range(FILES):
        uid = old[:-7] + b"%07d" % (1_000_000 + next(_numbers))
        (folder / str(number)).write_bytes(data.replace(old, uid))
    return lambda: veil.tree(folder)


def inputs_uid(data: bytes) -> bytes:
    """The SOP Instance UID, in explicit VR little endian."""
    at = data.index(b"\x08\x00\x18\x00UI") + 8
    return data[at : at + int.from_bytes(data[at - 2 : at], "little")].rstrip(b"\0")


def new_veil(veil: dcmveil.Veil, data: bytes) -> Callable[[], object]:
    """Tables read, rules frozen."""
    return lambda: dcmveil.Veil(key=KEY)


def _same(asks: list[core.Ask]) -> list[core.Answer]:
    return [value for _, value, _, _ in asks]


def main() -> None:
    """`folder work...`: the bytes of each work are in a file of its name there."""
    folder = Path(sys.argv[1])
    veil = dcmveil.Veil(key=KEY)
    gc.disable()
    for name in sys.argv[2:]:
        kind, _, _ = name.partition("-")
        make = globals()[_KINDS[kind]]
        data = (folder / name).read_bytes()
        loops = LOOPS if kind in ("file", "plan") else 1
        make(veil, data)()
        runs = [make(veil, data) for _ in range(loops)]
        os.getsid(0)
        for run in runs:
            run()
        os.getsid(0)


_KINDS = {
    "whole": "core_whole",
    "windows": "core_windows",
    "file": "file_session",
    "plan": "file_plan",
    "tree": "tree",
    "veil": "new_veil",
}

if __name__ == "__main__":
    main()
