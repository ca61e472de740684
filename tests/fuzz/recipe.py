"""Bytes read as choices: each string of bytes makes one data set with lengths that fit.

Mutations of a file mostly tear its lengths apart. Mutations of a recipe move through files that
hold together, or are damaged in one place by choice.
"""

from __future__ import annotations

import struct
from typing import TypeVar

from build import LONG_HEADER, UNDEFINED, VRS, E, Fragments, Item, encode

T = TypeVar("T")
DEPTH = 6
# tags on which something depends, or that are treated in a way of their own
TAGS = [
    (0x00080005, "CS"), (0x00080008, "CS"), (0x00080016, "UI"), (0x00080018, "UI"),
    (0x00080020, "DA"), (0x0008002A, "DT"), (0x00080030, "TM"), (0x00080060, "CS"),
    (0x00080070, "LO"), (0x00080100, "SH"), (0x00080300, "SQ"), (0x00080301, "US"),
    (0x00080302, "LO"), (0x00080303, "CS"), (0x00080304, "US"), (0x00081115, "SQ"),
    (0x00081190, "UR"), (0x00081199, "SQ"), (0x00090010, "LO"), (0x00091001, "UN"),
    (0x00091002, "SQ"), (0x00100010, "PN"), (0x00100020, "LO"), (0x00100030, "DA"),
    (0x00101002, "SQ"), (0x00101010, "AS"), (0x00104000, "LT"), (0x00120062, "CS"),
    (0x00120063, "LO"), (0x00180050, "DS"), (0x00189074, "DT"), (0x00190010, "LO"),
    (0x0019100C, "IS"), (0x0020000D, "UI"), (0x0020000E, "UI"), (0x00200052, "UI"),
    (0x00204000, "LT"), (0x00280002, "US"), (0x00280008, "IS"), (0x00280010, "US"),
    (0x00280011, "US"), (0x00280100, "US"), (0x00280101, "US"), (0x00290010, "LO"),
    (0x00291010, "OB"), (0x00400244, "DA"), (0x00400275, "SQ"), (0x0040A123, "PN"),
    (0x0040A160, "UT"), (0x0040A730, "SQ"), (0x00420011, "OB"), (0x00420012, "LO"),
    (0x00710010, "LO"), (0x00711018, "SQ"), (0x00711019, "SQ"), (0x00720070, "SQ"),
    (0x00880200, "SQ"), (0x50003000, "OW"), (0x54000100, "SQ"), (0x54001010, "OW"),
    (0x60003000, "OW"), (0x60000022, "LO"), (0x7FE00008, "OF"), (0x7FE00010, "OW"),
    (0x7FE00010, "OB"), (0xFFFCFFFC, "OB"), (0x00020010, "UI"), (0x00041220, "SQ"),
    (0x00041430, "CS"), (0x00041500, "CS"), (0x00080000, "UL"), (0x00080011, "XX"),
]  # fmt: skip
TEXTS = [
    b"", b"DOE^JOHN", b"A\\B", b"20240229", b"2024.02.29", b"101530.25 ", b"HEAD\0hid", b"\\\\ ",
    b"62", b"SAFE", b"MIXED", b"YES ", b"%PDF-1.4 ", b"<?xml", b"solid ", b"ISO_IR 100",
    b"ISO 2022 IR 87\\ISO 2022 IR 13", b"ISO_IR 192", b"1.2.3\0", b"1.2.840.10008.5.1.4.1.1.4\0",
    b"1.2.840.10008.9.9.9\0", b"1.2.826.0.1.3680043.9.7.20240229.1.4.117",
    b"1.2.840.10008.5.1.4.1.1.9.4.1", b"SIEMENS CSA HEADER", b"SIEMENS MR HEADER ",
    b"AGFA-AG_HPState ", b"GEMS_IDEN_01", b"ACME", b"HOSP-4711 ", b"20240229101530.25+0100",
]  # fmt: skip
MARKERS = [
    b"\xfe\xff\x00\xe0\0\0\0\0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0",
    b"\xff\xfe\xe0\x0d\0\0\0\0", bytes(8), b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\0", b"DICM",
]  # fmt: skip
LENGTHS = [0, 1, 2, 4, 8, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, UNDEFINED]
ENCODINGS = ("explicit-le", "implicit-le", "explicit-be")


class Choices:
    """The bytes of a recipe, one after the other; zeros once they are spent."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def take(self, n: int) -> bytes:
        self._at += n
        return self._data[self._at - n : self._at]

    def of(self, choices: list[T]) -> T:
        return choices[self.byte() % len(choices)]


def data_set(choices: Choices, depth: int = 0) -> list[E | bytes]:
    """Elements until a zero is drawn; at the top until the recipe is spent. In ascending order,
    unless the first byte asks for the order of drawing."""
    made: list[E | bytes] = []
    in_order = choices.byte() % 8
    while choices:
        how = choices.byte()
        if how == 0 and depth:
            break
        made.append(element(choices, how, depth))
    if in_order:
        made.sort(key=lambda e: e.tag if isinstance(e, E) else 0)
    return made


def element(choices: Choices, how: int, depth: int) -> E | bytes:
    if how == 255:
        return choices.of(MARKERS)
    if how == 254:
        return choices.take(choices.byte() % 16)
    tag, vr = choices.of(TAGS)
    if how & 0xF0 == 0xE0:
        tag = tag & 0xFFFF0000 | int.from_bytes(choices.take(2), "little")
    elif how & 0xF0 == 0xD0:
        tag = (tag + (choices.byte() << 16)) & 0xFFFFFFFF
    if how & 0x0F == 0x0F:
        vr = choices.of(VRS)
    elif how & 0x0F == 0x0E:
        vr = "UN"
    length = choices.of(LENGTHS) if how & 0xF0 == 0xC0 else None
    undefined = bool(how & 0x10)
    if depth < DEPTH and (vr == "SQ" or (vr == "UN" and how & 0x20)):
        n = choices.byte() % 3
        items = [Item(data_set(choices, depth + 1), bool(choices.byte() & 1)) for _ in range(n)]
        return E(tag, vr, items, length=length, undefined=undefined)
    if vr in ("OB", "OW") and how & 0x20:
        parts = [choices.take(choices.byte() % 64) for _ in range(choices.byte() % 4)]
        return E(tag, vr, Fragments(parts), length=length)
    if vr == "US":
        value = struct.pack("<H", choices.byte())
    elif how & 0x04:
        value = choices.take(choices.byte() % 64)
    else:
        value = choices.of(TEXTS) + bytes(choices.byte() if vr in ("OB", "UT", "OW") else 0)
    if vr not in LONG_HEADER and length:
        length &= 0xFFFF
    return E(tag, vr, value, length=length, undefined=False)


def cook(recipe: bytes, encoding: str) -> bytes:
    return encode(data_set(Choices(recipe)), encoding)
