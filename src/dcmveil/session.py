"""One input on its way through: the window, the hold before the barrier, skips and deflate.

The caller reads into `room()`, says how much with `push`, writes what comes back, and passes
`skip` bytes of input straight to the output. Nothing here reads or writes a file.

    window   |-- settled --|-- held --|-- free: room() --|

Two rewriters walk the same bytes. The scout goes ahead up to the barrier, the first top-level tag
after Patient ID, and changes nothing; then what it saw (transfer syntax, SOP class, run mark) is
known, and the second one starts at byte 0 and rewrites. Until the barrier all is held, because
the mark in the preamble depends on what comes before it. Of a DICOMDIR the scout sees all, since
any of its records may belong to a patient whose record stands behind it.
"""

from __future__ import annotations

from . import core
from .engine import AUDIO_CLASSES, DICOMDIR_CLASS
from .errors import DicomError
from .keys import BROKEN, MARK_BYTES, OTHER_PROFILE, OURS
from .report import Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .core import Answer, Ask, Trace
    from .directory import Directory
    from .engine import Answers, Crosswalk, Engine

    Watch = Callable[[int, bytes, bytes], None]

WINDOW = 1 << 18  # a pipe holds 64 KiB, a read of 256 KiB is near the best rate of the kernel
# Bytes held before the barrier. Real headers need kilobytes; some hold private bulk or thousands
# of references before the Patient ID.
HOLD_LIMIT = 64 << 20
# Bytes that a deflated data set may inflate to: deflate makes 1000 out of one, of blank masks too,
# so a ratio tells nothing. Memory is bounded anyhow; this bounds the time, to a few minutes.
INFLATE_LIMIT = 16 << 30
# New values for the report: name of the span in the core -> attribute
_NEW_VALUES = {
    "patient_id": "patient_id",
    "study_instance": "study",
    "series_instance": "series",
    "sop_instance": "instance",
}
_REFUSED_MARKS = {
    OTHER_PROFILE: "it bears the mark of an earlier run, made with another key or profile",
    BROKEN: "it bears the mark of an earlier run, and was changed since",
}


