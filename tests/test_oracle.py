"""The oracle finds each kind of violation, and finds nothing in an honest rewriting.

The rewriting here is made by hand: a new value for each tag of build.sample_elements(), put into
the tree before it is encoded. A fault is then planted in it.
"""

from __future__ import annotations

import copy
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence

import pytest
from pydicom import config, filereader

import oracle
from build import (
    DEFLATED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_BASELINE,
    E,
    Fragments,
    Item,
    encode,
    part10,
    sample_elements,
)
from oracle_parse import parse
from oracle_rules import TEXT, Rules

SYNTAX = {"explicit-le": EXPLICIT_LE, "implicit-le": IMPLICIT_LE, "explicit-be": EXPLICIT_BE}
FORMS = [(encoding, undefined) for encoding in SYNTAX for undefined in (False, True)]
SPACES, NULS = b" ", b"\0"
RULES = Rules(
    decisions={
        "(0002,0016)": "blank",
        "(0002,0013)": "set:VEIL_1_0",
        "(0012,0062)": "set-or-blank:YES",
        "(0012,0063)": "set-or-keep:veil, basic",
        "(60xx,0022)": "X",
    }
)

BLANK = {
    0x00080020, 0x00080030, 0x00080050, 0x00080081, 0x00080090, 0x00081030,
    0x00100010, 0x00100030, 0x00100040, 0x00101010, 0x00101030, 0x001021C0, 0x00104000,
    0x00200010, 0x00204000, 0x60003000, 0xFFFCFFFC,
}  # fmt: skip
DUMMY = {
    0x00080012: b"19000101",
    0x00080013: b"000000.00",
    0x00080021: b"19000101",
    0x0008002A: b"19000101000000.000000",
    0x00080054: b"ANON",
    0x00080080: b"ANONYMOUS",
    0x00081070: b"ANON",
    0x00100020: b"ANONYMOUS",
    0x00181000: b"ANON",
    0x00181030: b"ANON",
    0x00020016: b"ANON",
}
UIDS = {0x00020003, 0x00080018, 0x00081155, 0x0020000D, 0x0020000E, 0x00200052}
# Removed sequences, and the private one: every leaf goes.
DROPPED = {0x00081110, 0x00091004, 0x00101002, 0x00400275, 0x00880200}
STRUCTURE = frozenset({0x00081150, 0x00280002, 0x00280004, 0x00280010, 0x00280011, 0x00280100,
                       0x00280101, 0x00280102, 0x00280103})  # fmt: skip


def size_of(e: E) -> int:
    return len(encode([E(e.tag, e.vr, e.value)], "implicit-le")) - 8


def toy_uid(old: str | bytes) -> bytes:
    plain = (old if isinstance(old, bytes) else old.encode()).rstrip(b"\0")
    digits = str(zlib.crc32(plain) + 10**12).encode() * 6
    return b"2.25." + digits[: len(plain) - 5]


def honest(
    elements: Sequence[E | bytes], dropped: bool = False, encoding: str = ""
) -> list[E | bytes]:
    """The same tree with the values that the Basic Profile wants."""
    done: list[E | bytes] = []
    for e in elements:
        assert isinstance(e, E)
        new = copy.copy(e)
        size = size_of(e)
        if e.vr == "SQ":
            assert isinstance(e.value, list)
            inside = dropped or e.tag in DROPPED
            new.value = [
                Item(honest(i.elements, inside, encoding), i.undefined, i.length) for i in e.value
            ]
        elif dropped and e.tag in STRUCTURE:
            pass
        elif e.vr == "UI" and e.tag in UIDS:
            new.value = toy_uid(e.value).ljust(size, NULS)  # type: ignore[arg-type]
        elif dropped or e.tag in BLANK or e.tag >> 16 & 1:
            typed = encoding != "implicit-le" or not e.tag >> 16 & 1  # nothing tells its VR
            pad = SPACES if typed and e.vr in TEXT and e.vr != "UI" else NULS
            new.value = b"".ljust(size, pad)
            if dropped and e.vr == "IS":
                new.value = b"0".ljust(size)
        elif e.tag in DUMMY:
            new.value = DUMMY[e.tag][:size].ljust(size)
        done.append(new)
    return done


