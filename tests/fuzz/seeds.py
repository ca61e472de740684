"""Seeds and dictionary of the fuzzer, made by code: `python -m fuzz.seeds FOLDER`, from tests/.

FOLDER/seeds gets one small input for each encoding and each thing that the grammar knows,
FOLDER/dicom.dict the tags, VRs, markers and lengths that random bytes would take long to find.
"""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from build import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_BASELINE,
    VRS,
    E,
    Fragments,
    Item,
    code,
    encode,
    part10,
    sample,
    sample_elements,
)
from fuzz.target import BULK, DIRECTORY, PROFILES, SYNTAXES, WITH_META

ENCODINGS = ("explicit-le", "implicit-le", "explicit-be")
PATIENT = E(0x00100020, "LO", "HOSP-4711")
MODALITY = E(0x00080060, "CS", "MR")
UID = E(0x0020000D, "UI", "1.2.826.0.1.3680043.9.7.20240229.1")
GEOMETRY: list[E | bytes] = [
    E(0x00280002, "US", [1]),
    E(0x00280008, "IS", "1"),
    E(0x00280010, "US", [8]),
    E(0x00280011, "US", [8]),
    E(0x00280100, "US", [8]),
    E(0x00280101, "US", [8]),
]
Elements = list[E | bytes]


