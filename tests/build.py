"""DICOM bytes made by hand from a small readable tree, well formed or not.

Nothing here uses a DICOM library, so that what a library tolerates is no limit. A tree is a list
of elements; `bytes` may stand wherever an element or an item may, and goes in as it is (stray
delimiters, torn headers).

    encode([E(0x00100010, "PN", "DOE^JOHN"), E(0x00081115, "SQ", [Item([...])])], "implicit-le")
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
# how an encapsulated document begins that names a patient
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<</Author(DOE^JANE)>>"

_ALL = "AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN"
_LONG = "OB OD OF OL OV OW SQ SV UC UN UR UT UV"  # in explicit VR, a length of 4 bytes
VRS = (_ALL + " UR US UT UV").split()
LONG_HEADER = frozenset(_LONG.split())
NUMBER = {
    "FD": "d", "FL": "f", "OB": "B", "OD": "d", "OF": "f", "OL": "I", "OV": "Q", "OW": "H",
    "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q",
}  # fmt: skip
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


@dataclass
class Item:
    """One item. A `length` given here is written as it is, and no delimiter follows it."""

    elements: Sequence[E | bytes]
    undefined: bool = False
    length: int | None = None


@dataclass
class Fragments:
    """An encapsulated value; the first fragment is the basic offset table."""

    parts: Sequence[bytes]


Value = bytes | str | Sequence[int | float | Item | bytes] | Fragments


class E:
    """One data element.

    A value is bytes (as they are), a string (ASCII, padded to even length), numbers (packed by VR
    in the byte order of the encoding; tags for AT), items or fragments. `length` overrides the
    length field and may lie; `header` replaces the whole header.
    """

    def __init__(
        self,
        tag: int,
        vr: str,
        value: Value = b"",
        *,
        length: int | None = None,
        undefined: bool = False,
        header: bytes | None = None,
    ) -> None:
        self.tag, self.vr, self.value = tag, vr, value
        self.length, self.header = length, header
        self.undefined = undefined or isinstance(value, Fragments)

    def __repr__(self) -> str:
        return f"E({self.tag:08X}, {self.vr})"


def encode(elements: Sequence[E | bytes], encoding: str = "explicit-le") -> bytes:
    """The elements as bytes; encoding: explicit-le, implicit-le or explicit-be."""
    return b"".join(e if isinstance(e, bytes) else _element(e, encoding) for e in elements)


def _element(e: E, encoding: str) -> bytes:
    value = _value(e, encoding)
    length = e.length
    if length is None:
        length = UNDEFINED if e.undefined else len(value)
    header = _header(e.tag, e.vr, length, encoding) if e.header is None else e.header
    inner = "implicit-le" if e.vr == "UN" else encoding  # as in _value
    end = _marker(SEQUENCE_END, 0, inner) if e.undefined and e.length is None else b""
    return header + value + end


def _header(tag: int, vr: str, length: int, encoding: str) -> bytes:
    start = _tag(tag, encoding)
    if encoding == "implicit-le":
        return start + struct.pack("<I", length)
    order = _order(encoding)
    if vr in LONG_HEADER:
        return start + vr.encode() + struct.pack(order + "HI", 0, length)
    return start + vr.encode() + struct.pack(order + "H", length)


def _value(e: E, encoding: str) -> bytes:
    value = e.value
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return even(value.encode("ascii"), b"\0" if e.vr == "UI" else b" ")
    if isinstance(value, Fragments):
        return b"".join(_marker(ITEM, len(part), encoding) + part for part in value.parts)
    if e.vr == "AT":
        return b"".join(_tag(tag, encoding) for tag in value)  # type: ignore[arg-type]
    if e.vr in NUMBER:
        return even(struct.pack(f"{_order(encoding)}{len(value)}{NUMBER[e.vr]}", *value))
    # The content of a UN of undefined length is implicit VR whatever stands around it (CP-246).
    inner = "implicit-le" if e.vr == "UN" and e.undefined else encoding
    return b"".join(i if isinstance(i, bytes) else _item(i, inner) for i in value)  # type: ignore[arg-type]


def _item(item: Item, encoding: str) -> bytes:
    body = encode(item.elements, encoding)
    if item.undefined and item.length is None:
        return _marker(ITEM, UNDEFINED, encoding) + body + _marker(ITEM_END, 0, encoding)
    length = len(body) if item.length is None else item.length
    return _marker(ITEM, length, encoding) + body


def _marker(tag: int, length: int, encoding: str) -> bytes:
    return _tag(tag, encoding) + struct.pack(_order(encoding) + "I", length)


def _tag(tag: int, encoding: str) -> bytes:
    return struct.pack(_order(encoding) + "HH", tag >> 16, tag & 0xFFFF)


def _order(encoding: str) -> str:
    return {"explicit-le": "<", "implicit-le": "<", "explicit-be": ">"}[encoding]


def even(value: bytes, pad: bytes = b"\0") -> bytes:
    return value + pad if len(value) % 2 else value


def encoding_of(transfer_syntax: str) -> str:
    return {IMPLICIT_LE: "implicit-le", EXPLICIT_BE: "explicit-be"}.get(
        transfer_syntax, "explicit-le"
    )


def part10(
    elements: Sequence[E | bytes],
    transfer_syntax: str = EXPLICIT_LE,
    *,
    meta: Sequence[E | bytes] | None = None,
    preamble: bytes | None = bytes(128),
) -> bytes:
    """A Part 10 file. `meta` replaces the usual file meta information ([] leaves it out);
    (0002,0000) is put before it, and is correct, unless given. No preamble: no DICM either.
    """
    if meta is None:
        meta = _usual_meta(elements, transfer_syntax)
    head = encode(meta)
    if meta and not (isinstance(meta[0], E) and meta[0].tag == 0x00020000):
        head = encode([E(0x00020000, "UL", [len(head)])]) + head
    body = encode(elements, encoding_of(transfer_syntax))
    if transfer_syntax in DEFLATED:
        body = deflate(body)
    return (b"" if preamble is None else preamble + b"DICM") + head + body


def deflate(data: bytes) -> bytes:
    """Raw deflate (RFC 1951), padded to even length (PS3.5 A.5)."""
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return even(squeeze.compress(data) + squeeze.flush())


def _usual_meta(elements: Sequence[E | bytes], transfer_syntax: str) -> list[E | bytes]:
    found = {e.tag: e.value for e in elements if isinstance(e, E)}
    return [
        E(0x00020001, "OB", b"\0\1"),
        E(0x00020002, "UI", found.get(0x00080016, "1.2.840.10008.5.1.4.1.1.4")),
        E(0x00020003, "UI", found.get(0x00080018, "1.2.826.0.1.3680043.9.1.1")),
        E(0x00020010, "UI", transfer_syntax),
        E(0x00020012, "UI", "1.2.826.0.1.3680043.9.9"),
        E(0x00020013, "SH", "BUILD 1.0"),
        E(0x00020016, "AE", "WARD7MR"),
    ]


def code(value: str, scheme: str, meaning: str) -> list[E | bytes]:
    return [
        E(0x00080100, "SH", value),
        E(0x00080102, "SH", scheme),
        E(0x00080104, "LO", meaning),
    ]


def sample(encoding: str = "explicit-le", undefined: bool = False) -> bytes:
    """A small MR image as a Part 10 file; `undefined`: sequences and items end with delimiters."""
    syntax = {"implicit-le": IMPLICIT_LE, "explicit-be": EXPLICIT_BE, "explicit-le": EXPLICIT_LE}
    return part10(sample_elements(undefined), syntax[encoding], preamble=b"II*\0" + bytes(124))


def sample_elements(undefined: bool = False) -> list[E | bytes]:
    def seq(tag: int, *items: Sequence[E | bytes], vr: str = "SQ") -> E:
        return E(tag, vr, [Item(i, undefined) for i in items], undefined=undefined)

    study, image = "1.2.826.0.1.3680043.9.7.20240229.1", "1.2.826.0.1.3680043.9.7.20240229.1.4.117"
    mr = "1.2.840.10008.5.1.4.1.1.4"
    icon: list[E | bytes] = [
        E(0x00280002, "US", [1]),
        E(0x00280004, "CS", "MONOCHROME2"),
        E(0x00280010, "US", [4]),
        E(0x00280011, "US", [4]),
        E(0x00280100, "US", [8]),
        E(0x00280101, "US", [8]),
        E(0x00280102, "US", [7]),
        E(0x00280103, "US", [0]),
        E(0x7FE00010, "OW", [0x0102 * i for i in range(8)]),
    ]
    return [
        E(0x00080005, "CS", "ISO_IR 100"),
        E(0x00080008, "CS", "ORIGINAL\\PRIMARY\\M\\SE"),
        E(0x00080012, "DA", "20240229"),
        E(0x00080013, "TM", "101530.25"),
        E(0x00080016, "UI", mr),
        E(0x00080018, "UI", image),
        E(0x00080020, "DA", "20240229"),
        E(0x00080021, "DA", "20240229"),
        E(0x0008002A, "DT", "20240229101530.250000"),
        E(0x00080030, "TM", "1015"),
        E(0x00080050, "SH", "ACC-778812"),
        E(0x00080054, "AE", "PACSHEAD"),
        E(0x00080060, "CS", "MR"),
        E(0x00080070, "LO", "Acme Magnets"),
        E(0x00080080, "LO", "Saint Elsewhere Hospital"),
        E(0x00080081, "ST", "12 Long Lane\r\nElsewhere"),
        E(0x00080090, "PN", "WHITE^ANN^^DR"),
        E(0x00081030, "LO", "Knee left, Mrs Doe"),
        seq(0x00081032, code("KNEE-L", "99LOCAL", "Left knee")),
        E(0x00081070, "PN", "OPERATOR^OLGA"),
        seq(0x00081110, [E(0x00081150, "UI", mr), E(0x00081155, "UI", study)]),
        seq(
            0x00081115,
            [
                seq(
                    0x00081199,
                    [
                        E(0x00081150, "UI", mr),
                        E(0x00081155, "UI", image),
                        seq(0x0040A170, code("121320", "DCM", "Uncompressed predecessor")),
                    ],
                ),
                E(0x0020000E, "UI", study + ".4"),
            ],
        ),
        E(0x00081120, "SQ", []),
        E(0x00090010, "LO", "ACME MAGNETS 1.0"),
        E(0x00091001, "LO", "Doe, Johanna / ward 7"),
        E(0x00091002, "US", [7, 8]),
        E(0x00091003, "OB", b"raw doe bytes\0"),
        seq(0x00091004, [E(0x00100020, "LO", "HOSP-004711"), E(0x00200011, "IS", "4")]),
        E(0x00100010, "PN", "DOE^JOHANNA^MARIA"),
        E(0x00100020, "LO", "HOSP-004711"),
        E(0x00100030, "DA", "19610704"),
        E(0x00100040, "CS", "F"),
        seq(
            0x00101002,
            [
                E(0x00100020, "LO", "OLD-99812"),
                E(0x00100021, "LO", "County"),
                seq(
                    0x00100024, [E(0x00400032, "UT", "elsewhere.test"), E(0x00400033, "CS", "DNS")]
                ),
            ],
        ),
        E(0x00101010, "AS", "062Y"),
        E(0x00101030, "DS", "71.5"),
        E(0x001021C0, "US", [4]),
        E(0x00104000, "LT", "Daughter calls on 555-0142"),
        E(0x00180020, "CS", "SE"),
        E(0x00180050, "DS", "3.5"),
        E(0x00181000, "LO", "SN-332211"),
        E(0x00181020, "LO", "R5.1"),
        E(0x00181030, "LO", "KNEE ROUTINE"),
        E(0x0020000D, "UI", study),
        E(0x0020000E, "UI", study + ".4"),
        E(0x00200010, "SH", "4711"),
        E(0x00200011, "IS", "4"),
        E(0x00200013, "IS", "117"),
        E(0x00200052, "UI", study + ".9"),
        E(0x00204000, "UN", b"seen by Dr White"),
        E(0x00280002, "US", [1]),
        E(0x00280004, "CS", "MONOCHROME2"),
        E(0x00280010, "US", [8]),
        E(0x00280011, "US", [8]),
        E(0x00280100, "US", [16]),
        E(0x00280101, "US", [12]),
        E(0x00280102, "US", [11]),
        E(0x00280103, "US", [0]),
        E(0x00281050, "DS", "40\\50"),
        seq(0x00400275, [E(0x00400007, "LO", "MR knee"), E(0x00400009, "SH", "STEP-1")]),
        E(0x0072007C, "SL", [-5, 5]),
        seq(0x00880200, icon),
        E(0x60000010, "US", [2]),
        E(0x60000011, "US", [8]),
        E(0x60003000, "OW", [0xBEEF]),
        E(0x7FE00010, "OW", [(i * 40503) & 0xFFF for i in range(64)]),
        E(0xFFFCFFFC, "OB", b"padding of the scanner"),
    ]
