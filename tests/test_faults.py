"""Every way to be refused and every oddity that is tolerated, each by a small literal."""

from __future__ import annotations

import io
import re
import struct

import pytest

from build import (
    DEFLATED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    ITEM,
    ITEM_END,
    JPEG_BASELINE,
    SEQUENCE_END,
    UNDEFINED,
    E,
    Fragments,
    Item,
    deflate,
    encode,
    part10,
)
from cases import (
    KEY,
    NAMES,
    WORDS,
    Pieces,
    Refusal,
    check_case,
    fault_names,
    refusal_of,
    run_session,
    veil,
)
from dcmveil import DicomError, Veil, core
from dcmveil.faces.stream import stream

CANARY = "CANARY^JANE"
MODALITY = E(0x00080060, "CS", "MR")  # 10 bytes in explicit VR
ITEM_ENDS, SEQUENCE_ENDS = (struct.pack("<HHI", 0xFFFE, tag & 0xFFFF, 0)
                            for tag in (ITEM_END, SEQUENCE_END))  # fmt: skip
JUNK = b"\xff" * 8


def marker(tag: int, length: int) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)


def raw(*elements: E | bytes, encoding: str = "explicit-le") -> bytes:
    """A data set without preamble and file meta information; its first header stands at 0."""
    return encode(elements, encoding)


def seq(tag: int, *items: Item | bytes, vr: str = "SQ", **how: object) -> E:
    return E(tag, vr, list(items), **how)  # type: ignore[arg-type]


def nested(depth: int, undefined: bool = False) -> bytes:
    inner = raw(MODALITY)
    for _ in range(depth):
        inner = raw(seq(0x00081199, Item([inner], undefined), undefined=undefined))
    return inner


