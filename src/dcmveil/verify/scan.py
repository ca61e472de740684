"""The search for identifying values in bytes that nobody has parsed.

All terms are looked for at one time, in time linear in the bytes and whatever their number: the
last 4 or 8 bytes of each spelling are in a set, every such group of bytes of the input is tried
against it, and only where one is found are whole spellings compared.
"""

from __future__ import annotations

import re

from .identifiers import AGE, DATE, DROPPED, LOWER, UID, Term, normalised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

CHUNK = 1 << 18
# Bytes of one chunk that are searched again with the next: more than any spelling takes, in UTF-16
# and with separators.
OVERLAP = 1024
_CONTEXT = 8  # bytes behind a hit that decide whether it is a whole word

_SPELLING, _CODED, _EXACT = range(3)
_DROPPED = frozenset(DROPPED) - {0}
_DIGITS = frozenset(b"0123456789")
_WORD = _DIGITS | frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DOT = 0x2E
_STEP = 128
_FAR = 32
_DIGITS_AND_POINTS = re.compile(rb"\A[0-9.]*")

Owners = list[tuple[Term, int]]


class Hit:
    """A term at an absolute offset, `length` bytes long."""

    __slots__ = ("length", "offset", "term", "value")

    def __init__(self, term: Term, offset: int, value: bytes) -> None:
        self.term = term
        self.offset = offset
        self.length = len(value)
        self.value = value


class _Table:
    """Spellings by their last bytes."""

    def __init__(self) -> None:
        # size of a group -> group as a number -> length -> spelling -> who it belongs to
        self._groups: dict[int, dict[int, dict[int, dict[bytes, Owners]]]] = {4: {}, 8: {}}

    def add(self, spelling: bytes, term: Term, form: int) -> None:
        size = 8 if len(spelling) >= 8 else 4
        group = int.from_bytes(spelling[-size:], "little")
        by_length = self._groups[size].setdefault(group, {})
        by_length.setdefault(len(spelling), {}).setdefault(spelling, []).append((term, form))

    def find(self, data: bytes) -> Iterator[tuple[int, int, Owners]]:
        """(start, end, owners) of every spelling in data."""
        for size, groups in self._groups.items():
            for end in _ends(data, size, groups) if groups else ():
                group = int.from_bytes(data[end - size : end], "little")
                for length, spellings in groups[group].items():
                    owners = spellings.get(data[end - length : end]) if length <= end else None
                    if owners is not None:
                        yield end - length, end, owners


def _ends(data: bytes, size: int, groups: Mapping[int, object]) -> Iterator[int]:
    """Where a group of so many bytes ends that is one of these."""
    keys = frozenset(groups)  # it asks fastest
    view = memoryview(data)
    for shift in range(size):
        numbers = view[shift : shift + (len(data) - shift) // size * size].cast(
            "I" if size == 4 else "Q"
        )
        if keys.isdisjoint(numbers):
            continue
        for i, number in enumerate(numbers):
            if number in groups:
                yield shift + (i + 1) * size


class Search:
    """Terms, ready to be looked for; `coded`: in hexadecimal digits and base64, too."""

    def __init__(self, terms: Iterable[Term], *, coded: bool = True) -> None:
        self._normal, self._exact = _Table(), _Table()
        self._any_exact = False
        for term in terms:
            for spelling in term.spellings:
                self._normal.add(spelling, term, _SPELLING)
            for spelling in term.coded if coded else ():
                self._normal.add(spelling, term, _CODED)
            for spelling in term.exact:
                self._exact.add(spelling, term, _EXACT)
                self._any_exact = True

    def hits(self, chunks: Iterable[tuple[int, bytes]]) -> Iterator[Hit]:
        """Chunks are (offset, bytes), in order; nothing is sought across a gap between two. Of hits
        that overlap, the longest."""
        data, start, told = b"", 0, 0
        for offset, chunk in chunks:
            if start + len(data) != offset:
                yield from self._search(data, start, told, len(data))
                data, start, told = b"", offset, 0
            data += chunk
            done = len(data) - OVERLAP
            if done > 0:
                yield from self._search(data, start, told, done)
                keep = max(0, done - OVERLAP)
                data, start, told = data[keep:], start + keep, done - keep
        yield from self._search(data, start, told, len(data))

    def _search(self, data: bytes, start: int, first: int, stop: int) -> Iterator[Hit]:
        """Hits that end behind `first`, since the others were told before, up to `stop`."""
        found = []
        small = data.translate(LOWER, DROPPED)
        places = _Places(data)
        for begin, end, owners in self._normal.find(small):
            a, b = places.of(begin), places.of(end - 1) + 1
            found += [(a, b, t) for t, form in owners if form == _CODED or _fits(t, data, a, b)]
        if self._any_exact:
            found += [(a, b, t) for a, b, owners in self._exact.find(data) for t, _ in owners]
        found = [hit for hit in found if first < hit[1] <= stop]
        found.sort(key=lambda hit: (hit[0], -hit[1]))
        last = -1
        for a, b, term in found:
            if a >= last:
                yield Hit(term, start + a, data[a:b])
                last = b


