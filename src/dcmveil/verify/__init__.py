"""The proof that an output keeps the promises, on the user's own data.

`check` compares one original with one output; `trees` does so for folders and archives. What is
promised and how it is proven is told in docs/verify.md.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter

from .. import core
from ..errors import DicomError
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
    vocabulary,
)
from .scan import CHUNK, Hit, Search, normalised
from .verdict import Finding, Verdict
from .walk import UNDEFINED, Element, Flat, Walk, bulk_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from ..core import Trace
    from .compare import Veils
    from .identifiers import Term
    from .walk import Place

__all__ = ["Checker", "Element", "Finding", "Verdict", "bulk_of", "check"]

_PREAMBLE = 128
_NEW_DATES = ("shift", "year")
_CHECK_UID, _KEEP = "check uid", "keep"
# Manufacturer, its model name, software versions: they name a product
_PRODUCT = (0x00080070, 0x00081090, 0x00181020)
# IDs that others have by chance are not looked for in all outputs, only these: Accession Number,
# Patient ID, other patient IDs, telephone numbers
_PERSONAL = (0x00080050, 0x00100020, 0x00101000, 0x00102154)
_FEW_DIGITS = 6  # of a number that may stand in a numeric attribute by chance
_TERMS_AT_A_TIME = 10_000
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
        self._vocabulary = vocabulary()
        self._others = Sources(self._vocabulary, Counter())
        self._other_searches: list[Search] | None = None

    def learn(self, before: BinaryIO) -> None:
        """Names and IDs of an original, to be looked for in the outputs of all others; half of an
        original that is refused counts, too. They are held in memory, up to a limit."""

        def see(base: int, old: bytes, new: bytes, trace: list[Trace]) -> None:
            for place, tag, vr, action, _, offset, _, length, _, _, after in trace:
                value = old[offset - base : offset - base + length]
                codecs = others.codecs_at(place, tag, value)
                if after is None or action == core.KEEP:
                    continue
                if core.VR_NAMES[vr] == "PN" or tag in _PERSONAL:
                    others.see(place, tag, core.VR_NAMES[vr], codecs, value)

        others = self._others
        others.next_file()
        try:
            for _ in Walk(self._veil.session, Flat(before), see).elements():
                pass
        except DicomError:
            pass
        self._other_searches = None

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
        for search in _searches(sources):
            self._search(search, "identifier", sources, old, new, comparison.bulk, verdict, name)
        if self._others.terms:
            if self._other_searches is None:
                self._other_searches = list(_searches(self._others, coded=False))
            if self._others.full and not sources.full:
                verdict.add(Finding("too many"))
            kind = "other identifier"
            for search in self._other_searches:
                self._search(search, kind, sources, old, new, comparison.bulk, verdict, name)
        verdict.findings.sort(key=lambda finding: -1 if finding.offset is None else finding.offset)
        return verdict

    def _search(
        self,
        search: Search,
        kind: str,
        own: Sources,
        old: Flat,
        new: Flat,
        bulk: list[tuple[int, int]],
        verdict: Verdict,
        name: str,
    ) -> None:
        """All of an output, and its name."""
        sources = own if kind == "identifier" else self._others
        places = _Elements(self._veil, Flat(old.file), Flat(new.file))
        for hit in search.hits(_chunks(new, bulk, verdict)):
            if sources is own or _tells(hit.term, own):
                self._judge(kind, hit, places, sources, verdict)
        for hit in search.hits([(0, os.fsencode(name))]):
            if sources is own or _tells(hit.term, own):
                source = _source(hit.term, sources)
                verdict.add(Finding("name", source=source, detail=hit.term.kind))

    def _judge(
        self, kind: str, hit: Hit, places: _Elements, sources: Sources, verdict: Verdict
    ) -> None:
        element = places.at(hit.offset)
        why = ""
        if element is not None:
            try:
                why = places.exempts(element, hit, kind != "identifier")
            except DicomError:  # the two are not deflated alike
                pass
        if why:
            verdict.exempt[why] += 1
            return
        path = places.gap(hit.offset)
        if element is not None:
            path = path_text(element.place, element.tag)
        source = _source(hit.term, sources)
        verdict.add(Finding(kind, hit.offset, path, source, hit.term.kind, hit.value))


def _searches(sources: Sources, *, coded: bool = True) -> Iterator[Search]:
    """So many terms at a time that the tables of one search take some 40 MB; most files have
    tens."""
    terms = iter([term for term, _ in sources.terms.values()])
    while part := list(itertools.islice(terms, _TERMS_AT_A_TIME)):
        yield Search(part, coded=coded)
    if not sources.terms:
        yield Search(())  # all is read, as ever


def _tells(term: Term, own: Sources) -> bool:
    """Whether a term of another original says something: it is not of this one, and no number of
    few digits, which many have."""
    few = term.value.isdigit() and len(term.value) <= _FEW_DIGITS
    return not few and (term.kind, term.value) not in own.terms


def _source(term: Term, sources: Sources) -> str:
    place: tuple[Place, int] = sources.terms[term.kind, term.value][1]
    return path_text(*place)


def _chunks(
    flat: Flat, bulk: list[tuple[int, int]], verdict: Verdict
) -> Iterator[tuple[int, bytes]]:
    """All bytes but those of pixels and waveforms. A deflated data set that cannot be inflated was
    told by the comparison; what can be read of it is searched."""
    at = passed = 0
    for start, end in [*sorted(bulk), (1 << 63, 1 << 63)]:
        while at < start:
            try:
                data = flat.read(at, min(CHUNK, start - at))
            except DicomError:
                return
            if not data:
                return
            at += len(data)
            verdict.scanned = max(verdict.scanned, at - passed)
            yield at - len(data), data
        passed += max(0, end - at)
        at = max(at, end)


class _Elements:
    """The elements of the output by offset, for those who ask in order. It is walked once more
    when the first one asks."""

    def __init__(self, veil: Veils, before: Flat, flat: Flat) -> None:
        self._before = before
        self._elements: Iterator[Element] | None = None
        self._veil = veil
        self._flat = flat  # both are of its own: they are read forward
        self._value: tuple[Element | None, bytes] = (None, b"")  # read last
        self._now: Element | None = None
        self._next: Element | None = None

    def at(self, offset: int) -> Element | None:
        """The element whose value holds this byte."""
        if self._elements is None:
            self._elements = Walk(self._veil.looker, self._flat).elements()
            self._next = self._following()
        while self._next is not None and self._next.offset <= offset:
            self._now = self._next
            self._next = self._following()
        now = self._now
        if now is None or (now.total != UNDEFINED and offset >= now.offset + now.total):
            return None
        return now

    def _following(self) -> Element | None:
        assert self._elements is not None
        try:
            return next(self._elements, None)
        except DicomError:
            return None

    def gap(self, offset: int) -> str:
        """What an offset is called that is in no element."""
        if offset < _PREAMBLE:
            return "preamble"
        return "tail" if self._next is None else ""

    def exempts(self, element: Element, hit: Hit, other: bool) -> str:
        """Why an identifying value may stand there; empty: it may not. `other`: it is of another
        original."""
        kind, vr = hit.term.kind, core.VR_NAMES[element.vr] if isinstance(element.vr, int) else ""
        action = core.ACTION_NAMES[element.action]
        if action in _NEW_DATES and kind == DATE:
            return "new date that equals another old one"
        few = kind in (ID, RUN) and len(hit.term.value) <= _FEW_DIGITS
        if few and vr in ("DS", "IS", "TM") and action in (_KEEP, "shift"):
            return "number of few digits in a numeric attribute that stays"
        if action not in (_KEEP, _CHECK_UID):
            return ""
        self._before.unpack_from(self._flat.packed_from)
        if self._before.read(hit.offset, len(hit.value)) != hit.value:
            return ""  # it did not stay
        if vr == "UI" and kind in (DATE, TIME, NUMBER, AGE, ID, RUN):
            return "part of a UID that stays"
        if vr == "CS" and kind in (NAME, PLACE, ID, RUN, TEXT):
            return "word in a coded value that stays"
        creator = element.tag >> 16 & 1 and 0x10 <= element.tag & 0xFFFF <= 0xFF
        product = creator or element.tag in _PRODUCT
        if product and (kind in (PLACE, ID, RUN) or (kind == NAME and other)):
            return "name of a product that stays"
        if (
            kind in (UID, DATE, TIME, AGE, PLACE, TEXT, NUMBER, RUN)
            and element.total <= _LONGEST_KEPT
        ):
            if self._value[0] is not element:
                # of the original: the output may be broken behind the hit
                self._value = (element, self._before.read(element.offset, element.total))
            if hit.term.value in [normalised(part) for part in self._value[1].split(b"\\")]:
                return "same value in an attribute that stays"
        return ""