def meta(of: Sequence[E | bytes], syntax: str) -> list[E | bytes]:
    uid = next(e.value for e in of if isinstance(e, E) and e.tag == 0x00080018)
    return [
        E(0x00020003, "UI", uid),
        E(0x00020010, "UI", syntax),
        E(0x00020016, "AE", "WARD7MR"),
    ]


def pair(
    encoding: str = "explicit-le",
    undefined: bool = False,
    fault: Callable[[list[E | bytes]], None] | None = None,
    extra: Sequence[E] = (),
    extra_after: Sequence[E] = (),
) -> tuple[bytes, bytes]:
    """The sample and its rewriting, with a fault in it if one is given."""
    syntax = SYNTAX.get(encoding, encoding)
    before = sorted([*sample_elements(undefined), *extra], key=lambda e: e.tag)  # type: ignore[union-attr]
    after = honest(sample_elements(undefined), encoding=encoding)
    after = sorted([*after, *extra_after], key=lambda e: e.tag)  # type: ignore[union-attr]
    if fault:
        fault(after)
    old_meta = meta(before, syntax)
    new_meta = honest(meta(before, syntax))
    return (
        part10(before, syntax, meta=old_meta, preamble=b"II*\0\x54\x18" + bytes(122)),
        part10(after, syntax, meta=new_meta),
    )


def judge(before: bytes, after: bytes) -> list[str]:
    return oracle.compare(before, after, structure=STRUCTURE, rules=RULES)


def every(elements: Sequence[E | bytes], tag: int) -> Iterator[E]:
    for e in elements:
        assert isinstance(e, E)
        if e.tag == tag:
            yield e
        if isinstance(e.value, list):
            for item in e.value:
                if isinstance(item, Item):
                    yield from every(item.elements, tag)


def put(tag: int, value: bytes | str, which: int = 0) -> Callable[[list[E | bytes]], None]:
    """Set the value of the which-th element of this tag, cut or padded to its length."""

    def fault(elements: list[E | bytes]) -> None:
        e = list(every(elements, tag))[which]
        raw = value if isinstance(value, bytes) else value.encode()
        e.value = raw[: size_of(e)].ljust(size_of(e))

    return fault


@pytest.mark.parametrize(("encoding", "undefined"), FORMS)
def test_an_honest_rewriting_passes(encoding: str, undefined: bool) -> None:
    before, after = pair(encoding, undefined)
    assert judge(before, after) == []
    assert oracle.leaks(before, after, RULES) == []


@pytest.mark.parametrize("syntax", DEFLATED)
def test_an_honest_rewriting_of_a_deflated_file_passes(syntax: str) -> None:
    assert judge(*pair(syntax)) == []


@pytest.mark.parametrize(("encoding", "undefined"), FORMS)
def test_nothing_done_is_found(encoding: str, undefined: bool) -> None:
    before, _ = pair(encoding, undefined)
    findings = "\n".join(judge(before, before))
    for tag in ("(0010,0010)", "(0010,0020)", "(0008,0018)", "(0009,1001)", "(0002,0016)",
                "(0008,1115)[0](0008,1199)[0](0008,1155)", "(0009,1004)[0](0010,0020)",
                "(0010,1002)[0](0010,0024)[0](0040,0032)", "(0088,0200)[0](7FE0,0010)",
                "(6000,3000)", "(FFFC,FFFC)", "preamble"):  # fmt: skip
        assert f"\n{tag}" in "\n" + findings
    for tag in ("\n(7FE0,0010)", "(0028,0010)", "(0008,0016)", "(0008,1032)", "(0002,0010)"):
        assert tag not in findings
    assert len(oracle.leaks(before, before, RULES)) > 10


