"""One input on its way through: the window, the hold before the barrier, skips and deflate.

The caller reads into `room()`, says how much with `push`, and writes what comes back; `skip` bytes
of input may go straight to the output. Nothing here reads or writes a file.

    window   |-- settled --|-- held --|-- free: room() --|

Two rewriters walk the same bytes. The scout goes ahead up to the barrier, the first top-level tag
after Patient ID, and changes nothing; then what it saw (transfer syntax, SOP class, run mark) is
known, and the second one starts at byte 0 and rewrites. Until the barrier all is held, because
the mark in the preamble depends on what comes before it. Of a DICOMDIR the scout sees all, since
any of its records may belong to a patient whose record stands behind it.
"""

from __future__ import annotations

from . import core
from .engine import AUDIO_CLASSES, DICOMDIR_CLASS, SPARE_WINDOW, text_of
from .errors import DicomError
from .keyed import BROKEN, MARK_BYTES, MARK_NAME, OTHER_PROFILE, OURS
from .report import Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .core import Trace
    from .directory import Directory
    from .engine import Answers, Crosswalk, Engine

    Watch = Callable[[int, bytes, bytes], None]

WINDOW = SPARE_WINDOW  # a pipe holds 64 KiB, a read of 256 KiB is near the best rate of the kernel
# Bytes held before the barrier. Real headers need kilobytes; some hold private bulk or thousands
# of references before the Patient ID.
HOLD_LIMIT = 64 << 20
# Bytes that a deflated data set may inflate to: deflate makes 1000 out of one, of blank masks too,
# so a ratio tells nothing. Memory is bounded anyhow; this bounds the time, to a few minutes.
INFLATE_LIMIT = 16 << 30
_MEDIA_CLASS, _MEDIA_INSTANCE, _SOP_CLASS, _SOP_INSTANCE, _PATIENT_NAME, _PATIENT_ID = [
    core.SPANS.index(name)
    for name in (
        "media_class", "media_instance", "sop_class", "sop_instance", "patient_name", "patient_id",
    )
]  # fmt: skip
_GONE = bytearray()  # in place of a window that was given back
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
    Then a deflated data set comes out inflated, unless `packs`. `crosswalk` gets (kind, old, new)
    of every UID and pseudonym that becomes another one, and of the Patient ID.
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
        packs: bool = False,
        crosswalk: Crosswalk | None = None,
    ) -> None:
        self._engine = engine
        self._accept_cut_pixels = accept_cut_pixels
        self._ignore_mark = ignore_mark
        self._keep_file_ids = keep_file_ids
        self._hold_limit = hold_limit
        self._inflate_limit = inflate_limit
        self._window, scout = engine.take_spare(window)
        self._trace = trace
        self._watch = watch
        self._packs = packs or watch is None
        self._crosswalk = crosswalk
        self._old_patient_id = b""
        self._filled = 0
        self._scout: core.Rewriter | None = scout
        self._rewriter: core.Rewriter | None = None
        self._answers: Answers | None = None
        self._directory: Directory | None = None  # of a DICOMDIR
        self._encoding = core.UNKNOWN
        self._held = True
        self._seen_all = False  # the new values for the report
        self._packed: _Packed | None = None
        self._skip = 0
        self._wanted = 0  # absolute offset up to which input is needed before the next step
        self._status: int | None = None  # of the last step, until its bytes are out
        self._barrier = 0  # absolute offset of the barrier, once the scout has found it
        self._failure: DicomError | None = None
        self.done = False
        self.report = Report()

    # -- for the caller ----------------------------------------------------------------------

    @property
    def skip(self) -> int:
        """Bytes of input that may go straight to the output, and are then told to `passed`. Those
        that do not are the first of what is pushed."""
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
        if self.done:
            raise ValueError("room after the end")
        if self._filled == len(self._window):
            self._grow(2 * len(self._window))
        return memoryview(self._window)[self._filled :]

    def push(self, n: int, last: bool = False) -> Iterator[bytes | memoryview]:
        """n bytes stand in `room()`, 0: the input has ended; last: it ends with them, which saves a
        push. Yields what is to be written; a view is good until the next step. Raises DicomError,
        and the same again at any later call."""
        eof = last or n == 0
        if self._failure is not None:
            raise self._failure
        if self.done:
            raise ValueError("push after the end")
        self.report.bytes_in += n
        try:
            if self._packed is None:
                if n < self._skip:
                    yield from self._pass(n, eof)
                    return
                self._skip = 0  # what is left of it settles with what follows it
                self._filled += n
                settled = self._advance(eof)
                if self._packed is None:
                    if settled:
                        self.report.bytes_out += settled
                        with memoryview(self._window)[:settled] as view:
                            yield view
                    self._conclude(settled)
                    return
                # the file meta information has just said so
                raw = bytes(self._window[self._packed.start : self._filled])
                self._filled = self._packed.start
            else:
                raw = bytes(self._packed.raw[:n])
            yield from self._unpack(raw, eof)
        except DicomError as error:
            # without its traceback, which would hold this session and its window in a circle
            self._failure = type(error)(error.offset, error.path, error.reason)
            raise

    def passed(self, n: int) -> None:
        """n of the `skip` bytes went from input to output, 0: the input has ended too early."""
        self.report.bytes_in += n
        self.report.bytes_out += n
        self._skipped(n)

    # -- before the barrier ------------------------------------------------------------------

    def _advance(self, eof: bool) -> int:
        """Scout, then rewrite, as far as the window goes: how many of its bytes are settled."""
        walker = self._scout or self._rewriter
        if walker is None or (not eof and walker.base + self._filled < self._wanted):
            return 0
        if self._scout is None or self._look_ahead(self._scout, eof):
            return self._rewrite(eof)
        return 0

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
        syntax, media_class, *_ = scout.values(self._window, self._filled)
        uid, encoding, deflated = self._engine.syntax_of(syntax)
        if encoding is None:
            reason = "this transfer syntax is not registered, or not one of a data set"
            raise DicomError(None, "(0002,0010)", reason)
        if text_of(media_class) == DICOMDIR_CLASS:
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
        window = self._window
        values = scout.values(window, self._filled)
        identity = self._identity(values)
        if scout.has_preamble and window.startswith(MARK_NAME):
            state = engine.mark.check(bytes(window[:MARK_BYTES]), *identity)
            if not self._ignore_mark and state in _REFUSED_MARKS:
                raise DicomError(0, None, _REFUSED_MARKS[state])
            self.report.second_run = state == OURS
        self._old_patient_id = values[_PATIENT_ID]
        answers = self._answers = engine.answers(
            self.report.transfer_syntax,
            self._old_patient_id,
            self.report.second_run,
            self._crosswalk,
        )
        meta_end, self._barrier = scout.meta_end, scout.position
        safe: list[tuple[int, bytes, Iterable[int] | None]] = []
        if engine.profile.honours_characteristics and scout.characteristics is not None:
            safe = self._safe_blocks(*scout.characteristics)
        scout.restart(
            answers,
            audio=not AUDIO_CLASSES.isdisjoint(
                (text_of(values[_SOP_CLASS]), text_of(values[_MEDIA_CLASS]))
            ),
            accept_cut_pixels=self._accept_cut_pixels,
            trace=self._trace,
            known=answers.known_uids,
            encoding=self._encoding,
        )
        self._rewriter, self._scout = scout, None
        for block in safe:
            scout.declare_safe(*block)
        if self._directory is not None:
            scout.set_directory(self._keep_file_ids)
        scout.set_meta_end(meta_end)
        engine.uids.take_counts()  # those of an input that was refused half-way

    def _safe_blocks(
        self, offset: int, length: int, encoding: int
    ) -> list[tuple[int, bytes, Iterable[int] | None]]:
        """Private elements that the file itself says are safe (PS3.15 section E.3.10)."""
        from .characteristics import safe_blocks

        return list(safe_blocks(bytes(self._window[offset : offset + length]), encoding))

    def _identity(self, values: tuple[bytes, ...]) -> tuple[bytes, bytes, bytes]:
        """What the run mark is bound to, out of the values of core.SPANS."""
        if self._directory is not None:
            return values[_MEDIA_INSTANCE], self._directory.take_seen(), b""
        return values[_SOP_INSTANCE], values[_PATIENT_ID], values[_PATIENT_NAME]

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

    def _rewrite(self, eof: bool) -> int:
        """How many bytes of the window are settled. Then `_conclude` goes on."""
        rewriter, window = self._rewriter, self._window
        assert rewriter is not None
        before = b"" if self._watch is None else bytes(window[: self._filled])
        status = rewriter.step(window, self._filled, eof)
        while status == core.RECORD:
            self._at_record(rewriter)
            status = rewriter.step(window, self._filled, eof)
        self._status = status
        if not self._seen_all:
            self._see_new_values(rewriter)
        position = rewriter.position
        if self._held:
            if position < self._barrier and status == core.MORE:
                return 0
            self._held = False
            if rewriter.has_preamble:
                values = rewriter.values(window, self._filled)
                window[:MARK_BYTES] = self._engine.mark.make(*self._identity(values))
        settled = min(position - rewriter.base, self._filled)
        if settled and self._watch is not None:
            self._watch(rewriter.base, before[:settled], bytes(window[:settled]))
        return settled

    def _conclude(self, settled: int) -> None:
        """The settled bytes are out: what the last step waits for."""
        rewriter, status = self._rewriter, self._status
        if rewriter is None or status is None:
            return
        self._status = None
        if settled:
            rest = self._filled - settled
            if rest:
                self._window[:rest] = self._window[settled : self._filled]
            self._filled = rest
            rewriter.drop(settled)
        if status == core.SKIP:
            self._skip = rewriter.skip
        elif status == core.MORE:
            self._make_room(rewriter)
        else:
            self._finish(rewriter)

    def _see_new_values(self, rewriter: core.Rewriter) -> None:
        report = self.report
        texts = rewriter.texts(self._window, self._filled)
        patient_id, study, series, instance = texts
        if patient_id is not None:
            report.patient_id = patient_id
        if study is not None:
            report.study = study
        if series is not None:
            report.series = series
        if instance is not None:
            report.instance = instance
        self._seen_all = None not in texts

    def _emit(self, data: memoryview) -> Iterator[bytes | memoryview]:
        """Settled bytes of a deflated data set."""
        assert self._packed is not None
        if not self._packs:
            self.report.bytes_out += len(data)
            yield data
            return
        for piece in self._packed.write(data):
            self.report.bytes_out += len(piece)
            yield piece

    def _pass(self, n: int, eof: bool) -> Iterator[memoryview]:
        """n bytes of the skip came by way of the window, and more of it is left."""
        if n:
            self.report.bytes_out += n
            with memoryview(self._window)[:n] as view:
                yield view
            self._skipped(n)
        if eof:
            self._skipped(0)

    def _skipped(self, n: int) -> None:
        """n bytes of the skip went by, 0: no more will come."""
        rewriter = self._rewriter
        assert rewriter is not None
        if n:
            rewriter.drop(n)
            self._skip -= n
        else:
            rewriter.cut(rewriter.base)
            self._skip = 0
            self._finish(rewriter)

    def _finish(self, rewriter: core.Rewriter) -> None:
        self.done = True
        if self._crosswalk is not None and self._old_patient_id:
            row = ("patient-id", self._old_patient_id, self.report.patient_id.encode("latin-1"))
            self._crosswalk.append(row)
        report = self.report
        report.elements = rewriter.elements
        report.actions = rewriter.counts
        report.notes = rewriter.notes
        if self._answers is not None and self._answers.notes:
            report.notes |= self._answers.notes
        report.uids = self._engine.uids.take_counts()
        if self._packed is not None and self._packed.inflater.surplus > 1:
            report.notes["bytes after the deflated data set dropped"] = 1
        self._engine.give_spare(self._window, rewriter)
        self._window = _GONE

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
                    yield from self._step(False)
                rest = rest[n:]
        if eof and self._skip:
            self._skipped(0)
            yield from self._close_packed()
        elif eof:
            yield from self._step(True)

    def _step(self, eof: bool) -> Iterator[bytes | memoryview]:
        """One step through the inflated bytes."""
        settled = self._advance(eof)
        if settled:
            with memoryview(self._window)[:settled] as view:
                yield from self._emit(view)
        if self._status == core.DONE:
            yield from self._close_packed()
        self._conclude(settled)

    def _close_packed(self) -> Iterator[bytes]:
        if self._packed is not None and self._packs:
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
