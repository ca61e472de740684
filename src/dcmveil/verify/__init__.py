"""The proof that an output keeps the promises, on the user's own data.

`check` compares one original with one output; `trees` does so for folders and archives. What is
promised and how it is proven is told in docs/verify.md.
"""

from __future__ import annotations

import os

from ..inspect import path_text
from .compare import Comparison
from .identifiers import (
    AGE,
    DATE,
    ID,
    NAME,
    NUMBER,
    PLACE,
    RUN,
    TEXT,
    TIME,
    UID,
    Sources,
    Vocabulary,
)
from .scan import CHUNK, Hit, Search, normalised
from .verdict import Finding, Verdict
from .walk import UNDEFINED, Element, Flat, Walk, bulk_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from .compare import Veils
    from .identifiers import Term
    from .walk import Place

__all__ = ["Checker", "Element", "Finding", "Verdict", "bulk_of", "check"]

_PREAMBLE = 128
_NEW_DATES = ("shift", "year")
_CHECK_UID, _KEEP = "check uid", "keep"
# Manufacturer, its model name, software versions: they name a product
_PRODUCT = (0x00080070, 0x00081090, 0x00181020)
_FEW_DIGITS = 6  # of a number that may stand in a numeric attribute by chance
_LONGEST_KEPT = 4096  # bytes of a kept value that are compared with an identifying one


def check(
    veil: Veils, before: BinaryIO, after: BinaryIO, *, pixels: bool = True, keyed: bool = True
) -> Verdict:
    """Compare an output with its original; both must be able to seek, and are read from their
    start.

    veil    the profile and key of the run
    pixels  also compare what a run passes on unread, pixel data above all; without it, the cost
            is that of the headers
    keyed   False: the key of the run is lost, so what depends on it is not compared

    Raises DicomError if the profile refuses the original, and OSError.
    """
    return Checker(veil, keyed=keyed).check(before, after, pixels=pixels)


class Checker:
    """`check` for many pairs: tables are read once."""

    def __init__(self, veil: Veils, *, keyed: bool = True) -> None:
        self._veil = veil
        self._keyed = keyed
        self._vocabulary = Vocabulary()

    def check(
        self,
        before: BinaryIO,
        after: BinaryIO,
        *,
        pixels: bool = True,
        name: str = "",
    ) -> Verdict:
        """name: of the output, in a tree; it is searched too."""
        verdict = Verdict()
        sources = Sources(self._vocabulary, verdict.exempt)
        old, new = Flat(before), Flat(after)
        comparison = Comparison(
            self._veil, old, new, verdict, sources, pixels=pixels, keyed=self._keyed
        )
        comparison.run()
        verdict.sought = len(sources.terms)
        if sources.full:
            verdict.add(Finding("too many"))
        search = Search(term for term, _ in sources.terms.values())
        places = _Elements(self._veil, Flat(after))
        for hit in search.hits(_chunks(new, comparison.bulk, verdict)):
            self._judge(hit, places, sources, verdict)
        for hit in search.hits([(0, os.fsencode(name))]):
            verdict.add(Finding("name", source=_source(hit.term, sources), detail=hit.term.kind))
        verdict.findings.sort(key=lambda finding: -1 if finding.offset is None else finding.offset)
        return verdict

    def _judge(self, hit: Hit, places: _Elements, sources: Sources, verdict: Verdict) -> None:
        element = places.at(hit.offset)
        why = "" if element is None else places.exempts(element, hit)
        if why:
            verdict.exempt[why] += 1
            return
        path = places.gap(hit.offset)
        if element is not None:
            path = path_text(element.place, element.tag)
        source = _source(hit.term, sources)
        kind = hit.term.kind
        verdict.add(Finding("identifier", hit.offset, path, source, kind, hit.value))


def _source(term: Term, sources: Sources) -> str:
    place: tuple[Place, int] = sources.terms[term.kind, term.value][1]
    return path_text(*place)


def _chunks(
    flat: Flat, bulk: list[tuple[int, int]], verdict: Verdict
) -> Iterator[tuple[int, bytes]]:
    """All bytes but those of pixels and waveforms. A deflated data set that cannot be inflated was
    told by the comparison; what can be read of it is searched."""
    from ..errors import DicomError

    at = 0
    for start, end in [*sorted(bulk), (1 << 63, 1 << 63)]:
        while at < start:
            try:
                data = flat.read(at, min(CHUNK, start - at))
            except DicomError:
                return
            if not data:
                return
            verdict.scanned += len(data)
            yield at, data
            at += len(data)
        at = max(at, end)


class _Elements:
    """The elements of the output by offset, for those who ask in order. It is walked once more
    when the first one asks."""

    def __init__(self, veil: Veils, flat: Flat) -> None:
        self._elements: Iterator[Element] | None = None
        self._veil = veil
        self._flat = flat  # of its own: it is read forward
        self._value: tuple[Element | None, bytes] = (None, b"")  # read last
        self._now: Element | None = None
        self._next: Element | None = None

    def at(self, offset: int) -> Element | None:
        """The element whose value holds this byte."""
        from ..errors import DicomError

        if self._elements is None:
            self._elements = Walk(self._veil.looker, self._flat).elements()
            self._next = self._following(DicomError)
        while self._next is not None and self._next.offset <= offset:
            self._now = self._next
            self._next = self._following(DicomError)
        now = self._now
        if now is None or (now.total != UNDEFINED and offset >= now.offset + now.total):
            return None
        return now

    def _following(self, fault: type[Exception]) -> Element | None:
        assert self._elements is not None
        try:
            return next(self._elements, None)
        except fault:
            return None

    def gap(self, offset: int) -> str:
        """What an offset is called that is in no element."""
        if offset < _PREAMBLE:
            return "preamble"
        return "tail" if self._next is None else ""

    def exempts(self, element: Element, hit: Hit) -> str:
        """Why an identifying value may stand there; empty: it may not."""
        from .. import core

        kind, vr = hit.term.kind, core.VR_NAMES[element.vr] if isinstance(element.vr, int) else ""
        action = core.ACTION_NAMES[element.action]
        if action in _NEW_DATES and kind == DATE:
            return "new date that equals another old one"
        few = kind in (ID, RUN) and len(hit.term.value) <= _FEW_DIGITS
        if few and vr in ("DS", "IS", "TM") and action in (_KEEP, "shift"):
            return "number of few digits in a numeric attribute that stays"
        if action not in (_KEEP, _CHECK_UID):
            return ""
        if vr == "UI" and kind in (DATE, TIME, NUMBER, AGE, ID, RUN):
            return "part of a UID that stays"
        if vr == "CS" and kind in (NAME, PLACE, ID, RUN, TEXT):
            return "word in a coded value that stays"
        creator = element.tag >> 16 & 1 and 0x10 <= element.tag & 0xFFFF <= 0xFF
        if (creator or element.tag in _PRODUCT) and kind in (PLACE, ID, RUN):
            return "name of a product that stays"
        if (
            kind in (UID, DATE, TIME, AGE, PLACE, TEXT, NUMBER, RUN)
            and element.total <= _LONGEST_KEPT
        ):
            if self._value[0] is not element:
                self._value = (element, self._flat.read(element.offset, element.total))
            if hit.term.value in [normalised(part) for part in self._value[1].split(b"\\")]:
                return "same value in an attribute that stays"
        return ""
