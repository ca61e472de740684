"""Plain elements are read in a loop of their own (plain.pxd): it must decide as the machine does.

A trace asks for every value, so with one no element is plain. Everything else must be equal.
"""

from __future__ import annotations

import functools
import random
import struct
from collections.abc import Iterator, Sequence

import pytest

import dcmveil
from build import LONG_HEADER, VRS, E, Item, encode
from dcmveil import core
from dcmveil.profile import Draft, Row, load
from dcmveil.profile.tables_io import read_text

SETTINGS: list[tuple[str, tuple[str, ...]]] = [
    ("basic", ()),
    ("basic", ("retain-safe-private", "retain-longitudinal-modified-dates", "clean-graphics")),
    ("basic", ("retain-uids", "retain-device-identity", "clean-structured-content")),
    ("omidb", ()),
]
ENCODINGS = {"explicit-le": core.EXPLICIT_LE, "implicit-le": core.IMPLICIT_LE}
FIRST = E(0x00080005, "CS", "ISO_IR 100")  # so that the first bytes tell the encoding
VALUES = [
    b"",
    b"DOE^JOHN",
    b"\0\0",
    b"1.2.3.4\0",
    b"A\0SECRET",
    b"20250102",
    b"x" * 70,
    b"1\\2\\3 ",
]
VALUES += [b"A" * n + b"\0" + b"S" * (15 - n) for n in range(16)]
VALUES += [bytes(n) for n in (4, 8, 10)]


@functools.cache
def tags() -> list[tuple[int, str]]:
    """Tags of the dictionary, one for each pattern, with their VR."""
    found = []
    for line in read_text("dictionary.txt").splitlines():
        if not line.startswith("#"):
            found.append((int(line[:8].replace("x", "0"), 16), line[9:11]))
    return found


@functools.cache
def rules(profile: str, options: tuple[str, ...]) -> core.Rules:
    return load(profile, options).rules


def answer(asks: Sequence[core.Ask]) -> list[core.Answer]:
    """Something that shows what was asked, of the same length."""
    return [
        (b"", 7, b"") if action == core.DOCUMENT else bytes([action]) * len(value)
        for action, value, _, _ in asks
    ]


def outcome(
    table: core.Rules, data: bytes, encoding: str, *, scout: bool, trace: bool, room: int = 0
) -> tuple[object, ...]:
    """All that a caller can see of a run over a raw data set; room: bytes given at a time."""
    seen: list[core.Trace] | None = [] if trace else None
    rewriter = core.Rewriter(table, answer, scout=scout, trace=seen)
    window = bytearray(data)
    told: list[object] = []
    filled = 0
    try:
        while True:
            if rewriter.position > len(data):  # more was to be skipped than there is
                rewriter.cut(len(data))
            filled = min(max(filled, rewriter.position) + (room or len(data)), len(data))
            status = rewriter.step(window, filled, filled == len(data))
            if status in (core.DONE, core.BARRIER) or filled == len(data):
                break
        told.append(status)
    except dcmveil.DicomError as error:
        return (str(error),)
    told += [rewriter.position, rewriter.elements, rewriter.counts, rewriter.notes]
    told += [rewriter.values(window, filled), rewriter.texts(window, filled), bytes(window)]
    return tuple(told)


def check(table: core.Rules, elements: Sequence[E | bytes], encoding: str) -> None:
    data = encode([FIRST, *elements], encoding)
    for scout in (False, True):
        plain = outcome(table, data, encoding, scout=scout, trace=False)
        assert plain == outcome(table, data, encoding, scout=scout, trace=True)
    assert outcome(table, data, encoding, scout=False, trace=False, room=7) == outcome(
        table, data, encoding, scout=False, trace=True
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("profile", "options"), SETTINGS)
def test_every_tag_of_the_dictionary(profile: str, options: tuple[str, ...], encoding: str) -> None:
    """In a data set, in an item that is kept, and in one of a blanked sequence; with its own VR and
    another one, and with values of several kinds."""
    table = rules(profile, options)
    chance = random.Random(f"{profile} {options} {encoding}")
    some = [t for t in tags() if t[0] >> 16 > 8 or t[0] & 0xFFFF > 5]
    for start in range(0, len(some), 40):
        part = [element(chance, *one) for one in some[start : start + 40]]
        check(table, part, encoding)
        check(table, [E(0x52009229, "SQ", [Item(part, undefined=True)])], encoding)
        check(table, [E(0x00081115, "SQ", [Item(part)])], encoding)