class Session:
    """The state of one input. `done` once all is settled; then `report` is complete.

    keep_file_ids: of a DICOMDIR, (0004,1500) Referenced File ID stays as it is, because the files
    keep their names (in place, or in a tree whose names are kept).

    For those who only look: `trace` is a list that gets a tuple for every value (see core.pyi), and
    `watch` is called with (absolute offset, bytes before, bytes after) for what each step settled.
    Then a deflated data set comes out inflated. `crosswalk` gets (kind, old, new) of every UID and
    pseudonym that becomes another one, and of the Patient ID.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        accept_cut_pixels: bool = False,
        ignore_mark: bool = False,
        keep_file_ids: bool = False,
        hold_limit: int = HOLD_LIMIT,
        inflate_limit: int = INFLATE_LIMIT,
        window: int = WINDOW,
        trace: list[Trace] | None = None,
        watch: Watch | None = None,
        crosswalk: Crosswalk | None = None,
    ) -> None:
        self._engine = engine
        self._accept_cut_pixels = accept_cut_pixels
        self._ignore_mark = ignore_mark
        self._keep_file_ids = keep_file_ids
        self._hold_limit = hold_limit
        self._inflate_limit = inflate_limit
        self._window = bytearray(window)
        self._trace = trace
        self._watch = watch
        self._crosswalk = crosswalk
        self._old_patient_id = b""
        self._filled = 0
        self._scout: core.Rewriter | None = core.Rewriter(
            engine.profile.rules, _no_answers, scout=True
        )
        self._rewriter: core.Rewriter | None = None
        self._answers: Answers | None = None
        self._directory: Directory | None = None  # of a DICOMDIR
        self._encoding = core.UNKNOWN
        self._notes: dict[str, int] = {}
        self._held = True
        self._new_values = dict(_NEW_VALUES)  # those that were not seen yet
        self._packed: _Packed | None = None
        self._skip = 0
        self._wanted = 0  # absolute offset up to which input is needed before the next step
        self._barrier = 0  # absolute offset of the barrier, once the scout has found it
        self._failure: DicomError | None = None
        self.done = False
        self.report = Report()

    # -- for the caller ----------------------------------------------------------------------

    @property
    def skip(self) -> int:
        """Bytes of input that go straight to the output before the next push."""
        return 0 if self._packed is not None else self._skip

    @property
    def directory(self) -> bool:
        """Whether it is a DICOMDIR; known before the first byte comes back."""
        return self._directory is not None

    @property
    def deflated(self) -> bool:
        """Whether the data set is deflated; known before the first byte comes back."""
        return self._packed is not None

    @property
    def packed_from(self) -> int | None:
        """Offset of the deflated data set in the input; None: it is not deflated, or not known."""
        return None if self._packed is None else self._packed.start

    def room(self) -> memoryview:
        """Where to read input into, never empty. Release it before the next call."""
        if self._packed is not None:
            return memoryview(self._packed.raw)
        if self._filled == len(self._window):
            self._grow(2 * len(self._window))
        return memoryview(self._window)[self._filled :]

    def push(self, n: int) -> Iterator[bytes | memoryview]:
        """n bytes stand in `room()`, 0: the input has ended. Yields what is to be written; a view
        is good until the next step. Raises DicomError, and the same again at any later call."""
        if self._failure is not None:
            raise self._failure
        if self.skip or self.done:
            raise ValueError("push before the skip was passed, or after the end")
        self.report.bytes_in += n
        try:
            yield from self._push(n)
        except DicomError as error:
            self._failure = error
            raise

    def _push(self, n: int) -> Iterator[bytes | memoryview]:
        if self._packed is not None:
            yield from self._unpack(bytes(self._packed.raw[:n]), n == 0)
            return
        self._filled += n
        yield from self._advance(n == 0)
        if self._packed is not None:  # the file meta information has just said so
            raw = bytes(self._window[self._packed.start : self._filled])
            self._filled = self._packed.start
            yield from self._unpack(raw, n == 0)

    def passed(self, n: int) -> None:
        """n of the `skip` bytes went from input to output, 0: the input has ended too early."""
        self.report.bytes_in += n
        self.report.bytes_out += n
        self._skipped(n)

    # -- before the barrier ------------------------------------------------------------------

    def _advance(self, eof: bool) -> Iterator[bytes | memoryview]:
        """Scout, then rewrite, as far as the window goes."""
        walker = self._scout or self._rewriter
        if walker is None or (not eof and walker.base + self._filled < self._wanted):
            return
        if self._scout is None or self._look_ahead(self._scout, eof):
            yield from self._rewrite(eof)

    def _look_ahead(self, scout: core.Rewriter, eof: bool) -> bool:
        """Whether the barrier is reached, so that rewriting may begin."""
        status = scout.step(self._window, self._filled, eof)
        if status == core.SYNTAX:
            self._see_syntax(scout)
            if self._packed is not None:
                return False
            status = scout.step(self._window, self._filled, eof)
        while status == core.RECORD:
            self._add_record(scout)
            status = scout.step(self._window, self._filled, eof)
        if status == core.MORE:
            self._check_hold(scout.position + scout.need)
            self._make_room(scout)
            return False
        self._check_hold(scout.position + 8)  # the header that showed the barrier
        self._begin(scout)
        return True

    def _see_syntax(self, scout: core.Rewriter) -> None:
        """The file meta information has been read."""
        uid = self._text_of(scout, "syntax")
        encoding, deflated = self._engine.encoding_of(uid)
        if encoding is None:
            reason = "this transfer syntax is not registered, or not one of a data set"
            raise DicomError(None, "(0002,0010)", reason)
        if self._text_of(scout, "media_class") == DICOMDIR_CLASS:
            from .directory import Directory

            self._directory = Directory()
            scout.set_directory(self._keep_file_ids)
        scout.set_encoding(encoding)
        self._encoding = encoding
        self.report.transfer_syntax = uid
        if deflated:
            self._packed = _Packed(scout.meta_end, self._inflate_limit)

    def _check_hold(self, position: int) -> None:
        if position > self._hold_limit:
            reason = "more bytes stand before the end of the patient's attributes than are held"
            if self._directory is not None:
                reason = "a DICOMDIR is held as a whole, and this one has more bytes than are held"
            raise DicomError(self._hold_limit, None, reason)

    def _begin(self, scout: core.Rewriter) -> None:
        """All that the rewriting depends on is in the window: start it from byte 0."""
        engine = self._engine
        identity = self._identity(scout)
        if scout.has_preamble:
            preamble = bytes(self._window[:MARK_BYTES])
            state = engine.mark.check(preamble, *identity)
            if not self._ignore_mark and state in _REFUSED_MARKS:
                raise DicomError(0, None, _REFUSED_MARKS[state])
            self.report.second_run = state == OURS
        self._old_patient_id = self._value(scout, "patient_id")
        answers = engine.answers(
            self.report.transfer_syntax,
            self._old_patient_id,
            self.report.second_run,
            self._crosswalk,
        )
        self._notes = answers.notes
        self._answers = answers
        self._rewriter = core.Rewriter(
            engine.profile.rules,
            answers,
            audio=not AUDIO_CLASSES.isdisjoint(
                self._text_of(scout, name) for name in ("sop_class", "media_class")
            ),
            accept_cut_pixels=self._accept_cut_pixels,
            trace=self._trace,
        )
        if engine.profile.draft.honours_characteristics:
            self._declare_safe(scout, self._rewriter)
        if self._directory is not None:
            self._rewriter.set_directory(self._keep_file_ids)
        self._rewriter.set_meta_end(scout.meta_end)
        self._barrier = scout.position
        self._scout = None
        engine.uids.take_counts()  # those of an input that was refused half-way

    def _declare_safe(self, scout: core.Rewriter, rewriter: core.Rewriter) -> None:
        """Private elements that the file itself says are safe (PS3.15 section E.3.10)."""
        if scout.characteristics is None:
            return
        from .characteristics import safe_blocks

        offset, length, encoding = scout.characteristics
        for block in safe_blocks(bytes(self._window[offset : offset + length]), encoding):
            rewriter.declare_safe(*block)

    def _value(self, rewriter: core.Rewriter, name: str) -> bytes:
        """A value as it stands in the window."""
        span = rewriter.span(name)
        if span is None:
            return b""
        start = span[0] - rewriter.base
        return bytes(self._window[start : start + span[1]])

    def _text_of(self, rewriter: core.Rewriter, name: str) -> str:
        return self._value(rewriter, name).partition(b"\0")[0].strip().decode("latin-1")

    def _identity(self, rewriter: core.Rewriter) -> tuple[bytes, bytes, bytes]:
        """What the run mark is bound to."""
        if self._directory is not None:
            return self._value(rewriter, "media_instance"), self._directory.take_seen(), b""
        return (
            self._value(rewriter, "sop_instance"),
            self._value(rewriter, "patient_id"),
            self._value(rewriter, "patient_name"),
        )

    # -- the records of a DICOMDIR -----------------------------------------------------------

    def _add_record(self, scout: core.Rewriter) -> None:
        """The scout has seen one more."""
        assert self._directory is not None
        start, _, big, _ = scout.record
        self._directory.add(start, big, self._record_values(scout))

    def _at_record(self, rewriter: core.Rewriter) -> None:
        """The rewriter enters or leaves one."""
        assert self._directory is not None
        assert self._answers is not None
        start, end, _, _ = rewriter.record
        if end:
            self._directory.see(self._record_values(rewriter))
        self._answers.set_patient(b"" if end else self._directory.patient_of(start))

    def _record_values(self, rewriter: core.Rewriter) -> list[bytes]:
        """The values of core.RECORD_SPANS as they stand in the window."""
        base = rewriter.base
        return [
            bytes(self._window[offset - base : offset - base + length]) if length else b""
            for offset, length in rewriter.record[3]
        ]

    # -- past the barrier --------------------------------------------------------------------

    def _rewrite(self, eof: bool) -> Iterator[bytes | memoryview]:
        rewriter = self._rewriter
        assert rewriter is not None
        before = b"" if self._watch is None else bytes(self._window[: self._filled])
        status = rewriter.step(self._window, self._filled, eof)
        if status == core.SYNTAX:
            rewriter.set_encoding(self._encoding)
            status = rewriter.step(self._window, self._filled, eof)
        while status == core.RECORD:
            self._at_record(rewriter)
            status = rewriter.step(self._window, self._filled, eof)
        if self._new_values:
            self._see_new_values(rewriter)
        if self._held and (rewriter.position >= self._barrier or status != core.MORE):
            self._held = False
            if rewriter.has_preamble:
                self._window[:MARK_BYTES] = self._engine.mark.make(*self._identity(rewriter))
        settled = 0 if self._held else min(rewriter.position - rewriter.base, self._filled)
        if settled:
            with memoryview(self._window) as view:
                if self._watch is not None:
                    self._watch(rewriter.base, before[:settled], bytes(view[:settled]))
                yield from self._emit(view[:settled])
            rest = self._filled - settled
            self._window[:rest] = self._window[settled : self._filled]
            self._filled = rest
            rewriter.drop(settled)
        if status == core.SKIP:
            self._skip = rewriter.skip
            rewriter.drop(self._skip)
        elif status == core.MORE:
            self._make_room(rewriter)
        else:
            yield from self._close_packed()
            self._finish(rewriter)

    def _see_new_values(self, rewriter: core.Rewriter) -> None:
        for name, attribute in list(self._new_values.items()):
            span = rewriter.span(name)
            if span is not None and rewriter.base <= span[0] <= rewriter.position - span[1]:
                setattr(self.report, attribute, self._text_of(rewriter, name))
                del self._new_values[name]

    def _emit(self, data: memoryview) -> Iterator[bytes | memoryview]:
        """Settled bytes, through deflate where the data set is deflated."""
        if self._packed is None or self._watch is not None:
            self.report.bytes_out += len(data)
            yield data
            return
        for piece in self._packed.write(data):
            self.report.bytes_out += len(piece)
            yield piece

    def _skipped(self, n: int) -> None:
        """n bytes of the skip went by, 0: no more will come."""
        rewriter = self._rewriter
        assert rewriter is not None
        if n == 0:
            rewriter.cut(rewriter.base - self._skip)
            self._skip = 0
            self._finish(rewriter)
        self._skip -= n

    def _finish(self, rewriter: core.Rewriter) -> None:
        self.done = True
        if self._crosswalk is not None and self._old_patient_id:
            row = ("patient-id", self._old_patient_id, self.report.patient_id.encode("latin-1"))
            self._crosswalk.append(row)
        self.report.elements = rewriter.elements
        self.report.actions = rewriter.counts
        self.report.notes = rewriter.notes | self._notes
        self.report.uids = self._engine.uids.take_counts()
        if self._packed is not None and self._packed.inflater.surplus > 1:
            self.report.notes["bytes after the deflated data set dropped"] = 1

    # -- the window --------------------------------------------------------------------------

    def _make_room(self, rewriter: core.Rewriter) -> None:
        """A window that can hold what the rewriter waits for."""
        self._wanted = rewriter.position + rewriter.need
        wanted = self._wanted - rewriter.base
        if wanted > len(self._window):
            self._grow(max(wanted, 2 * len(self._window)))

    def _grow(self, size: int) -> None:
        window = bytearray(size)
        window[: self._filled] = memoryview(self._window)[: self._filled]
        self._window = window

    # -- deflated data sets ------------------------------------------------------------------

    def _unpack(self, raw: bytes, eof: bool) -> Iterator[bytes | memoryview]:
        """Deflated input, inflated into the window or, where it is skipped, past it."""
        assert self._packed is not None
        for piece in self._packed.inflater.pieces(raw, eof):
            rest = memoryview(piece)
            while rest:
                if self._skip:
                    n = min(self._skip, len(rest))
                    yield from self._emit(rest[:n])
                    self._skipped(n)
                else:
                    if self._filled == len(self._window):
                        self._grow(2 * len(self._window))
                    n = min(len(self._window) - self._filled, len(rest))
                    self._window[self._filled : self._filled + n] = rest[:n]
                    self._filled += n
                    yield from self._advance(False)
                rest = rest[n:]
        if eof and self._skip:
            self._skipped(0)
            yield from self._close_packed()
        elif eof:
            yield from self._advance(True)

    def _close_packed(self) -> Iterator[bytes]:
        if self._packed is not None and self._watch is None:
            for piece in self._packed.deflater.close():
                self.report.bytes_out += len(piece)
                yield piece


class _Packed:
    """What a deflated data set needs: it starts at `start`, after the file meta information."""

    def __init__(self, start: int, limit: int) -> None:
        from .deflate import PIECE, Deflater, Inflater

        self.start = start
        self.raw = bytearray(PIECE)
        self.inflater = Inflater(start, limit)
        self.deflater = Deflater()
        self._plain = start

    def write(self, data: memoryview) -> Iterator[bytes | memoryview]:
        plain = min(self._plain, len(data))
        if plain:
            self._plain -= plain
            yield data[:plain]
        yield from self.deflater.write(data[plain:])


def _no_answers(asks: list[Ask]) -> list[Answer]:
    raise AssertionError("a scout asks for nothing")
