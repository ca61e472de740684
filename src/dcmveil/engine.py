"""A frozen profile and a key: answers the values that the core asks for."""

from __future__ import annotations

from . import core
from .keys import RunMark, UidMapper
from .profile.tables_io import read_text, rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .core import Answer, Ask
    from .profile import Profile

# How the data set of each kind of transfer syntax is encoded (PS3.5 annex A).
_ENCODING_OF_KIND = {
    "implicit-le": core.IMPLICIT_LE,
    "explicit-le": core.EXPLICIT_LE,
    "explicit-be": core.EXPLICIT_BE,
    "deflated": core.EXPLICIT_LE,
    "encapsulated": core.EXPLICIT_LE,
}
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
# Basic Voice Audio and General Audio Waveform Storage: the waveform is a voice
AUDIO_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.9.4.1", "1.2.840.10008.5.1.4.1.1.9.4.2"})


class Engine:
    """Everything that the sessions of one profile and key share."""

    def __init__(self, profile: Profile, key: bytes, uid_root: str) -> None:
        registered = frozenset(
            line.encode()
            for line in read_text("registered_uids.txt").splitlines()
            if not line.startswith("#")
        )
        self.profile = profile
        self.uids = UidMapper(key, registered, uid_root)
        self.mark = RunMark(key, profile.digest)
        self._kinds = dict(row for row in rows(read_text("transfer_syntaxes.tsv")))

    def encoding_of(self, syntax: str) -> tuple[int | None, bool]:
        """How the core must read a transfer syntax (None: it is not of a data set), and whether
        the data set is deflated. An empty or unregistered UID must be proved by the bytes."""
        if not syntax:
            return core.UNKNOWN, False
        kind = self._kinds.get(syntax)
        if kind is None:
            return core.UNREGISTERED, False
        return _ENCODING_OF_KIND.get(kind), kind == "deflated"

    def answers(self, syntax: str, second_run: bool) -> Answers:
        """What gives the core new values for one input of that transfer syntax."""
        return Answers(self.uids, syntax, second_run)


class Answers:
    """New values for one input. `notes` counts what a user should know of.

    second_run: the input bears the mark of an earlier run, so its keyed values stay.
    """

    def __init__(self, uids: UidMapper, syntax: str, second_run: bool) -> None:
        self.notes: dict[str, int] = {}
        self._syntax = syntax
        self._new_uids = uids.keep_value if second_run else uids.map_value
        self._kept_uids = uids.keep_value

    def __call__(self, asks: list[Ask]) -> list[Answer]:
        """One batch: the values of a window that need more than the rule table."""
        new: list[Answer] = []
        for action, value, _vr, about in asks:
            if action == core.UID:
                new.append(self._new_uids(value))
            elif action == core.CHECK_UID:
                new.append(self._kept_uids(value))
            elif action == core.PIXELS:
                new.append(_blank_pixels(self._syntax, value, about))
            else:
                new.append(self._blank_document(value, about))
        return new

    def _blank_document(self, first_bytes: bytes, length: int) -> tuple[bytes, int, bytes]:
        from .documents import blank_document

        fill, valid = blank_document(first_bytes, length)
        if not valid:
            note = "encapsulated document of no known format set to zeros"
            self.notes[note] = self.notes.get(note, 0) + 1
        return fill.head, fill.fill, fill.tail


def _blank_pixels(syntax: str, fragments: bytes, geometry: tuple[int, ...]) -> bytes | str:
    """Encapsulated pixel data of the same fragments with a blank image in them, or why not."""
    from .codestreams import Geometry, blank_fragments

    height, width, samples, allocated, stored, frames = geometry
    pieces = _fragments(fragments)
    image = Geometry(height, width, samples or 1, allocated or 8, stored or allocated or 8)
    blank = blank_fragments(syntax, image, frames or 1, [length for _, length in pieces[1:]])
    if blank is None:
        return "no blank image of the same size and transfer syntax fits this icon"
    new = bytearray(fragments)
    for (start, length), piece in zip(pieces[1:], blank, strict=True):
        new[start : start + length] = piece
    return bytes(new)


def _fragments(value: bytes) -> list[tuple[int, int]]:
    """(start, length) of each item in an encapsulated value that the core has measured; the first
    is the Basic Offset Table (PS3.5 section A.4)."""
    pieces = []
    at = 0
    while value[at : at + 4] == b"\xfe\xff\x00\xe0":
        length = int.from_bytes(value[at + 4 : at + 8], "little")
        pieces.append((at + 8, length))
        at += 8 + length
    return pieces
