"""Whose the records of a DICOMDIR are, and what its run mark is bound to.

A DICOMDIR (PS3.3 annex F, PS3.10 chapter 8) lists the files of several patients in one sequence.
Its items, the directory records, form a tree by byte offsets from the start of the file to an item
tag: each leads to the next one of its own level and to the first one of the level below.
"""

from __future__ import annotations

from .keys import digest_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

# Of the values of core.RECORD_SPANS: two links stand first, then what tells a record from others.
_NEXT, _LOWER, _PATIENT_ID = 0, 1, 4
_NOBODY, _SEVERAL = 0, -1  # whom a record belongs to; patients are numbered from 1


class Directory:
    """The records of one DICOMDIR, added in the order of the file.

    A record's patient is the one whose (0010,0020) stands in it, or in the record that it hangs
    below. It has none where no link leads to it, and where more than one patient lays claim to it.
    Links may lie: they may lead nowhere, back, or to what is someone else's.
    """

    def __init__(self) -> None:
        self._index: dict[int, int] = {}  # offset of the item tag -> number of the record
        self._links: list[tuple[int, int]] = []  # offsets of the next and of the lower record
        self._own: list[int] = []  # whom the record itself names
        self._numbers: dict[bytes, int] = {}  # Patient ID without padding -> number of the patient
        self._ids = [b""]  # number of the patient -> Patient ID
        self._owners: list[int] | None = None
        self._seen = ""

    def add(self, start: int, big: bool, values: list[bytes]) -> None:
        """A record, whose item tag stands at absolute offset `start`; big: in big endian."""
        order: Literal["big", "little"] = "big" if big else "little"
        following, lower = [
            int.from_bytes(link, order) if len(link) == 4 else 0
            for link in (values[_NEXT], values[_LOWER])
        ]
        self._index[start] = len(self._own)
        self._links.append((following, lower))
        patient_id = values[_PATIENT_ID]
        patient = patient_id.partition(b"\0")[0].strip(b" ")
        number = self._numbers.setdefault(patient, len(self._ids)) if patient else _NOBODY
        if number == len(self._ids):
            self._ids.append(patient_id)
        self._own.append(number)
        self.see(values)

    def patient_of(self, start: int) -> bytes:
        """The Patient ID of the record at this offset, empty: it has none."""
        if self._owners is None:
            self._owners = self._find_owners()
        owner = self._owners[self._index[start]]
        return b"" if owner == _SEVERAL else self._ids[owner]

    def _find_owners(self) -> list[int]:
        """The owner of each record. A claim goes from a record to all that hangs below: to the
        first record there, and on to those next to it. What is known of a record can change twice,
        from nobody to one patient to several, so this ends, and in linear time."""
        above = [_NOBODY] * len(self._own)  # the claim that comes down to a record
        pending = [number for number, own in enumerate(self._own) if own]
        while pending:
            record = pending.pop()
            following, lower = self._links[record]
            own = _joined(self._own[record], above[record])
            for link, claim in ((following, above[record]), (lower, own)):
                reached = self._index.get(link)  # no record stands at 0, which is no link
                if reached is None:
                    continue
                joined = _joined(above[reached], claim)
                if joined != above[reached]:
                    above[reached] = joined
                    pending.append(reached)
        return [_joined(*claims) for claims in zip(self._own, above, strict=True)]

    def see(self, values: list[bytes]) -> None:
        """What tells one record from another, for the mark. Padding does not count."""
        texts = [value.rstrip(b"\0 ").decode("latin-1") for value in values[_LOWER + 1 :]]
        self._seen = digest_of(self._seen, *texts).hex()

    def take_seen(self) -> bytes:
        """All that was seen since the last call, as a digest in hexadecimal digits."""
        seen, self._seen = self._seen, ""
        return seen.encode()


def _joined(one: int, other: int) -> int:
    """Two claims to a record."""
    if other in (_NOBODY, one):
        return one
    return other if one == _NOBODY else _SEVERAL
