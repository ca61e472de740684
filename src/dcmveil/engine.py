"""A frozen profile and a key: answers the values that the core asks for."""

from __future__ import annotations

from . import core
from .keys import RunMark, UidMapper
from .profile.tables_io import read_text, rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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

    def answers(self, syntax: str, ours: bool) -> Callable[[list[Ask]], list[Answer]]:
        """The function that gives the core new values for a file of that transfer syntax.

        ours: the file bears the mark of an earlier run, so its keyed values stay.
        """
        new_uids = self.uids.keep_value if ours else self.uids.map_value
        kept_uids = self.uids.keep_value

        def answer(asks: list[Ask]) -> list[Answer]:
            new: list[Answer] = []
            for action, value, about in asks:
                if action == core.UID:
                    new.append(new_uids(value))
                elif action == core.CHECK_UID:
                    new.append(kept_uids(value))
                elif action == core.PIXELS:
                    new.append(_blank_pixels(syntax, value, about))
                else:
                    new.append(_blank_document(value, about))
            return new

        return answer


def _blank_pixels(syntax: str, fragments: bytes, geometry: tuple[int, ...]) -> bytes | None:
    """Encapsulated pixel data of the same fragments, with a blank image in them."""
    from .codestreams import Geometry, blank_fragments

    rows_, columns, samples, allocated, stored, frames = geometry
    pieces = list(_fragments(fragments))
    blank = blank_fragments(
        syntax,
        Geometry(rows_, columns, samples or 1, allocated or 8, stored or allocated or 8),
        frames or 1,
        [length for _, length in pieces[1:]],
    )
    if blank is None:
        return None
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


def _blank_document(head: bytes, length: int) -> tuple[bytes, int, bytes]:
    from .documents import blank_document

    fill, _ = blank_document(head, length)
    return fill.head, fill.fill, fill.tail
