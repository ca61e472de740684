"""What must hold for any input whatever. `check` raises where it does not.

An input of the fuzzer is four bytes that say how to run, and the file:

    byte 0   bits 0-2: profile, 3: accept cut pixels, 4-5: what is put around the file,
             6: the rest is no file but a recipe for one (see recipe.py)
    byte 1   transfer syntax of what is put around it
    byte 2   how the input is split
    byte 3   where, and the size of the window

`BULK` in the file stands for bytes that the fuzzer need not carry about. Everything is a function
of the input alone, so that a finding is found again.
"""

from __future__ import annotations

import ctypes
import functools
import io
import random
import zlib
from collections.abc import Iterator

from build import (
    DEFLATED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_BASELINE,
    E,
    encoding_of,
    part10,
)
from cases import KEY, Pieces, Refusal, Run, check_twin, difference, refusal_of, run_session
from dcmveil import DicomError, Session, Veil, core, session
from dcmveil.faces.stream import stream
from dcmveil.inspect import Edit, edits
from dcmveil.reasons import Reasons
from dcmveil.session import WINDOW
from fuzz.recipe import cook

RLE, J2K = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"
SYNTAXES = (
    EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED[0], JPEG_BASELINE, RLE, J2K, "1.2.3.4", "",
    "1.2.840.10008.1.2.4.999",
)  # fmt: skip
DICOMDIR = "1.2.840.10008.1.3.10"
PROFILES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("basic", ()),
    ("omidb", ()),
    ("basic", ("retain-longitudinal-modified-dates",)),
    ("basic", ("retain-safe-private", "retain-uids")),
    ("basic", ("retain-longitudinal-full-dates", "retain-patient-characteristics")),
    ("sup142", ()),
)
AS_IT_IS, PREFIXED, WITH_META, DIRECTORY = range(4)
BULK = bytes(range(256)) * 273 + bytes(112)  # 70,000: more than is seen whole
DICM = bytes(128) + b"DICM"
TWIN_EVERY = 4  # the twin is slow, and knows the profile basic alone
PLAN_EVERY = 4
UNKNOWN_VR = "unknown VR"  # zeroed, so its header may be read in more than one way then


@functools.cache
def veil(number: int, accept_cut: bool = False) -> Veil:
    name, options = PROFILES[number]
    return Veil(name, options=options, key=KEY, accept_cut_pixels=accept_cut)


class Exact(core.Rewriter):
    """A rewriter whose window ends where its bytes end, so that the address sanitizer sees every
    look past them."""

    def step(self, window: bytearray, filled: int, eof: bool) -> int:
        tight = (ctypes.c_char * filled).from_buffer_copy(memoryview(window)[:filled])
        try:
            return super().step(tight, filled, eof)
        finally:
            window[:filled] = memoryview(tight).cast("B")


class Case:
    """One input, taken apart."""

    def __init__(self, data: bytes) -> None:
        how, syntax, self.split, self.where = data[:4].ljust(4, b"\0")
        self.profile = (how & 7) % len(PROFILES)
        self.accept_cut = bool(how & 8)
        self.syntax = SYNTAXES[syntax % len(SYNTAXES)]
        body = data[4:]
        if how & 64:
            body = cook(body, encoding_of(self.syntax))
        self.file = self._file(body.replace(b"BULK", BULK, 1), how >> 4 & 3)

    def _file(self, body: bytes, around: int) -> bytes:
        if around == PREFIXED:
            return DICM + body
        if around in (WITH_META, DIRECTORY):
            meta = [
                E(0x00020002, "UI", DICOMDIR if around == DIRECTORY else "1.2.3"),
                E(0x00020010, "UI", self.syntax),
                E(0x00020016, "AE", "WARD7MR"),
            ]
            # part10 deflates what it encodes, and takes bytes as they are
            return part10([body], self.syntax, meta=meta)
        return body

    def session(self, window: int, **how: object) -> Session:
        return Session(
            veil(self.profile, self.accept_cut)._engine,
            accept_cut_pixels=self.accept_cut,
            window=window,
            **how,  # type: ignore[arg-type]
        )

    def edges(self) -> Iterator[int]:
        """Where the input is split for the second way of running."""
        n = len(self.file)
        way = self.split % 4
        if n > 600:
            way |= 1  # byte by byte takes too long
        if way == 0:
            yield from range(1, n)
        elif way == 1:
            yield min(self.where << 8 | self.split, n)
        elif way == 2:
            yield from range(self.split, n, 1 + self.split)
        else:
            chosen = random.Random(self.where).sample(range(n + 1), min(n, 5))
            yield from sorted(chosen)

    def window(self) -> int:
        return (1, 13, 64, 700)[self.where % 4]


def check(data: bytes) -> None:
    """Raises AssertionError, or whatever came out of the tool that is not a DicomError."""
    case = Case(data)
    of = veil(case.profile, case.accept_cut)
    of._engine.uids.take_counts()  # of a refused input before this one
    of._engine._spare.clear()  # what is found must be found again without the inputs before it
    session_of_whole = case.session(WINDOW)
    whole = run_session(session_of_whole, Pieces(case.file, []))
    packed = session_of_whole._packed
    _same(whole, _run_split(case), loose=packed is not None)
    if isinstance(whole.result, bytes):
        _check_output(case, whole.result, None if packed is None else packed.start)
    if zlib.crc32(data) % PLAN_EVERY == 1:
        _check_plan(case, whole, None if packed is None else packed.start)
    if case.profile == 0 and zlib.crc32(data) % TWIN_EVERY == 0:
        check_twin(case.file, whole.result, strict=False, accepts_cut=case.accept_cut)