def data_sets() -> Iterator[tuple[str, Elements]]:
    """Small ones, each for one thing."""
    for undefined in (False, True):
        name = "undefined" if undefined else "defined"
        inner = Item([UID, E(0x00081199, "SQ", [Item([UID], undefined)])], undefined)
        yield f"nested-{name}", [MODALITY, E(0x00081115, "SQ", [inner, inner], undefined=undefined)]
        icon = Item([*GEOMETRY, E(0x7FE00010, "OW", [1, 2, 3, 4])], undefined)
        yield f"icon-{name}", [PATIENT, E(0x00880200, "SQ", [icon], undefined=undefined)]
        nest = [E(0x00091001, "UN", [Item([MODALITY, PATIENT], undefined)], undefined=undefined)]
        for _ in range(3):
            nest = [E(0x00091001, "UN", [Item(nest, undefined)], undefined=undefined)]
        yield f"un-{name}", [MODALITY, E(0x00090010, "LO", "ACME"), *nest]
        yield f"structured-{name}", structured(undefined)
    blank = E(0x7FE00010, "OB", Fragments([b"", b"\xff\xd8" + bytes(900) + b"\xff\xd9"]))
    yield "icon-fragments", [PATIENT, E(0x00880200, "SQ", [Item([*GEOMETRY, blank])])]
    yield "pixels", [PATIENT, *GEOMETRY, E(0x7FE00010, "OW", list(range(32)))]
    fragments = Fragments([struct.pack("<I", 0), b"\xff\xd8some\xff\xd9", b"more"])
    yield "fragments", [PATIENT, E(0x7FE00010, "OB", fragments)]
    yield "tail", [PATIENT, E(0x7FE00010, "OB", b"ab"), b"\0\0\0\0\0\0\0\0who knows"]
    yield "document", [PATIENT, E(0x00420011, "OB", b"%PDF-1.4 " + bytes(400))]
    yield (
        "document-xml",
        [E(0x00420011, "OB", b"<?xml version='1.0'?><ClinicalDocument/>" + bytes(60))],
    )
    yield "overlay", [MODALITY, E(0x60003000, "OW", [0xBEEF]), E(0x60023000, "OB", b"ab")]
    yield "curve", [MODALITY, E(0x50003000, "OW", [1, 2])]
    yield "texts", [E(0x00104000, "LT", "a\0hidden"), E(0x0040A160, "UT", "text"), *code(*"abc")]
    dates = [
        E(0x00080020, "DA", "20240229"),
        E(0x0008002A, "DT", "20240229101530.250000+0100"),
        E(0x00080030, "TM", "101530.25"),
    ]
    yield "dates", [*dates, PATIENT, E(0x00100030, "DA", "19610704\\1961.07.04")]
    yield "private", [MODALITY, *private_blocks()]
    yield "safe", declared_safe()
    yield (
        "voice",
        [
            E(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.9.4.1"),
            PATIENT,
            E(0x54000100, "SQ", [Item([E(0x54001010, "OW", [1, 2])])]),
        ],
    )
    yield (
        "unknown-vr",
        [MODALITY, b"\x08\0\x70\0ZZ\4\0HEAD", b"\x18\0\x15\0??\0\0\4\0\0\0HEAD", PATIENT],
    )
    yield (
        "unknown-tags",
        [MODALITY, E(0x00091111, "UN", b"x"), E(0x00191013, "SQ", []), E(0x00230011, "SH")],
    )
    yield (
        "uids",
        [
            E(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.4"),
            E(0x00080018, "UI", "1.2.840.10008.9.9.9"),
            E(0x0020000D, "UI", "1.2.3.4.5\\1.2.3.4.6\\1"),
            E(0x00200052, "UI", "no uid at all "),
        ],
    )
    yield (
        "delimiters",
        [MODALITY, b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0", PATIENT],
    )
    yield "groups", [E(0x00080000, "UL", [10]), MODALITY, E(0x00100000, "UL", [17]), PATIENT]
    bulk = len(BULK)
    yield "bulk-pixels", [PATIENT, E(0x7FE00010, "OW", b"BULK", length=bulk)]
    yield "bulk-overlay", [PATIENT, E(0x60003000, "OW", b"BULK", length=bulk)]
    yield "bulk-text", [PATIENT, E(0x0040A160, "UT", b"BULK", length=bulk)]
    yield "bulk-kept-text", [PATIENT, E(0x00189423, "UT", b"BULK", length=bulk)]
    yield "bulk-document", [E(0x00420011, "OB", b"%PDF-1.4 xBULK", length=bulk + 10)]


def structured(undefined: bool) -> Elements:
    item = Item(
        [
            E(0x00080104, "LO", "Meaning"),
            E(0x0040A010, "CS", "CONTAINS"),
            E(0x0040A040, "CS", "PNAME"),
            E(0x0040A123, "PN", "DOE^JANE"),
            E(0x0040A730, "SQ", [Item([E(0x0040A160, "UT", "seen")], undefined)]),
        ],
        undefined,
    )
    return [E(0x0040A730, "SQ", [item], undefined=undefined)]


def private_blocks() -> Elements:
    return [
        E(0x00190010, "LO", "SIEMENS MR HEADER"),
        E(0x00190011, "LO", "nobody knows it"),
        E(0x0019100C, "IS", "1000"),
        E(0x00191101, "LO", "Doe"),
        E(0x00290010, "LO", "SIEMENS CSA HEADER"),
        E(0x00291010, "OB", b"SV10"),
        E(0x00710010, "LO", "AGFA-AG_HPState"),
        E(0x00711018, "SQ", [Item([E(0x00710010, "LO", "AGFA-AG_HPState"), UID])]),
        E(0x00711019, "UN", [Item([E(0x00080060, "CS", "CT")])], undefined=True),
    ]


def declared_safe() -> Elements:
    block = Item(
        [
            E(0x00080301, "US", [0x0029]),
            E(0x00080302, "LO", "ACME"),
            E(0x00080303, "CS", "MIXED"),
            E(0x00080304, "US", [0x10, 0x20]),
        ]
    )
    whole = Item(
        [E(0x00080301, "US", [0x31]), E(0x00080302, "LO", "ACME"), E(0x00080303, "CS", "SAFE")]
    )
    return [
        E(0x00080300, "SQ", [block, whole]),
        E(0x00290010, "LO", "ACME"),
        E(0x00291010, "LO", "kept"),
        E(0x00310010, "LO", "ACME"),
        E(0x00311011, "DS", "1.5"),
    ]


def seeds() -> Iterator[tuple[str, bytes]]:
    def how(around: int, syntax: int, turn: int) -> bytes:
        cut = 8 if turn % 3 == 0 else 0
        return bytes([around << 4 | cut | turn % len(PROFILES), syntax, turn % 256, turn % 251])

    turn = 0
    for name, elements in data_sets():
        for number, encoding in enumerate(ENCODINGS):
            turn += 1
            body = encode(elements, encoding)
            yield f"{name}-{encoding}", how(WITH_META, number, turn) + body
            turn += 1
            yield f"{name}-{encoding}-raw", how(0, 0, turn) + body
        turn += 1
        yield f"{name}-deflated", how(WITH_META, 3, turn) + encode(elements)
        for number in range(4, len(SYNTAXES)):
            if "fragments" in name or (turn % 5 == number % 5 and number < 9):
                turn += 1
                yield f"{name}-syntax-{number}", how(WITH_META, number, turn) + encode(elements)
    record = Item([E(0x00041430, "CS", "PATIENT"), PATIENT, E(0x00041500, "CS", "A\\B")])
    directory = [E(0x00041130, "CS", "DISK1"), E(0x00041220, "SQ", [record])]
    for number, encoding in enumerate(ENCODINGS):
        body = encode(directory, encoding)
        yield f"directory-{encoding}", how(DIRECTORY, number, number) + body
    for syntax in (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, JPEG_BASELINE):
        yield f"small-{syntax}", how(0, 0, 0) + part10([MODALITY, PATIENT], syntax)
    for turn in range(48):
        recipe = random.Random(turn).randbytes(8 + 6 * turn)
        yield f"recipe-{turn}", how(4 | turn % 4, turn % 5, turn) + recipe
    yield "no-meta", how(0, 0, 1) + part10([MODALITY, PATIENT], meta=[])
    yield "no-preamble", how(0, 0, 2) + part10([MODALITY, PATIENT], preamble=None)
    command = encode([E(0x00000000, "UL", [12]), E(0x00000100, "US", [1])], "implicit-le")
    yield "command", how(0, 0, 3) + command + encode([MODALITY, PATIENT])
    for turn, encoding in enumerate(ENCODINGS):
        yield f"sample-{encoding}", how(0, 0, turn) + sample(encoding, undefined=turn == 1)
    yield "sample-deflated", how(WITH_META, 3, 2) + encode(sample_elements())


def words() -> Iterator[bytes]:
    """Of the dictionary: markers, tags with their VR, lengths, values with a meaning."""
    for order in "<>":
        for element in (0xE000, 0xE00D, 0xE0DD):
            yield struct.pack(order + "HHI", 0xFFFE, element, 0)
        yield struct.pack(order + "HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        for length in (0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, len(BULK), 0x10000, 0xFFFF):
            yield struct.pack(order + "I", length)
    yield from (vr.encode() for vr in VRS)
    for vr in ("OB", "OW", "SQ", "UN", "UT", "ZZ"):
        yield vr.encode() + b"\0\0"
        yield vr.encode() + b"\0\0\xff\xff\xff\xff"
    seen: set[int] = set()
    for _, elements in data_sets():
        for e in elements:
            if isinstance(e, E) and e.tag not in seen:
                seen.add(e.tag)
                yield struct.pack("<HH", e.tag >> 16, e.tag & 0xFFFF)
                yield struct.pack("<HH", e.tag >> 16, e.tag & 0xFFFF) + e.vr.encode()
                yield struct.pack(">HH", e.tag >> 16, e.tag & 0xFFFF) + e.vr.encode()
    for tag in (0x00020010, 0x00020002, 0x00080005, 0x00080300, 0x00280008, 0x7FE00008, 0xFFFCFFFC):
        yield struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    for text in (*SYNTAXES[:8], "1.2.840.10008.1.3.10", "1.2.840.10008.5.1.4.1.1.9.4.1"):
        yield text.encode()
    yield from (b"BULK", b"DICM", b"ISO_IR 100", b"SIEMENS CSA HEADER", b"AGFA-AG_HPState",
                b"20240229", b"101530.25", b"%PDF-1.4", b"ACME", b"SAFE", b"\\", b"^")  # fmt: skip


def main(folder: Path) -> None:
    place = folder / "seeds"
    place.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        (place / name).write_bytes(data)
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"' for word in words()]
    (folder / "dicom.dict").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
