"""One input, run in every way there is to run it: all must say the same.

check_case(data, expected)      expected: the output, or the Refusal
check_case(data)                only that all ways and the twin agree; returns what they say
"""

from __future__ import annotations

import functools
import io
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from dcmveil import DicomError, Report, Session, Veil, core
from dcmveil.faces.stream import stream
from twin import Answers, rewrite
from twin_rules import default_rules
from twin_wire import Refused

KEY = bytes(range(32))
ALL_SPLITS = 2048  # bytes: an input up to here is split at every byte
EXT = Path(__file__).parents[1] / "ext/dcmveil"


def fault_names() -> list[str]:
    """The core's faults, in the order of its enumeration."""
    found = re.search(r"# Fault\n(.*?)FAULT_COUNT", (EXT / "state.pxd").read_text(), re.DOTALL)
    assert found
    return found[1].split()


# the words of each fault, by its name, and of what is refused outside the machine
WORDS = dict(zip(fault_names(), core.REASONS, strict=True)) | {
    "OTHER_MARK": "it bears the mark of an earlier run, made with another key or profile",
    "BROKEN_MARK": "it bears the mark of an earlier run, and was changed since",
    "HOLD_LIMIT": "more bytes stand before the end of the patient's attributes than are held",
    "DIRECTORY_LIMIT": "a DICOMDIR is held as a whole, and this one has more bytes than are held",
    "NOT_A_DATA_SET": "this transfer syntax is not registered, or not one of a data set",
    "NO_BLANK_IMAGE": "no blank image of the same size and transfer syntax fits this icon",
    "BROKEN_DEFLATE": "the deflated data set that starts here cannot be inflated",
    "INFLATE_LIMIT": "the deflated data set that starts here inflates to more than the limit",
    "CUT_DEFLATE": "the deflated data set ends too early",
}
# what the twin calls the last of these
OF_TWIN = {
    "OTHER_MARK": "MARK", "BROKEN_MARK": "MARK", "NOT_A_DATA_SET": "SYNTAX",
    "NO_BLANK_IMAGE": "ICON", "BROKEN_DEFLATE": "DEFLATE", "CUT_DEFLATE": "DEFLATE",
}  # fmt: skip
NAMES = {words: name for name, words in WORDS.items()}


@dataclass(frozen=True)
class Refusal:
    """`fault` is a name of WORDS. `path` leads to the element as messages show it."""

    fault: str
    offset: int | None
    path: str = ""


@dataclass
class Run:
    result: bytes | Refusal
    written: bytes  # until the refusal
    report: str = ""


@functools.cache
def veil(accept_cut_pixels: bool = False) -> Veil:
    return Veil("basic", key=KEY, accept_cut_pixels=accept_cut_pixels)


@functools.cache
def answers() -> Answers:
    return Answers(KEY)


class Pieces:
    """A source that gives its data in pieces, as a pipe does. A read never crosses an edge."""

    def __init__(self, data: bytes, edges: Iterable[int]) -> None:
        self._pieces = [data[a:b] for a, b in pairwise([0, *edges, len(data)])]
        self._pieces.reverse()

    def read(self, size: int, /) -> bytes:
        while self._pieces and not self._pieces[-1]:
            self._pieces.pop()
        if not self._pieces:
            return b""
        piece = self._pieces.pop()
        self._pieces.append(piece[size:])
        return piece[:size]


def refusal_of(error: DicomError) -> Refusal:
    return Refusal(NAMES[error.reason], error.offset, error.path)


def run_session(session: Session, src: Pieces) -> Run:
    """Through the stream face."""
    out = io.BytesIO()
    try:
        report = stream(session, src, out)
    except DicomError as error:
        return Run(refusal_of(error), out.getvalue())
    return Run(out.getvalue(), out.getvalue(), summary(report))


def summary(report: Report) -> str:
    counts = sorted((report.actions | report.notes).items())
    return f"{report.elements} {counts} {report.uids} {report.second_run}"