class _Places:
    """From places in normalised bytes to those in the bytes themselves."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._counts: list[int] | None = None

    def of(self, index: int) -> int:
        from bisect import bisect_right

        data = self._data
        if self._counts is None:
            self._counts = [0]
            for at in range(0, len(data), _STEP):
                left = len(data[at : at + _STEP].translate(None, DROPPED))
                self._counts.append(self._counts[-1] + left)
        block = bisect_right(self._counts, index) - 1
        at, left = block * _STEP, index - self._counts[block]
        while True:
            if data[at] not in DROPPED:
                if left == 0:
                    return at
                left -= 1
            at += 1


def _fits(term: Term, data: bytes, start: int, end: int) -> bool:
    """Whether what stands there is the term, and not parts of other words that happen to meet."""
    step = 1
    text = data[start:end]
    if 0 in text:  # UTF-16, or no text
        if text[1::2].strip(b"\0"):
            return False
        step, text = 2, text[::2]
    before = data[start - step] if start >= step else 0
    after = data[end + step - 1] if end + step - 1 < len(data) else 0
    marks = [c for c in text if c in _DROPPED]
    if marks and term.plain and text.lower() != term.text.lower().encode():
        return False
    if text[0] in _DIGITS and before in _DIGITS:
        return False
    if text[-1] in _DIGITS and after in _DIGITS:
        return False
    if term.whole and (before in _WORD or after in _WORD):
        return False
    if term.kind == UID:
        return _fits_uid(term, text, data[start - 2 * step : start], data[end : end + 2 * step])
    if not term.value.isdigit():
        return True
    if step == 1 and _in_decimal(data, start, end):
        return False
    if not marks:
        return True
    if term.kind == DATE:
        return len(text) == 10 and text[4] == text[7] and text[4] in b"-./ _"
    # a number in groups: one kind of mark, and no decimal point
    same = text.lower() == term.text.lower().encode()
    return same or (len(set(marks)) == 1 and _DOT not in marks and len(marks) <= 4)


def _in_decimal(data: bytes, start: int, end: int) -> bool:
    """Whether digits belong to a decimal number: those around, with one point among them."""
    ahead = _DIGITS_AND_POINTS.search(data[max(0, start - _FAR) : start][::-1])
    behind = _DIGITS_AND_POINTS.search(data[end : end + _FAR])
    assert ahead is not None  # either may be empty
    assert behind is not None
    run = ahead[0][::-1] + b"0" + behind[0]
    return run.strip(b".").count(b".") == 1


def _fits_uid(term: Term, text: bytes, before: bytes, after: bytes) -> bool:
    """A whole UID, as it is or with other marks between its components."""
    ahead, behind = before.replace(b"\0", b""), after.replace(b"\0", b"")
    if ahead[-1:] == b"." and ahead[-2:-1].isdigit():
        return False
    if behind[:1] == b"." and behind[1:2].isdigit():
        return False
    marks = {c for c in text if c in _DROPPED}
    if not marks:
        return len(text) >= 12
    if len(marks) > 1:
        return False
    mark = bytes(marks)
    return text.replace(mark, b".") == term.text.encode()


__all__ = ["AGE", "CHUNK", "Hit", "Search", "normalised"]