def element(chance: random.Random, tag: int, vr: str) -> E:
    if vr in ("SQ", "UN"):
        return E(tag, vr, b"")
    other = chance.random() < 0.1
    while other and vr in ("SQ", "UN", *LONG_HEADER):
        vr = chance.choice(VRS)
    if other:
        vr = chance.choice([one for one in VRS if one not in ("SQ", "UN")])
    return E(tag, vr, chance.choice(VALUES))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("profile", "options"), SETTINGS)
def test_any_tags_in_any_order(profile: str, options: tuple[str, ...], encoding: str) -> None:
    """Private blocks, group lengths, tags that nobody knows, tags that others depend on."""
    table = rules(profile, options)
    chance = random.Random(f"any {profile} {options} {encoding}")
    for _ in range(400):
        check(table, list(anything(chance, 3)), encoding)


def anything(chance: random.Random, depth: int) -> Iterator[E | bytes]:
    known = tags()
    special = [0x00080000, 0x00080005, 0x00080016, 0x00080018, 0x00100010, 0x00100020, 0x0020000D]
    special += [0x0020000E, 0x00041500, 0x00020010, 0x54001010, 0x7FE00010, 0x00280010, 0xFFFCFFFC]
    creators = ["GEMS_IDEN_01", "SIEMENS CSA HEADER", "NOBODY"]
    ascending = sorted(chance.choice(known) for _ in range(chance.randrange(12)))
    for tag, vr in ascending:
        kind = chance.randrange(12)
        if kind == 0:
            group = chance.choice([0x0009, 0x0019, 0x0029, (tag >> 16) | 1])
            yield E(group << 16 | 0x10, "LO", chance.choice(creators))
            for low in sorted(chance.sample(range(256), 3)):
                private = chance.choice([one for one in VRS if one != "SQ"])
                yield E(group << 16 | 0x1000 | low, private, chance.choice(VALUES))
        elif kind == 1:
            yield E(chance.choice(special), chance.choice(VRS[:20]), chance.choice(VALUES))
        elif kind == 2 and depth:
            tag = chance.choice([0x52009229, 0x00081115, 0x00081140, 0x00400275])
            items = [
                Item(list(anything(chance, depth - 1)), undefined=chance.random() < 0.5)
                for _ in range(chance.randrange(3))
            ]
            yield E(tag, "SQ", items, undefined=chance.random() < 0.5)
        elif kind == 3:
            yield E(chance.randrange(0x00090000, 0x70000000), "LO", chance.choice(VALUES))
        elif kind == 4:
            yield E(tag, vr, chance.choice(VALUES), length=chance.choice([0, 4, 9, 60000]))
        else:
            yield element(chance, tag, vr)


def test_a_rule_for_a_place() -> None:
    """A tag that a path names is decided by its place, wherever it stands."""
    draft = Draft("places")
    draft.paths[(0x52009229, 0x00180050)] = Row("00180050", "blank", "a test")
    draft.paths[(0x00081030,)] = Row("00081030", "dummy", "a test")
    table = draft.freeze().rules
    thickness, text = E(0x00180050, "DS", "1.25"), E(0x00081030, "LO", "HEAD")
    for encoding in ENCODINGS:
        item = E(0x52009229, "SQ", [Item([text, thickness])])
        check(table, [text, thickness, item], encoding)
    data = bytearray(encode([FIRST, text, thickness, item]))
    core.Rewriter(table, answer).step(data, len(data), True)
    assert data.count(b"ANON") == 2
    assert data.count(b"1.25") == 1


def test_more_operations_than_are_kept_at_a_time() -> None:
    table = rules("basic", ())
    check(table, [E(0x00181000, "LO", "SN-12345")] * 3000, "explicit-le")


def test_a_length_that_reaches_past_its_item() -> None:
    """The loop must see the end of what encloses it, not only that of the window."""
    inner = struct.pack("<HH2sH", 0x0018, 0x1000, b"LO", 12) + b"SN-1"
    item = E(0x52009229, "SQ", [Item([inner])])
    data = bytearray(encode([FIRST, item, E(0x60000010, "US", [1])]))
    with pytest.raises(dcmveil.DicomError, match="past the end"):
        core.Rewriter(rules("basic", ()), answer).step(data, len(data), True)