def _run_split(case: Case) -> Run:
    plain = session.core.Rewriter
    session.core.Rewriter = Exact  # type: ignore[misc]
    try:
        return run_session(case.session(case.window()), Pieces(case.file, case.edges()))
    finally:
        session.core.Rewriter = plain  # type: ignore[misc]


def _same(whole: Run, split: Run, loose: bool) -> None:
    """loose: a refusal inside deflated bytes depends on how much of them had been inflated."""
    if loose and isinstance(whole.result, Refusal):
        assert isinstance(split.result, Refusal), f"only whole is refused: {whole.result}"
        return
    if isinstance(whole.result, bytes) and isinstance(split.result, bytes):
        at = difference(whole.result, split.result)
        assert at is None, f"split, other bytes from {at} on"
        assert whole.report == split.report, f"{whole.report}\n{split.report}"
    assert whole.result == split.result, f"{whole.result!r:.200} split: {split.result!r:.200}"
    shorter = min(len(whole.written), len(split.written))
    assert whole.written[:shorter] == split.written[:shorter], "written before failing"


def _check_output(case: Case, out: bytes, packed_at: int | None) -> None:
    before, after = (_plain(data, packed_at) for data in (case.file, out))
    assert len(before) == len(after), f"{len(before)} bytes became {len(after)}"
    # whoever looks on sees every element, which are read in another way when nobody does
    seen, trace, notes = _look_on(case, case.file)
    at = difference(seen, out)
    assert at is None, f"looked at, it has other bytes from {at} on"
    _check_spans(before, after, trace)
    if UNKNOWN_VR in notes:
        return
    try:
        twice, second, _ = _look_on(case, out)
    except DicomError as error:
        raise AssertionError(f"its own output is refused: {error}") from error
    assert _structure(trace) == _structure(second), "another structure"
    if out[128:132] == b"DICM":
        at = difference(twice, out)
        assert at is None, f"twice is not once, from {at} on"


def _plain(data: bytes, packed_at: int | None) -> bytes:
    if packed_at is None:
        return data
    return data[:packed_at] + zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[packed_at:])


def _look_on(case: Case, data: bytes) -> tuple[bytes, list[core.Trace], dict[str, int]]:
    trace: list[core.Trace] = []
    out = io.BytesIO()
    report = stream(case.session(WINDOW, trace=trace), io.BytesIO(data), out)
    return out.getvalue(), trace, report.notes


def _structure(trace: list[core.Trace]) -> list[tuple[object, ...]]:
    """Place, tag, VR, offset and length of every value and sequence."""
    return [
        (place, tag, vr, offset, total)
        for place, tag, vr, action, _, offset, done, _, total, _, _ in trace
        if done == 0 and action != core.WIPE
    ]


def _check_spans(before: bytes, after: bytes, trace: list[core.Trace]) -> None:
    """Bytes that differ belong to a value that was to change; or they are the preamble, or zeros
    behind the last value."""
    allowed = bytearray(before)
    if before[128:132] == b"DICM":
        allowed[:128] = after[:128]
    end = 0  # of the last value that is known; kept bulk is traced by its beginning alone
    for _, _, _, action, _, offset, _, length, _, _, new in trace:
        end = max(end, offset if action == core.KEEP else offset + length)
        if new is not None and action != core.KEEP:
            allowed[offset : offset + length] = after[offset : offset + length]
    for start, stop in core.differences(allowed, after, 1):
        assert start >= end, f"changed unasked: {start} to {stop}"
        assert not any(after[start:stop]), f"changed unasked: {start} to {stop}"


def _check_plan(case: Case, whole: Run, packed_at: int | None) -> None:
    """What `inspect` says is what a run does: its edits make the output of the input, it refuses
    where a run does, and the reason that it gives leads to the action that was taken."""
    of = veil(case.profile, case.accept_cut)
    plan: list[Edit] | None = None
    refused = None
    try:
        plan = list(edits(of, case.file, everything=True))
    except DicomError as error:
        refused = error
    if plan is None or isinstance(whole.result, Refusal):
        assert refused is not None, f"the plan is not refused: {whole.result}"
        assert refusal_of(refused) == whole.result or packed_at is not None
        return
    before, after = (_plain(data, packed_at) for data in (case.file, whole.result))
    new = bytearray(before)
    for edit in plan:
        assert len(edit.old) == len(edit.new), edit
        assert before[edit.offset :].startswith(edit.old), edit
        new[edit.offset : edit.offset + len(edit.new)] = edit.new
    at = difference(bytes(new), after)
    assert at is None, f"the plan has other bytes from {at} on"
    reasons = Reasons(of.profile)
    for entry in _look_on(case, case.file)[1]:
        _, tag, vr, taken, _, offset, done, *_ = entry
        if done or taken == core.WIPE:
            continue
        action, why = reasons.of(entry)
        if tag & 0xFFFF == 0:
            continue  # whether a group length was written as UN is not in the trace
        # zeros either way; a fragment does not look like the document that it might be part of
        zeros = taken == core.BLANK and core.VR_NAMES[vr] == "OB"
        assert action == taken or zeros, f"{tag:08X} at {offset}: {taken}, not {action}: {why}"
