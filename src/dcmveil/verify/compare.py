"""Two files side by side: every byte outside of values that may change, and the structure.

The original is walked as a run walks it, and its trace says which spans may change. What the run
would write is known too; it is only used to tell a wrong value from a right one. The output is
walked on its own, with all values staying, and must show the same elements at the same offsets.
"""

from __future__ import annotations

from .. import core
from ..errors import DicomError
from ..inspect import path_text
from .verdict import Finding
from .walk import PIECE, UNDEFINED, Element, Flat, Walk, bulk_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from ..core import Trace
    from ..session import Session, Watch
    from .identifiers import Sources
    from .verdict import Verdict
    from .walk import Place

    class Veils(Protocol):
        """What is wanted of a Veil."""

        def session(
            self, trace: list[Trace] | None = None, watch: Watch | None = None
        ) -> Session: ...
        def looker(
            self, trace: list[Trace] | None = None, watch: Watch | None = None
        ) -> Session: ...


_PREAMBLE = 128
_MARK_TEXT, _MARK_BYTES = b"DCMVEIL", 56  # the rest of the preamble is zero
_KEYED = {core.UID, core.CHECK_UID, core.SHIFT, core.PSEUDONYM, core.HASH}

# (start, end, entry of the trace, codecs of its text) of bytes that may change; None: the preamble
Span = tuple[int, int, "Trace | None", "tuple[str, ...]"]


