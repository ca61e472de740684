"""DICOMDIRs made by hand: records in any order, linked as they should be, or as a test says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from build import EXPLICIT_LE, E, Item, encode, encoding_of, part10

DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
MR = "1.2.840.10008.5.1.4.1.1.4"
ROOT = "1.2.826.0.1.3680043.9.3811.2016"


@dataclass(eq=False)
class Record:
    """A directory record. `following` and `below` replace the links that the tree gives it: another
    record, an offset, or None for no element at all."""

    kind: str
    elements: list[E | bytes] = field(default_factory=list)
    lower: list[Record] = field(default_factory=list)
    in_use: bool = True
    following: Record | int | str | None = "tree"
    below: Record | int | str | None = "tree"
    linked: bool = True  # False: an orphan; no record of its level leads to it

    def all(self) -> Iterator[Record]:
        yield self
        for record in self.lower:
            yield from record.all()


def patient(patient_id: str, *lower: Record, name: str = "DOE^JANE", **how: object) -> Record:
    elements = [E(0x00100010, "PN", name), E(0x00100020, "LO", patient_id)]
    return Record("PATIENT", elements, list(lower), **how)  # type: ignore[arg-type]


def study(number: int, *lower: Record, date: str = "20160229", **how: object) -> Record:
    elements = [
        E(0x00080020, "DA", date),
        E(0x00080030, "TM", "101530"),
        E(0x00080050, "SH", f"ACC-{number:04d}"),
        E(0x0020000D, "UI", f"{ROOT}.{number}"),
    ]
    return Record("STUDY", elements, list(lower), **how)  # type: ignore[arg-type]


def series(number: int, *lower: Record, **how: object) -> Record:
    elements = [E(0x00080060, "CS", "MR"), E(0x0020000E, "UI", f"{ROOT}.7.{number}")]
    return Record("SERIES", elements, list(lower), **how)  # type: ignore[arg-type]


def image(number: int, date: str = "20160229", **how: object) -> Record:
    elements = [
        E(0x00041500, "CS", f"DOEJANE\\SE{number}\\IM{number:06d}"),
        E(0x00041510, "UI", MR),
        E(0x00041511, "UI", f"{ROOT}.8.{number}"),
        E(0x00041512, "UI", EXPLICIT_LE),
        E(0x00080023, "DA", date),
        E(0x00200013, "IS", str(number)),
    ]
    return Record("IMAGE", elements, **how)  # type: ignore[arg-type]


def directory(
    roots: Sequence[Record],
    *,
    order: Sequence[Record] | None = None,
    syntax: str = EXPLICIT_LE,
    undefined: bool = False,
    preamble: bytes | None = bytes(128),
    more: Sequence[E | bytes] = (),
) -> bytes:
    """A DICOMDIR of these records and all below them. order: in which they stand in the file."""
    there = list(order or [record for root in roots for record in root.all()])
    tree = _links(roots)
    encoding = encoding_of(syntax)
    at: dict[Record | None, int] = dict.fromkeys([None, *there], 0)
    data = b""
    for _ in range(2):  # once to measure, once with the offsets
        items = [Item(_elements(record, tree, at), undefined) for record in there]
        linked = [root for root in roots if root.linked]
        head: list[E | bytes] = [
            E(0x00041130, "CS", "DOE_SET"),
            E(0x00041141, "CS", "DOE\\README"),
            E(0x00041200, "UL", [at[linked[0] if linked else None]]),
            E(0x00041202, "UL", [at[linked[-1] if linked else None]]),
            E(0x00041212, "US", [0]),
        ]
        meta = [
            E(0x00020002, "UI", DIRECTORY_CLASS),
            E(0x00020003, "UI", f"{ROOT}.9"),
            E(0x00020010, "UI", syntax),
        ]
        sequence = E(0x00041220, "SQ", items, undefined=undefined)
        data = part10([*head, sequence, *more], syntax, meta=meta, preamble=preamble)
        start = len(part10([*head, E(0x00041220, "SQ", [])], syntax, meta=meta, preamble=preamble))
        for record, item in zip(there, items, strict=True):
            at[record] = start
            start += len(encode([E(0x00041220, "SQ", [item])], encoding)) - len(
                encode([E(0x00041220, "SQ", [])], encoding)
            )
    return data


def _links(roots: Sequence[Record]) -> dict[Record, tuple[Record | None, Record | None]]:
    """Next and first lower record of each, as a tree has them."""
    found: dict[Record, tuple[Record | None, Record | None]] = {}
    levels = [list(roots)]
    while levels:
        level = levels.pop()
        linked = [record for record in level if record.linked]
        after = dict(zip(linked, [*linked[1:], None], strict=False))
        for record in level:
            first = next((lower for lower in record.lower if lower.linked), None)
            found[record] = after.get(record), first
            levels.append(record.lower)
    return found


def _elements(
    record: Record,
    tree: dict[Record, tuple[Record | None, Record | None]],
    at: dict[Record | None, int],
) -> list[E | bytes]:
    elements: list[E | bytes] = [
        E(0x00041410, "US", [0xFFFF if record.in_use else 0]),
        E(0x00041430, "CS", record.kind),
        *record.elements,
    ]
    given = (record.following, record.below)
    for tag, link, own in zip((0x00041400, 0x00041420), given, tree[record], strict=True):
        if link is not None:
            target = own if link == "tree" else link
            offset = target if isinstance(target, int) else at[target]  # type: ignore[index]
            elements.append(E(tag, "UL", [offset]))
    return sorted(elements, key=lambda e: e.tag if isinstance(e, E) else 0)