# What is planted -> a part of the finding. Every one starts from the honest rewriting.
FAULTS = {
    "a name left": (put(0x00100010, "DOE^JOHANNA^MARIA"), "(0010,0010) PN"),
    "a name half left": (put(0x00100010, "DOE              "), "(0010,0010) PN"),
    "a name as a dummy where blank is asked": (put(0x00100010, "ANON"), "not blank"),
    "a blank of NULs in text": (put(0x00100010, bytes(18)), "(0010,0010) PN"),
    "an unknown word": (put(0x00100020, "PATIENT1", 1), "not a valid dummy"),
    "a blank where a dummy is asked": (put(0x00100020, " ", 1), "not a valid dummy"),
    "a dummy padded by NUL": (put(0x00100020, b"ANON".ljust(12, NULS), 1), "not a valid dummy"),
    "a date left": (put(0x00080012, "20240229"), "(0008,0012) DA"),
    "an invalid date": (put(0x00080012, "00000000"), "not a valid dummy"),
    "an invalid time": (put(0x00080013, "000000.xx "), "not a valid dummy"),
    "an invalid date and time": (put(0x0008002A, "1900010100000"), "not a valid dummy"),
    "an AE of spaces": (put(0x00080054, " "), "(0008,0054) AE"),
    "a number left": (put(0x001021C0, b"\4\0"), "(0010,21C0) US"),
    "a kept value changed": (put(0x00180020, "GR"), "kept value changed"),
    "a kept name of a maker blanked": (put(0x00080070, " "), "kept value changed"),
    "a kept code changed": (put(0x00080100, "KNEE-R"), "kept value changed"),
    "a kept class changed": (put(0x00080016, "1.2.840.10008.5.1.4.1.1.2\0"), "(0008,0016)"),
    "a deep kept code changed": (put(0x00080100, "121321", 1), "kept value changed"),
    "pixels changed": (put(0x7FE00010, bytes(128), 1), "pixel data changed"),
    "a UID not mapped": (
        put(0x0020000D, "1.2.826.0.1.3680043.9.7.20240229.1"),
        "UID not mapped",
    ),
    "a UID outside the root": (
        put(0x0020000D, "1.2.826.0.1.3680043.9.7.10240229.1"),
        "not a UID under 2.25",
    ),
    "a UID with a leading zero": (
        put(0x0020000D, "2.25.0123456789012345678901234567."),
        "not a UID under 2.25",
    ),
    "a UID that is shorter": (put(0x0020000D, b"2.25.12345".ljust(34, NULS)), "another length"),
    "a UID map that forks": (
        put(0x00200052, b"2.25.123456789012345678901234567890123456\0"),
        None,
    ),
    "an image UID unlike its reference": (
        put(0x00081155, b"2.25.12345678901234567890123456789012345\0", 1),
        "mapped differently",
    ),
    "two UIDs become one": (
        put(0x00200052, toy_uid("1.2.826.0.1.3680043.9.7.20240229.1.4").ljust(36, NULS)),
        "two UIDs mapped to one",
    ),
    "a private text left": (put(0x00091001, "Doe, Johanna / ward 7"), "private value left"),
    "private bytes left": (put(0x00091003, b"raw doe bytes\0"), "private value left"),
    "an unknown creator left": (put(0x00090010, "ACME MAGNETS 1.0"), "private value left"),
    "an ID left in a private sequence": (put(0x00100020, "HOSP-004711", 0), "(0009,1004)[0]"),
    "an ID left in a removed sequence": (put(0x00100020, "OLD-99812", 2), "removed sequence"),
    "an address left": (put(0x00400032, "elsewhere.test"), "removed sequence"),
    "icon pixels left": (put(0x7FE00010, bytes(range(16)), 0), "removed sequence"),
    "overlay left": (put(0x60003000, b"\xef\xbe"), "(6000,3000)"),
    "an unknown one left": (put(0x00204000, "seen by Dr White"), "(0020,4000)"),
    "trailing padding left": (put(0xFFFCFFFC, "padding of the scanner"), "(FFFC,FFFC)"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str) -> None:
    fault, wanted = FAULTS[name]
    before, after = pair(fault=fault)
    findings = judge(before, after)
    if wanted is None:  # a valid rewriting that only a shared map can catch
        shared: dict[bytes, bytes] = {}
        assert oracle.compare(*pair(), structure=STRUCTURE, uids=shared, rules=RULES) == []
        assert findings == []
        findings = oracle.compare(before, after, structure=STRUCTURE, uids=shared, rules=RULES)
        wanted = "mapped differently"
    assert any(wanted in finding for finding in findings), findings
    assert all(len(finding) < 250 for finding in findings)


@pytest.mark.parametrize(("encoding", "undefined"), FORMS)
def test_a_fault_is_found_in_each_encoding(encoding: str, undefined: bool) -> None:
    for name in ("a name left", "a kept value changed", "an ID left in a removed sequence"):
        fault, wanted = FAULTS[name]
        assert wanted
        findings = judge(*pair(encoding, undefined, fault))
        assert len(findings) == 1, findings
        assert wanted in findings[0]


@pytest.mark.parametrize(("encoding", "undefined"), FORMS)
def test_every_value_is_judged(encoding: str, undefined: bool) -> None:
    """Put any changed value back, or change any kept one by one bit: each time it is found."""
    before, after = pair(encoding, undefined)
    nodes = [node for node in parse(before).leaves if node.value]
    assert len(nodes) > 80
    for node in nodes:
        end = node.offset + len(node.value)
        now = after[node.offset : end]
        bad = bytes([now[0] ^ 64]) + now[1:] if now == node.value else node.value
        findings = judge(before, after[: node.offset] + bad + after[end:])
        assert any(node.path in finding for finding in findings), node


def test_a_changed_length_is_found() -> None:
    before, after = pair()
    assert judge(before, after[:-2])[0].startswith("length changed")
    assert judge(before, after + b"\0\0")[0].startswith("length changed")


def test_a_moved_element_is_found() -> None:
    def fault(elements: list[E | bytes]) -> None:
        """The accession number loses two bytes, the next value gets them."""
        place = next(i for i, e in enumerate(elements) if isinstance(e, E) and e.tag == 0x00080050)
        elements[place] = E(0x00080050, "SH", bytes(8).replace(NULS, SPACES))
        elements[place + 1] = E(0x00080054, "AE", "ANON      ")

    assert "tree differs" in judge(*pair(fault=fault))[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\x08\x00\x60\x00CS", b"\x08\x00\x60\x00SH"),  # a VR
        (b"\x08\x00\x60\x00CS", b"\x08\x00\x61\x00CS"),  # a tag
        (b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0"),  # an item
    ],
)
def test_a_changed_header_is_found(old: bytes, new: bytes) -> None:
    before, after = pair()
    assert old in after
    assert judge(before, after.replace(old, new, 1))


def test_reserved_bytes_changed_are_found() -> None:
    before, after = pair()
    at = after.index(b"\xfc\xff\xfc\xffOB\0\0") + 6
    findings = judge(before, after[:at] + b"hi" + after[at + 2 :])
    assert "outside every value" in findings[0]


def test_preamble_left_is_found() -> None:
    before, after = pair()
    assert "preamble" in judge(before, before[:128] + after[128:])[0]
    assert "preamble" in judge(before, b"II*\0".ljust(128, b"m") + after[128:])[0]
    assert judge(before, b"m" * 64 + after[64:]) == []  # a mark may stand there


def test_bytes_after_the_last_element_are_found() -> None:
    before, after = pair()
    assert judge(before + b"DOE", after + b"\0\0\0") == []
    assert "after the last element" in judge(before + b"DOE", after + b"DOE")[0]


def test_bytes_after_a_deflate_stream_are_found() -> None:
    before, after = pair(DEFLATED[0])
    body = parse(after).data[parse(after).data.index(b"\x08\0\x05\0CS") :]
    before, after = (file[: len(file) - len(parse(file).unused)] for file in (before, after))
    good, bad = struct.pack("<2I", zlib.crc32(body), len(body)), b"DOE^JANE"
    assert judge(before + bad, after + good) == []
    assert "deflate" in judge(before + bad, after + bad)[0]


def test_the_second_of_two_equal_tags_is_found() -> None:
    twice = E(0x00100020, "LO", "HOSP-004711")
    good = E(0x00100020, "LO", "ANONYMOUS   ")
    assert judge(*pair(extra=[twice], extra_after=[good])) == []
    before, after = pair(extra=[twice], extra_after=[good])
    first = after.index(b"ANONYMOUS   ", after.index(b"\x10\0\x20\0LO\x0c\0ANONYMOUS"))
    planted = after[:first] + b"HOSP-004711 " + after[first + 12 :]
    assert any("(0010,0020)" in finding for finding in judge(before, planted))


def one(before: E, after: bytes, syntax: str = EXPLICIT_LE) -> list[str]:
    """Findings for a file of one element."""
    new = copy.copy(before)
    new.value = after
    files = []
    for e in (before, new):
        is_meta = e.tag >> 16 == 2
        meta = [E(0x00020010, "UI", syntax), *([e] if is_meta else [])]
        files.append(part10([] if is_meta else [e], syntax, meta=meta))
    return judge(*files)


@pytest.mark.parametrize(
    ("element", "good", "bad"),
    [
        # by VR, where no row stands
        (E(0x00404037, "PN", "WHITE^ANN "), b"          ", b"WHITE     "),
        (E(0x00720071, "UR", "http://h/4"), b"          ", b"http://h/ "),
        (E(0x00081190, "UR", "http://h/4"), b"          ", b"http://h/4"),
        (E(0x00082FFF, "LO", "no such tag"), b"            ", b"no such tag "),
        (E(0x00082FFE, "US", [7]), b"\0\0", b"\7\0"),
        (E(0x00280030, "ZZ", b"0.5\\"), b"\0\0\0\0", b"0.5\\"),
        # kept text with more text behind a NUL
        (E(0x00080060, "CS", b"MR\0DOE"), b"MR\0\0\0\0", b"MR\0DOE"),
        (E(0x00080060, "CS", b"MR\0DOE"), b"MR    ", b"CT\0\0\0\0"),
        # UIDs
        (E(0x0020000D, "UI", "1.2"), b"\0\0\0\0", b"1.2\0"),
        (E(0x0020000D, "UI", "1." * 21 + "12"), b"2.25." + b"3" * 39, b"2.25." + b"4" * 39),
        (E(0x0020000D, "UI", "x" * 64), bytes(64), b"x" * 64),
        (E(0x0020000D, "UI", "1.2.840.10008.1.1"), b"1.2.840.10008.1.1\0", b"2.25.56789.123456\0"),
        (E(0x00080016, "UI", "1.2.840.10008.99.4"), b"2.25.56789.1234567", b"1.2.840.10008.9.44"),
        (E(0x0020000D, "UI", "7.7.7.1\\7.7.7.2"), b"2.25.31\\2.25.32\0", b"2.25.31\\7.7.7.2\0"),
        (E(0x0020000D, "UI", "7.7.7.1\\7.7.7.2"), b"2.25.31\\2.25.32\0", b"2.25.31\\2.25.31\0"),
        # dummies of other lengths
        (E(0x00080012, "DA", "2024.02.29"), b"1900.01.01", b"1900-01-01"),
        (E(0x00080012, "DA", "2024"), b"    ", b"1900"),
        (E(0x0008002A, "DT", "202402"), b"190001", b"190100"),
        (E(0x00081072, "SQ", []), b"", b"\0\0"),
        # values in a coding of UN
        (E(0x00100010, "UN", b"DOE^J "), b"      ", b"DOE   "),
        (E(0x00100010, "UN", b"DOE^J "), b"\0\0\0\0\0\0", b"\0OE\0\0\0"),
        (E(0x00080018, "UN", b"7.7.7.1\0"), b"2.25.31\0", b"7.7.7.1\0"),
        # a private creator that implicit readers need
        (E(0x00090010, "LO", "GEMS_IDEN_01"), b"GEMS_IDEN_01", b"GEMS_IDEN_02"),
        # texts that are set
        (E(0x00120062, "CS", "NO  "), b"YES ", b"NO  "),
        (E(0x00120062, "CS", "NO"), b"  ", b"NO"),
        (E(0x00120063, "LO", "by hand"), b"by hand ", b"        "),
        (E(0x00120063, "LO", "by hand by Bob"), b"veil, basic   ", b"by hand by Bob"),
        (E(0x00020013, "SH", "HOST 7"), b"VEIL_1", b"VEIL  "),
        (E(0x60040022, "LO", "of Doe"), b"      ", b"of Doe"),
    ],
)
def test_single_values(element: E, good: bytes, bad: bytes) -> None:
    assert one(element, good) == []
    findings = one(element, bad)
    if bad == b"2.25.31\\2.25.31\0":  # two in one is only certain for long ones
        assert findings == []
    else:
        assert findings


def test_untyped_sequences_are_walked() -> None:
    """UN of defined length and private implicit values that tile into items keep their items."""
    inner, done = [E(0x00100010, "PN", "DOE^JOHN")], [E(0x00100010, "PN", "        ")]
    for tag in (0x00091010, 0x00081115):
        for inner_encoding in ("implicit-le", "explicit-le"):
            items = encode([E(0, "SQ", [Item(inner)])], inner_encoding)
            clean = encode([E(0, "SQ", [Item(done)])], inner_encoding)
            cut = 8 if inner_encoding == "implicit-le" else 12
            old, new = items[cut:], clean[cut:]
            assert one(E(tag, "UN", old), new) == []
            assert any("[0](0010,0010)" in finding for finding in one(E(tag, "UN", old), old))
            assert one(E(tag, "UN", old), bytes(len(old)))  # zeros are no items any more


def test_fragments() -> None:
    """Encapsulated data: pixels stay, icons and private ones keep nothing but their fragments."""
    frame = b"\xff\xd8DOE JANE\xff\xd9"
    pixels = E(0x7FE00010, "OB", Fragments([b"", frame]))
    same = encode([pixels])[12:-8]
    assert one(pixels, same, JPEG_BASELINE) == []
    assert one(pixels, same.replace(b"DOE", b"dOE"), JPEG_BASELINE)
    private = E(0x7FE11001, "OB", Fragments([b"", frame]))
    assert one(private, same, JPEG_BASELINE)
    assert one(private, same.replace(frame, bytes(12)), JPEG_BASELINE) == []
    assert one(private, bytes(len(same)), JPEG_BASELINE)


def test_leaks_and_echoes() -> None:
    before, after = pair(fault=put(0x00204000, "seen by  JOHANNA"))
    found = oracle.leaks(before, after, RULES)
    assert len(found) == 1
    assert "JOHANNA" in found[0]
    assert "(0020,4000)" in found[0]
    # In a value that the profile keeps it is an echo, for a person to judge.
    kept = E(0x00181020, "LO", "R5 of DOE^JOHANNA")
    before, after = pair(extra=[kept], extra_after=[kept])
    assert oracle.leaks(before, after, RULES) == []
    assert any("JOHANNA" in echo for echo in oracle.echoes(before, after, RULES))
    # In pixel data it is not looked for, in a header it is.
    assert oracle.leaks(before, b"JOHANNA".ljust(128, b"\0") + after[128:], RULES)


def test_settings_of_the_library_are_restored() -> None:
    before = config.settings._reading_validation_mode, vars(filereader).copy()
    judge(*pair())
    assert oracle.compare(b"\2\0\0\0", b"")
    assert (config.settings._reading_validation_mode, vars(filereader)) == before