class Comparison:
    """One pair. `run` compares; then `bulk` has the spans of the output that hold pixels and
    waveforms, and `sources` the identifying values of the original.

    keyed   False: the key of the run is not known, so values that depend on it are not compared
    pixels  also compare what a run would pass on unread
    """

    def __init__(
        self,
        veil: Veils,
        before: Flat,
        after: Flat,
        verdict: Verdict,
        sources: Sources,
        *,
        pixels: bool,
        keyed: bool,
    ) -> None:
        self.bulk: list[tuple[int, int]] = []
        self.instance = ""
        self._before = before
        self._after = after
        self._verdict = verdict
        self._sources = sources
        self._pixels = pixels
        self._keyed = keyed
        self._old_walk = Walk(veil.session, before, self._see)
        self._new_walk = Walk(veil.looker, after)
        self._at = 0  # up to here all bytes were compared
        self._last: tuple[Place, int] | None = None  # the last element
        self._last_end = 0  # where its value ends
        self._tail: int | None = None  # where bytes behind the last element were zeroed
        self._wrong: list[Finding] = []  # keyed values that are not those of this key
        self._right = 0

    def run(self) -> None:
        """Raises DicomError if the original is refused."""
        mine = self._old_walk.elements()
        other: Iterator[Element] | None = self._outline()
        for element in mine:
            if other is None:
                continue
            try:
                found = next(other, None)
            except DicomError as error:
                self._broken(error)
                other = None
                continue
            if found is None or not element.same(found):
                self._misfit(element, found)
                self._drain(other)
                other = None
        if other is not None:
            self._finish_outline(other)
        self._close()
        self.instance = self._old_walk.session.report.instance

    # -- structure ---------------------------------------------------------------------------

    def _outline(self) -> Iterator[Element]:
        """The elements of the output; where it cannot be read on, they end with a finding."""
        for element in self._new_walk.elements():
            span = bulk_of(element, self._after)
            if span is not None:
                self.bulk.append(span)
            yield element

    def _finish_outline(self, other: Iterator[Element]) -> None:
        try:
            more = next(other, None)
        except DicomError as error:
            self._broken(error)
            return
        if more is not None:
            path = path_text(more.place, more.tag)
            self._verdict.add(Finding("structure", more.offset, path, detail="one more"))
        self._drain(other)

    def _drain(self, other: Iterator[Element]) -> None:
        """The rest, for its pixel data."""
        try:
            for _ in other:
                pass
        except DicomError as error:
            self._broken(error)

    def _broken(self, error: DicomError) -> None:
        self._verdict.add(Finding("structure", error.offset, error.path, detail=error.reason))

    def _misfit(self, element: Element, found: Element | None) -> None:
        path = path_text(element.place, element.tag)
        if found is None:
            finding = Finding("structure", element.offset, path, detail="missing")
        else:
            theirs = path_text(found.place, found.tag)
            words = "another length or VR" if theirs == path else f"{path} stood here"
            finding = Finding("structure", found.offset, theirs, detail=words)
        self._verdict.add(finding)

    # -- bytes -------------------------------------------------------------------------------

    def _see(self, base: int, old: bytes, new: bytes, trace: list[Trace]) -> None:
        """One step of the walk over the original."""
        self._after.unpack_from(self._old_walk.session.packed_from)
        if base > self._at:
            self._see_unread(base)
        got = self._read(base, len(old))
        self._verdict.compared += len(got)
        spans = [
            span
            for span in self._spans(base, old, trace)
            if old[span[0] - base : span[1] - base] != new[span[0] - base : span[1] - base]
        ]
        if len(got) == len(old):
            self._see_changes(base, old, new, got, spans)
        for start, end, entry, codecs in spans:
            if entry is not None:
                self._take(entry, codecs, old[start - base : end - base])
        self._at = base + len(old)

    def _read(self, offset: int, n: int) -> bytes:
        try:
            return self._after.read(offset, n)
        except DicomError:  # its own walk says so
            return b""

    def _spans(self, base: int, old: bytes, trace: list[Trace]) -> Iterator[Span]:
        """What may change in this step, in order."""
        if base == 0 and old[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
            yield 0, _PREAMBLE, None, ()
            self._last_end = _PREAMBLE + 4
        for entry in trace:
            place, tag, _, action, _, offset, done, length, total, _, after = entry
            value = old[offset - base : offset - base + length]
            codecs = self._sources.codecs_at(place, tag, value)
            if not done:
                self._last = (place, tag)
            if after is not None:
                whole = done == 0 and total != UNDEFINED
                self._last_end = max(self._last_end, offset + (total if whole else length))
            else:
                self._last_end = offset
            if self._tail is not None and offset > self._tail:
                self._changed(self._tail, "")  # an element follows: no tail
                self._tail = None
            if action == core.KEEP or after is None:
                continue
            if action == core.PIXELS:
                for start, end in _fragments(old, offset - base, offset - base + length):
                    yield base + start, base + end, entry, codecs
            else:
                yield offset, offset + length, entry, codecs

    def _see_changes(
        self, base: int, old: bytes, new: bytes, got: bytes, spans: list[Span]
    ) -> None:
        at = 0
        changes = core.differences(old, got, 1)
        for start, end in ((base + start, base + end) for start, end in changes):
            while start < end:
                while at < len(spans) and spans[at][1] <= start:
                    at += 1
                allowed = at < len(spans) and spans[at][0] <= start
                stop = spans[at][1] if allowed else spans[at][0] if at < len(spans) else end
                stop = min(stop, end)
                if not allowed:
                    self._outside(start, got[start - base : stop - base], new, base)
                start = stop
        if got != new:
            for start, end, entry, _ in spans:
                part = slice(start - base, end - base)
                self._judge(start, entry, old[part], new[part], got[part])
        else:
            self._right += sum(span[2] is None or span[2][3] in _KEYED for span in spans)

    def _outside(self, offset: int, got: bytes, new: bytes, base: int) -> None:
        """A change where no value may change. Bytes behind the last element may become zeros."""
        tail = not got.strip(b"\0") and got == new[offset - base : offset - base + len(got)]
        if tail and offset >= self._last_end:
            if self._tail is None:
                self._tail = offset
            return
        self._changed(offset, "")

    def _changed(self, offset: int, path: str) -> None:
        self._verdict.add(Finding("changed", offset, path))

    def _judge(self, offset: int, entry: Trace | None, old: bytes, new: bytes, got: bytes) -> None:
        """A value that may change: is it the one that a run writes?"""
        if entry is None:
            self._judge_preamble(new, got)
            return
        keyed = entry[3] in _KEYED
        if got == new:
            self._right += keyed
            return
        path = path_text(entry[0], entry[1])
        first = core.differences(new, got, 1)[0][0]
        if got == old:
            self._verdict.add(Finding("value", offset + first, path, detail="it is the old one"))
        elif not keyed:
            self._verdict.add(Finding("value", offset + first, path))
        elif self._keyed:
            self._wrong.append(Finding("value", offset + first, path))

    def _judge_preamble(self, new: bytes, got: bytes) -> None:
        if got == new:
            self._right += 1
            return
        first = core.differences(new, got, 1)[0][0]
        marked = got.startswith(_MARK_TEXT) and got[_MARK_BYTES:] == new[_MARK_BYTES:]
        if not marked:
            self._verdict.add(Finding("value", first, "preamble"))
        elif self._keyed:
            self._wrong.append(Finding("value", first, "preamble", detail="the run mark"))

    def _take(self, entry: Trace, codecs: tuple[str, ...], old: bytes) -> None:
        """Identifying values of what a run replaces."""
        place, tag, vr, action, *_ = entry
        vr_name = "LO" if action == core.WIPE else core.VR_NAMES[vr]
        self._sources.see(place, tag, vr_name, codecs, old)

    # -- what a run does not read ------------------------------------------------------------

    def _see_unread(self, end: int) -> None:
        """Bulk up to `end`."""
        start, self._at = self._at, end
        if not self._pixels:
            return
        while start < end:
            old = self._before.read(start, min(PIECE, end - start))
            got = self._read(start, len(old))
            if not old or len(got) < len(old):
                return
            self._verdict.compared += len(got)
            if old != got:
                path = path_text(*self._last) if self._last else ""
                self._changed(start + core.differences(old, got, 1)[0][0], path)
            start += len(old)

    def _close(self) -> None:
        size = self._before.size()
        if size > self._at:
            self._see_unread(size)
        try:
            other = self._after.size()
        except DicomError as error:
            self._verdict.add(Finding("structure", error.offset, detail=error.reason))
            return
        if other != size:
            self._verdict.add(Finding("length", min(size, other)))
        elif self._after.surplus > 1:
            self._verdict.add(
                Finding("length", other, "tail", detail="bytes behind the deflated data set")
            )
        found = self._verdict.found
        shifted = found("changed") or found("structure") or found("length")
        if len(self._wrong) > 1 and self._right == 0 and not shifted:
            self._verdict.add(Finding("other key"))
        else:
            for finding in self._wrong:
                self._verdict.add(finding)


def _fragments(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The values of the items of encapsulated data, or all where there are none."""
    if data[start : start + 4] != b"\xfe\xff\x00\xe0":
        yield start, end
    while start + 8 <= end and data[start : start + 4] == b"\xfe\xff\x00\xe0":
        length = int.from_bytes(data[start + 4 : start + 8], "little")
        yield start + 8, min(start + 8 + length, end)
        start += 8 + length
