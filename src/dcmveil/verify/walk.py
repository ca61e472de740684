"""One file walked from start to end: its elements, and its bytes at any offset."""

from __future__ import annotations

from ..deflate import Inflater
from ..faces.stream import read_into
from ..inspect import ENCAPSULATED, MARKERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO, Literal

    from ..core import Trace
    from ..session import Session, Watch

    Place = tuple[tuple[int, int], ...]
    Make = Callable[[list[Trace], Watch], Session]
    See = Callable[[int, bytes, bytes, list[Trace]], None]

PIECE = 1 << 18
UNDEFINED = 0xFFFFFFFF
_WAVEFORM_DATA = 0x54001010
_PIXEL_GROUP = 0x7FE0
_LEAST_GAP = 16  # a header of encapsulated data, that of its first item
_ITEM, _ITEM_HEADER = b"\xfe\xff\x00\xe0", 8


class Flat:
    """A file's bytes as offsets count them: a deflated data set inflated. Reading forward is
    cheap; reading back in a deflated one starts again."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._end = file.seek(0, 2)
        self._packed_from: int | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._piece = b""
        self._at = 0  # offset of the piece
        self.surplus = 0

    def unpack_from(self, offset: int | None) -> None:
        """The deflated data set starts here."""
        if offset is not None and self._packed_from is None:
            self._packed_from = offset
            self._rewind(offset)

    @property
    def raw_size(self) -> int:
        return self._end

    @property
    def packed_from(self) -> int | None:
        """Where the deflated data set starts, as far as known."""
        return self._packed_from

    def size(self) -> int:
        """In bytes. Raises DicomError for a deflated data set that cannot be inflated."""
        if self._packed_from is None:
            return self._end
        while self._next():
            pass
        return self._at

    def read(self, offset: int, n: int) -> bytes:
        """n bytes, fewer at the end. Raises DicomError."""
        start = self._packed_from
        if start is None or offset + n <= start:
            return self.raw(offset, n)
        if offset < start:
            return self.raw(offset, start - offset) + self.read(start, n - (start - offset))
        if offset < self._at:
            self._rewind(start)
        parts = []
        while n:
            skip = offset - self._at
            if skip < len(self._piece):
                part = self._piece[skip : skip + n]
                parts.append(part)
                offset += len(part)
                n -= len(part)
            elif not self._next():
                break
        return b"".join(parts)

    def raw(self, offset: int, n: int) -> bytes:
        """n bytes of the file as it is."""
        self.file.seek(offset)
        parts = []
        while n and (part := self.file.read(n)):
            parts.append(part)
            n -= len(part)
        return b"".join(parts)

    def _rewind(self, start: int) -> None:
        self._pieces = self._inflated(start)
        self._piece = b""
        self._at = start

    def _next(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            self._at += len(self._piece)
            self._piece = b""
            return False
        self._at += len(self._piece)
        self._piece = piece
        return True

    def _inflated(self, start: int) -> Iterator[bytes]:
        inflater = Inflater(start)
        while True:
            raw = self.raw(start, PIECE)
            yield from inflater.pieces(raw, not raw)
            if not raw:
                self.surplus = inflater.surplus
                return
            start += len(raw)


class Element:
    """A data element as the walk meets it: tag path, VR, offset of its value, length of the value
    field (UNDEFINED if it is), and the action that the profile takes there."""

    __slots__ = ("action", "offset", "place", "tag", "total", "vr")

    def __init__(
        self, place: Place, tag: int, vr: int | str, action: int, offset: int, total: int
    ) -> None:
        self.place = place
        self.tag = tag
        self.vr = vr
        self.action = action
        self.offset = offset
        self.total = total

    def same(self, other: Element) -> bool:
        """Whether it stands at the same place in the same form."""
        return (
            self.offset == other.offset
            and self.tag == other.tag
            and self.total == other.total
            and self.vr == other.vr
            and self.place == other.place
        )


class Walk:
    """The elements of a file in order. `see` gets every step of the session, with its bytes and its
    part of the trace; then the trace is emptied."""

    def __init__(self, make: Make, flat: Flat, see: See | None = None) -> None:
        self._trace: list[Trace] = []
        self.session = make(self._trace, self._watch)
        self._flat = flat
        self._see = see
        self._ready: list[Element] = []
        self._end = 0  # of the last value
        self._silent = False  # inside encapsulated data, of which the trace says nothing

    def elements(self) -> Iterator[Element]:
        """Raises DicomError where the file is not understood, after what comes before it."""
        session, flat, at = self.session, self._flat, 0
        while not session.done:
            if session.skip:
                n = max(0, min(session.skip, flat.raw_size - at))
                at += n
                session.passed(n)
                continue
            with session.room() as room:
                flat.file.seek(at)
                n = read_into(flat.file, room)
            at += n
            for _ in session.push(n):
                flat.unpack_from(session.packed_from)
                ready, self._ready = self._ready, []
                yield from ready

    def _watch(self, base: int, old: bytes, new: bytes) -> None:
        self._flat.unpack_from(self.session.packed_from)
        for entry in self._trace:
            place, tag, vr, action, _, offset, done, _, total, _, after = entry
            if done or offset < self._end:  # more of the same value, or of its encapsulated data
                continue
            self._silent = self._silent and tag >> 16 == _PIXEL_GROUP
            if offset - self._end >= _LEAST_GAP:
                self._see_gap(base, old, offset, followed=True)
            self._ready.append(Element(place, tag, vr, action, offset, total))
            self._end = offset if after is None or total == UNDEFINED else offset + total
        self._see_gap(base, old, base + len(old), followed=False)
        if self._see is not None:
            self._see(base, old, new, self._trace)
        self._trace.clear()

    def _see_gap(self, base: int, old: bytes, end: int, followed: bool) -> None:
        """The header of encapsulated data that stays: it is in no trace."""
        start = max(self._end, base)
        if self._silent or start >= end:
            return
        gap = old[start - base : end - base]
        markers = MARKERS.match(gap)
        assert markers is not None  # it may be empty
        header = ENCAPSULATED.match(gap, markers.end())
        if header is None or (followed and header.end() == len(gap)):
            return
        order: Literal["big", "little"] = "big" if header[3] else "little"
        group, element = (int.from_bytes(header[1][i : i + 2], order) for i in (0, 2))
        if group != _PIXEL_GROUP:
            return
        self._silent = True
        tag = group << 16 | element
        vr = header[2].decode() if header[2] else "OW"
        self._ready.append(Element((), tag, vr, 0, start + header.end(), UNDEFINED))


def bulk_of(element: Element, flat: Flat) -> tuple[int, int] | None:
    """Where pixel data and waveforms stand, which are not searched: [start, end). None: it is not
    one of these."""
    pixels = element.tag >> 16 == _PIXEL_GROUP and not element.place
    if not pixels and element.tag != _WAVEFORM_DATA:
        return None
    if element.total != UNDEFINED:
        return element.offset, element.offset + element.total
    at = element.offset
    while True:  # from item to item (PS3.5 section A.4)
        header = flat.read(at, _ITEM_HEADER)
        if header[:4] != _ITEM or len(header) < _ITEM_HEADER:
            return element.offset, at
        at += _ITEM_HEADER + int.from_bytes(header[4:], "little")