def run_reader(of: Veil, data: bytes, sizes: Sequence[int]) -> Run:
    reader = of.reader(io.BytesIO(data))
    out = bytearray()
    try:
        turn = 0
        while part := reader.read(sizes[turn % len(sizes)]):
            out += part
            turn += 1
    except DicomError as error:
        return Run(refusal_of(error), bytes(out))
    return Run(bytes(out), bytes(out), summary(reader.report))


def run_bytes(of: Veil, data: bytes) -> Run:
    try:
        result = of.bytes(data)
    except DicomError as error:
        return Run(refusal_of(error), b"")
    return Run(result, result)


def run_twin(data: bytes) -> bytes | Refused:
    try:
        return rewrite(data, default_rules(), answers())
    except Refused as refused:
        return refused


def runs(data: bytes, splits: int, accept_cut_pixels: bool) -> Iterable[tuple[str, Run]]:
    of = veil(accept_cut_pixels)
    n = len(data)
    of._engine.uids.take_counts()  # of a refused input before this one

    def session(window: int, edges: Iterable[int]) -> Run:
        made = Session(of._engine, accept_cut_pixels=accept_cut_pixels, window=window)
        return run_session(made, Pieces(data, edges))

    yield "whole", session(1 << 18, [])
    yield "bytes", run_bytes(of, data)
    yield "reader, 1 and 4096", run_reader(of, data, [1, 4096])
    yield "reader, 7", run_reader(of, data, [7])
    for window in (1, 13, 64, 1024):
        yield f"window of {window}", session(window, [])
    if n <= 8 * ALL_SPLITS:
        yield "byte by byte", session(64, range(1, n))
        yield "three by three", session(1 << 14, range(3, n, 3))
    chosen = range(1, n)
    if len(chosen) > splits:
        chosen = sorted(random.Random(n).sample(chosen, splits))  # type: ignore[assignment]
    for edge in chosen:
        yield f"split at {edge}", session(512, [edge])


def check_case(
    data: bytes,
    expected: bytes | Refusal | None = None,
    *,
    splits: int | None = None,
    accept_cut_pixels: bool = False,
    loose: bool = False,
) -> bytes | Refusal:
    """Assert that every way of running gives `expected`, and the twin too; returns it.

    splits  how many splits in two are tried, all of them for a short input
    loose   for a refusal it is enough that every way refuses
    """
    if splits is None:
        splits = ALL_SPLITS if len(data) <= ALL_SPLITS else 32
    first: Run | None = None
    for name, run in runs(data, splits, accept_cut_pixels):
        first = first or run
        if loose and isinstance(first.result, Refusal):
            assert isinstance(run.result, Refusal), f"{name} does not refuse: {first.result}"
            continue
        if isinstance(run.result, bytes) and isinstance(first.result, bytes):
            at = difference(run.result, first.result)
            assert at is None, f"{name}: other bytes from {at} on"
        assert run.result == first.result, name
        assert run.report in ("", first.report), f"{name}: other counts"
        shorter = min(len(run.written), len(first.written))
        assert run.written[:shorter] == first.written[:shorter], f"{name}: written before failing"
    assert first is not None
    result = first.result
    if expected is not None:
        assert result == expected
    check_twin(data, result, strict=expected is not None, accepts_cut=accept_cut_pixels)
    return result


def check_twin(data: bytes, result: bytes | Refusal, strict: bool, accepts_cut: bool) -> None:
    """strict: a refusal must have the same fault and place."""
    theirs = run_twin(data)
    if isinstance(theirs, Refused):
        if accepts_cut and theirs.fault == "TRUNCATED":
            return  # the twin knows nothing of that
        assert isinstance(result, Refusal), f"only the twin refuses: {theirs}"
        if strict:
            assert OF_TWIN.get(result.fault, result.fault) == theirs.fault
            assert theirs.offset in (result.offset, None)
        return
    assert not isinstance(result, Refusal), f"the twin does not refuse: {result}"
    at = difference(result, theirs)
    assert at is None, f"the twin has other bytes from {at} on"


def difference(a: bytes, b: bytes) -> int | None:
    """Offset of the first byte that differs."""
    if a == b:
        return None
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))