def blocks(n: int) -> list[E]:
    """Reservations of n private blocks (PS3.5 section 7.8.1)."""
    tags = ((0x0009 + 2 * (i // 240)) << 16 | 0x10 + i % 240 for i in range(n))
    return [E(tag, "LO", "X") for tag in tags]


def icon(fragments: Fragments, columns: int = 8, **how: object) -> list[E | bytes]:
    shape = [(0x00280002, 1), (0x00280010, 8), (0x00280011, columns), (0x00280100, 8)]
    inside = [E(tag, "US", [number]) for tag, number in shape]
    return [seq(0x00880200, Item([*inside, E(0x7FE00010, "OB", fragments, **how)]))]  # type: ignore[arg-type]


def undefined_header(tag: int, vr: str) -> bytes:
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, UNDEFINED)


BASE = len(part10([]))  # where the data set begins behind the usual file meta information
META_DEFLATED = len(part10([], DEFLATED[0])) - len(deflate(b""))
PIXELS = E(0x7FE00010, "OW", bytes(8))
PATIENT = E(0x00100020, "LO", CANARY)
DIRECTORY = [E(0x00020002, "UI", "1.2.840.10008.1.3.10"), E(0x00020010, "UI", EXPLICIT_LE)]
SIGNED = veil().bytes(part10([E(0x00080018, "UI", "1.2.3.4.5.6.7"), PATIENT]))
OTHER = Veil(key=bytes(reversed(KEY))).bytes(SIGNED.replace(b"DCMVEIL", b"\0" * 7, 1))

# name -> (input, refusal)
FAULTS: dict[str, tuple[bytes, Refusal]] = {
    "nothing": (b"", Refusal("EMPTY_INPUT", 0)),
    "text": (b"CANARY^JANE is not DICOM", Refusal("NOT_DICOM", 0)),
    "too short for a header": (b"\x08\0\5\0CS\0", Refusal("NOT_DICOM", 0)),
    "long without a prefix": (b"x" * 200, Refusal("NOT_DICOM", 0)),
    "unknown first tag": (raw(E(0x00090001, "LO", CANARY)), Refusal("NOT_DICOM", 0)),
    "implicit and too long": (raw(E(0x00080060, "CS", length=0x10000), encoding="implicit-le"),
                              Refusal("NOT_DICOM", 0)),
    # -- too short
    "cut in a value": (raw(MODALITY)[:-1], Refusal("TRUNCATED", 9, "(0008,0060)")),
    "length lies": (raw(E(0x00080060, "CS", CANARY, length=400)),
                    Refusal("TRUNCATED", 20, "(0008,0060)")),
    "length lies in a UID": (raw(E(0x00080018, "UI", "1.2.3", length=70)),
                             Refusal("TRUNCATED", 14, "(0008,0018)")),
    "length lies in bulk": (raw(MODALITY, E(0x7FE00010, "OW", b"ab", length=1 << 24)),
                            Refusal("TRUNCATED", 24, "(7FE0,0010)")),
    "length lies in dropped bulk": (raw(MODALITY, E(0x60003000, "OW", b"ab", length=1 << 24)),
                                    Refusal("TRUNCATED", 24, "(6000,3000)")),
    "length lies in long text": (
        raw(MODALITY, E(0x00189423, "LT", b"ab", length=70000), encoding="implicit-le"),
        Refusal("TRUNCATED", 20, "(0018,9423)")),
    "cut in a header": (raw(MODALITY, b"\x10\0\x20"), Refusal("TRUNCATED", 13)),
    "cut in a long header": (raw(MODALITY, E(0x00081115, "SQ", []))[:-2],
                             Refusal("TRUNCATED", 20, "(0008,1115)")),
    "cut before an item": (raw(MODALITY, seq(0x00081115, Item([MODALITY])))[:-17],
                           Refusal("TRUNCATED", 23, "(0008,1115)")),
    "cut in an item": (raw(MODALITY, seq(0x00081115, Item([MODALITY])))[:-1],
                       Refusal("TRUNCATED", 39, "(0008,1115)[0]/(0008,0060)")),
    "cut in a header in an item": (raw(MODALITY, seq(0x00081115, Item([MODALITY])))[:-7],
                                   Refusal("TRUNCATED", 33, "(0008,1115)[0]")),
    "sequence never ends": (raw(MODALITY, undefined_header(0x00081115, "SQ")),
                            Refusal("TRUNCATED", 22, "(0008,1115)")),
    "item never ends": (raw(MODALITY, undefined_header(0x00081115, "SQ"), marker(ITEM, UNDEFINED)),
                        Refusal("TRUNCATED", 30, "(0008,1115)[0]")),
    "UN of undefined length without items": (raw(MODALITY, undefined_header(0x00091001, "UN")),
                                             Refusal("TRUNCATED", 22, "(0009,1001)")),
    "cut between fragments": (
        raw(MODALITY, E(0x7FE00010, "OB", Fragments([b"", b"ab"])))[:-8],
        Refusal("TRUNCATED", 40, "(7FE0,0010)[1]")),
    "cut in a fragment": (
        raw(MODALITY, E(0x7FE00010, "OB", Fragments([b"", b"abcd"])))[:-9],
        Refusal("TRUNCATED", 41, "(7FE0,0010)[1]")),
    "cut in the file meta information": (part10([])[: BASE - 1],
                                         Refusal("TRUNCATED", BASE - 1, "(0002,0016)")),
    "cut after the file meta information": (part10([MODALITY])[: BASE + 4],
                                            Refusal("TRUNCATED", BASE + 4)),
    "cut before trailing padding": (raw(MODALITY, PIXELS, b"\xfc\xff\xfc\xff"),
                                    Refusal("TRUNCATED", 34)),
    # -- the beginning of the data set
    "no data set": (part10([]), Refusal("NO_DATA_SET", BASE)),
    "no data set behind a preamble": (bytes(128) + b"DICM", Refusal("NO_DATA_SET", 132)),
    "no transfer syntax": (
        part10([E(0x00090001, "LO", CANARY)], meta=[E(0x00020001, "OB", b"\0\1")]),
        Refusal("NO_SYNTAX", 158)),
    "unregistered and implicit": (
        part10([], "1.2.3.4.5") + raw(MODALITY, encoding="implicit-le"),
        Refusal("NOT_EXPLICIT", len(part10([], "1.2.3.4.5")))),
    "big and not little": (part10([], EXPLICIT_BE) + raw(MODALITY),
                           Refusal("BYTE_ORDER", len(part10([], EXPLICIT_BE)))),
    "little and not big": (part10([]) + raw(MODALITY, encoding="explicit-be"),
                           Refusal("BYTE_ORDER", BASE)),
    # -- lengths that lie inside others
    "element past its item": (
        raw(MODALITY, seq(0x00081115, Item([E(0x00080060, "CS", "MR", length=4)]))),
        Refusal("OVERRUN", 30, "(0008,1115)[0]/(0008,0060)")),
    "item past its sequence": (raw(MODALITY, seq(0x00081115, Item([MODALITY], length=20))),
                               Refusal("OVERRUN", 22, "(0008,1115)")),
    "sequence past its item": (
        raw(MODALITY, seq(0x00081115, Item([seq(0x00081199, Item([]), length=40)]))),
        Refusal("OVERRUN", 30, "(0008,1115)[0]/(0008,1199)")),
    "too little room for a header": (raw(MODALITY, seq(0x00081115, Item([MODALITY, b"\0\0"]))),
                                     Refusal("OVERRUN", 40, "(0008,1115)[0]")),
    "too little room for an item": (raw(MODALITY, seq(0x00081115, Item([MODALITY]), b"\0\0")),
                                    Refusal("OVERRUN", 40, "(0008,1115)[0]")),
    "fragment past its item": (
        raw(MODALITY, seq(0x00081115, Item([undefined_header(0x00660025, "OB"),
                                            marker(ITEM, 8), b"ab"]))),
        Refusal("OVERRUN", 42, "(0008,1115)[0]/(0066,0025)")),
    "fragments past their icon": (
        raw(undefined_header(0x00880200, "SQ"),
            raw(seq(0x00880200, Item([undefined_header(0x7FE00010, "OB"), marker(ITEM, 0)])))[12:],
            marker(ITEM, 2), b"ab", SEQUENCE_ENDS),
        Refusal("OVERRUN", 20, "(0088,0200)[0]/(7FE0,0010)")),
    "undefined length of a text": (raw(MODALITY, undefined_header(0x00081030, "UT")),
                                   Refusal("BAD_UNDEFINED", 10, "(0008,1030)")),
    "undefined length of a known implicit text": (
        raw(MODALITY, E(0x00081030, "LO", length=UNDEFINED), encoding="implicit-le"),
        Refusal("BAD_UNDEFINED", 10, "(0008,1030)")),
    # -- items, fragments and delimiters
    "element in place of an item": (raw(MODALITY, seq(0x00081115, raw(MODALITY))),
                                    Refusal("EXPECTED_ITEM", 22, "(0008,1115)")),
    "delimiter with a length": (raw(MODALITY, seq(0x00081115, marker(SEQUENCE_END, 4))),
                                Refusal("EXPECTED_ITEM", 22, "(0008,1115)")),
    "UN of undefined length with text": (raw(undefined_header(0x00081115, "UN"), CANARY.encode()),
                                         Refusal("EXPECTED_ITEM", 12, "(0008,1115)")),
    "element in place of a fragment": (
        raw(undefined_header(0x7FE00010, "OB"), marker(ITEM, 0), raw(MODALITY)),
        Refusal("BAD_FRAGMENT", 20, "(7FE0,0010)[0]")),
    "fragment of undefined length": (
        raw(undefined_header(0x7FE00010, "OB"), marker(ITEM, UNDEFINED)),
        Refusal("BAD_FRAGMENT", 12, "(7FE0,0010)")),
    "icon with an element in place of a fragment": (
        raw(seq(0x00880200, Item([undefined_header(0x7FE00010, "OB"), JUNK]))),
        Refusal("BAD_FRAGMENT", 32, "(0088,0200)[0]/(7FE0,0010)")),
    "item in the data set": (raw(MODALITY, marker(ITEM, 0)),
                             Refusal("BAD_DELIMITER", 10, "(FFFE,E000)")),
    "item in an item": (raw(MODALITY, seq(0x00081115, Item([marker(ITEM, 0)]))),
                        Refusal("BAD_DELIMITER", 30, "(0008,1115)[0]/(FFFE,E000)")),
    "delimiter inside an item of defined length": (
        raw(MODALITY, seq(0x00081115, Item([ITEM_ENDS, MODALITY]))),
        Refusal("BAD_DELIMITER", 30, "(0008,1115)[0]/(FFFE,E00D)")),
    "129 sequences": (raw(MODALITY, nested(129)),
                      Refusal("TOO_DEEP", 10 + 12 + 128 * 20,
                              "/".join(["(0008,1199)[0]"] * 128 + ["(0008,1199)"]))),
    "129 sequences of undefined length": (
        raw(MODALITY, nested(129, True)),
        Refusal("TOO_DEEP", 10 + 12 + 128 * 20,
                "/".join(["(0008,1199)[0]"] * 128 + ["(0008,1199)"]))),
    # -- what other values depend on
    "second Patient ID": (raw(MODALITY, PATIENT, PATIENT),
                          Refusal("MISPLACED", 30, "(0010,0020)")),
    "late Patient ID": (raw(MODALITY, E(0x00180060, "DS", "80"), PATIENT),
                        Refusal("MISPLACED", 20, "(0010,0020)")),
    "Patient ID after the records of a directory": (
        part10([E(0x00041220, "SQ", []), PATIENT], meta=DIRECTORY),
        Refusal("MISPLACED", 212, "(0010,0020)")),
    "second Patient ID in a record of a directory": (
        part10([E(0x00041220, "SQ", [Item([PATIENT, PATIENT])])], meta=DIRECTORY),
        Refusal("MISPLACED", 240, "(0004,1220)[0]/(0010,0020)")),
    "second character set": (
        raw(E(0x00080005, "CS", "ISO_IR 6"), MODALITY, E(0x00080005, "CS", "ISO_IR 6")),
        Refusal("MISPLACED", 26, "(0008,0005)")),
    "late character set in an item": (
        raw(MODALITY, seq(0x00081115, Item([MODALITY, E(0x00080005, "CS", "ISO_IR 6")]))),
        Refusal("MISPLACED", 40, "(0008,1115)[0]/(0008,0005)")),
    "second private creator": (raw(MODALITY, E(0x00090010, "LO", CANARY),
                                   E(0x00090010, "LO", "B")),
                               Refusal("MISPLACED", 30, "(0009,0010)")),
    "late private creator": (raw(MODALITY, E(0x00091001, "LO", CANARY), E(0x00090010, "LO", "B")),
                             Refusal("MISPLACED", 30, "(0009,0010)")),
    # -- unknown VRs
    "unknown VR that fits both forms": (
        raw(MODALITY, b"\x08\0\x30\x10ZZ\0\0" + b"\x20\0\0\0UL\4\0" + bytes(28),
            E(0x0020000D, "UI", "1.2.3")),
        Refusal("UNKNOWN_FORM", 10, "(0008,1030)")),
    "unknown VR that fits no form": (
        raw(MODALITY, E(0x00081030, "", header=b"\x08\0\x30\x10ZZ\x90\0\0\x90\0\0"), MODALITY),
        Refusal("UNKNOWN_FORM", 10, "(0008,1030)")),
    "no letters and no form that fits": (
        raw(MODALITY, b"\x08\0\x30\x10\x90\x90\x90\x90CANARY", MODALITY),
        Refusal("UNKNOWN_FORM", 10, "(0008,1030)")),
    # -- sequences that are none
    "UN that must be items": (raw(MODALITY, E(0x00081115, "UN", CANARY.encode())),
                              Refusal("NOT_ITEMS", 10, "(0008,1115)")),
    "UN that nearly is items": (
        raw(MODALITY, seq(0x00081115, Item([MODALITY], length=11), vr="UN")),
        Refusal("NOT_ITEMS", 10, "(0008,1115)")),
    "short UN that must be items": (raw(MODALITY, E(0x00081115, "UN", b"ab")),
                                    Refusal("NOT_ITEMS", 10, "(0008,1115)")),
    "private sequence that does not tile": (
        raw(MODALITY, E(0x00710010, "LO", "AGFA-AG_HPState"), E(0x00711018, "UN", b"12345678"),
            encoding="implicit-le"),
        Refusal("NOT_ITEMS", 34, "(0071,1018)")),
    # -- limits
    "UID over the limit": (
        raw(MODALITY, E(0x00080018, "UI", b"1" * ((1 << 20) + 2)), encoding="implicit-le"),
        Refusal("TOO_LONG", 10, "(0008,0018)")),
    "private blocks over the limit": (raw(MODALITY, *blocks(4097)),
                                      Refusal("TOO_MANY_BLOCKS", 10 + 4096 * 10, "(002B,0020)")),
    "icon over the limit": (
        raw(MODALITY, *icon(Fragments([b"", bytes(1 << 20)]))),
        Refusal("ICON_TOO_LONG", 10 + 12 + 8 + 40, "(0088,0200)[0]/(7FE0,0010)")),
    # -- the end
    "bytes after zeros": (raw(MODALITY, bytes(8), b"\0\0" + CANARY.encode()),
                          Refusal("BAD_TAIL", 20)),
    # -- outside the machine
    "mark of another key": (OTHER, Refusal("OTHER_MARK", 0)),
    "mark that does not fit": (SIGNED[:-30] + b"1" + SIGNED[-29:], Refusal("BROKEN_MARK", 0)),
    "transfer syntax of no data set": (part10([MODALITY], "1.2.840.10008.1.2.6.1"),
                                       Refusal("NOT_A_DATA_SET", None, "(0002,0010)")),
    "icon too small for a blank one": (
        part10(icon(Fragments([b"", b"ab"])), JPEG_BASELINE),
        Refusal("NO_BLANK_IMAGE", 382, "(0088,0200)[0]/(7FE0,0010)")),
    "deflated data set cut short": (part10(icon(Fragments([b""])), DEFLATED[0])[:-9],
                                    Refusal("CUT_DEFLATE", 375)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("data", "refusal"), [pytest.param(*case, id=name) for name, case in FAULTS.items()]
)
def test_refused(data: bytes, refusal: Refusal) -> None:
    check_case(data, refusal, splits=None if len(data) < 1 << 16 else 2)


def test_every_fault_has_a_literal() -> None:
    seen = {refusal.fault for _, refusal in FAULTS.values()}
    # in tests of their own
    seen |= {"HOLD_LIMIT", "DIRECTORY_LIMIT", "BROKEN_DEFLATE", "INFLATE_LIMIT"}
    assert seen == set(WORDS) - {"NO_FAULT"}
    assert set(fault_names()) <= set(WORDS)
    assert len(NAMES) == len(WORDS), "two faults say the same"


ELEMENT = r"\([0-9A-F]{4},[0-9A-F]{4}\)"
PATH = rf"({ELEMENT}\[\d+\]/)*{ELEMENT}(\[\d+\])?"


@pytest.mark.parametrize("data", [pytest.param(case[0], id=name) for name, case in FAULTS.items()])
def test_message_holds_no_value(data: bytes) -> None:
    """It is made of an offset, tags, numbers of items and fixed words, and of nothing else."""
    with pytest.raises(DicomError) as caught:
        veil().bytes(data)
    message = str(caught.value)
    words = next(words for words in WORDS.values() if words and message.endswith(words))
    place = message.removesuffix(words).removesuffix(": ")
    assert re.fullmatch(rf"(offset \d+)?(, )?({PATH})?", place)
    assert "CANARY" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


# -- what stands outside the machine -----------------------------------------------------------


def test_broken_deflate() -> None:
    head = part10([], DEFLATED[0])[:META_DEFLATED]
    check_case(head + b"\xff" * 20, Refusal("BROKEN_DEFLATE", META_DEFLATED))


def held(limit: int, step: int) -> Refusal | None:
    """Run a data set whose Patient ID ends at byte 350, read in steps."""
    data = raw(MODALITY, E(0x00081030, "LO", "x" * 300), PATIENT, E(0x00180060, "DS", "80"))
    session = Veil(key=KEY, hold_limit=limit).session()
    result = run_session(session, Pieces(data, range(step, len(data), step))).result
    return result if isinstance(result, Refusal) else None


def test_hold_limit() -> None:
    assert held(200, 1) == Refusal("HOLD_LIMIT", 200)
    assert held(400, 1) is None
    assert held(400, 1000) is None


def test_hold_limit_whatever_the_window() -> None:
    assert held(200, 1000) == held(200, 1)


# -- final ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["text", "cut in a value", "item in an item", "129 sequences"])
def test_a_failed_machine_stays_failed(name: str) -> None:
    data, _ = FAULTS[name]
    rewriter = core.Rewriter(veil().profile.rules, lambda asks: [ask[1] for ask in asks])
    window = bytearray(data)
    messages = []
    for eof in (True, True, False):
        with pytest.raises(DicomError) as caught:
            rewriter.step(window, len(window), eof)
        messages.append(str(caught.value))
        window = bytearray(len(window))  # whatever stands there now
    assert len(set(messages)) == 1


@pytest.mark.parametrize("name", FAULTS)
def test_a_failed_session_stays_failed(name: str) -> None:
    data, _ = FAULTS[name]
    session = veil().session()
    with pytest.raises(DicomError) as first:
        stream(session, io.BytesIO(data), io.BytesIO())
    for more in (b"", bytes(64), b""):
        with session.room() as room:
            room[: len(more)] = more
        with pytest.raises(DicomError) as again:
            list(session.push(len(more)))
        assert refusal_of(again.value) == refusal_of(first.value)


def test_a_refused_icon_is_final_too() -> None:
    rewriter = core.Rewriter(veil().profile.rules, lambda asks: ["it fits not"] * len(asks))
    data = raw(MODALITY, *icon(Fragments([b"", b"ab"])))
    messages = []
    for window in (bytearray(data), bytearray(len(data))):
        with pytest.raises(DicomError) as caught:
            rewriter.step(window, len(window), True)
        messages.append(str(caught.value))
    assert len(set(messages)) == 1


def test_counts_of_a_refused_input_are_forgotten() -> None:
    of = Veil(key=KEY)
    short = E(0x00080018, "UI", "1.2.3.4")
    with pytest.raises(DicomError):
        of.bytes(raw(MODALITY, PATIENT, E(0x0020000D, "UI", "1.2.3.4"), JUNK))
    assert of.stream(io.BytesIO(raw(short)), io.BytesIO()).uids["short"] == 1


# -- lengths -------------------------------------------------------------------------------------


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("depth", [1, 100, 128])
def test_nested_sequences(depth: int, undefined: bool) -> None:
    data = raw(MODALITY) + nested(depth, undefined)
    assert check_case(data) == data


LIES = [0, 1, 2, 7, 8, 9, 12, 100, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE,
        0xFFFFFFFF]  # fmt: skip


def lengths_of(data: bytes) -> list[int]:
    """Offsets of the lengths of the sequences, items and fragments of `nest`."""
    marks = [(b"SQ", 4), (b"\x08\0\x50\x11", 6), (b"\xfe\xff\x00\xe0", 4), (b"UN", 4), (b"OW", 4),
             (b"OB", 4), (b"\xfe\xff\xdd\xe0", 4)]  # fmt: skip
    return [data.index(mark) + at for mark, at in marks]


NEST = raw(
    MODALITY,
    seq(0x00081115, Item([E(0x00081150, "UI", "1.2.3"), seq(0x00081199, Item([PATIENT]))])),
    seq(0x00081110, Item([E(0x00081150, "UI", "1.2.3")], True), vr="UN", undefined=True),
    E(0x0072007C, "OW", b"abcd"),
    E(0x7FE00010, "OB", Fragments([b"", b"abcd"])),
)


@pytest.mark.parametrize("lie", LIES)
def test_lengths_that_lie(lie: int) -> None:
    """Nobody knows what should come out, but all ways and the twin must agree."""
    for at in lengths_of(NEST):
        for delta in (0, 1):  # alone, or added to what stands there
            width = 2 if NEST[at - 2 : at] == b"UI" else 4
            old = int.from_bytes(NEST[at : at + width], "little")
            new = (lie + delta * old) % (1 << 8 * width)
            check_case(NEST[:at] + new.to_bytes(width, "little") + NEST[at + width :], splits=16)


# -- tolerated -----------------------------------------------------------------------------------

NOTES: dict[str, tuple[bytes, bytes | None]] = {
    "empty value where the profile wants a dummy": (raw(MODALITY, E(0x0040A160, "UT", "")), None),
    "stray delimiter": (
        raw(MODALITY, seq(0x00081115, Item([MODALITY, ITEM_ENDS]), SEQUENCE_ENDS, ITEM_ENDS),
            ITEM_ENDS, SEQUENCE_ENDS), None),
    "missing delimiter": (
        raw(MODALITY, undefined_header(0x00081115, "SQ"), marker(ITEM, UNDEFINED), raw(MODALITY),
            SEQUENCE_ENDS), None),
    "bytes after the last element set to zero": (
        raw(MODALITY, PIXELS, b"CANARY!!"), raw(MODALITY, PIXELS, bytes(8))),
    "data set not in the encoding that it names": (
        part10([]) + raw(MODALITY, encoding="implicit-le"), None),
    "unknown VR": (
        raw(MODALITY, b"\x08\0\x30\x10ZZ\6\0CANARY", E(0x00180015, "CS", "HEAD")),
        raw(MODALITY, b"\x08\0\x30\x10ZZ\6\0" + bytes(6), E(0x00180015, "CS", "HEAD"))),
    "pixel data cut short": (raw(MODALITY, E(0x7FE00010, "OW", bytes(8), length=80)), None),
    "text after a NUL wiped": (raw(E(0x00080060, "CS", b"MR\0CANARY")),
                               raw(E(0x00080060, "CS", b"MR" + bytes(7)))),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTES)
def test_tolerated(name: str) -> None:
    data, expected = NOTES[name]
    cut = name == "pixel data cut short"
    out = io.BytesIO()
    report = veil(cut).stream(io.BytesIO(data), out)
    assert set(report.notes) == {name}
    if expected is None:
        expected = data if data[:8] == raw(MODALITY)[:8] else out.getvalue()
    check_case(data, expected, accept_cut_pixels=cut)


def test_every_note_has_a_literal() -> None:
    assert set(NOTES) == set(core.NOTE_NAMES)
