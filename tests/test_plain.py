"""Plain elements are read in a loop of their own (plain.pxd), and so is where the sequences and
items around them begin and end (nesting.pxd): it must decide as the machine does.

A trace asks for every value, so with one no element is plain, and the machine opens and closes all
that holds them. Everything else must be equal.
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
    table: core.Rules,
    data: bytes,
    *,
    scout: bool,
    trace: bool,
    room: int = 0,
    directory: bool = False,
) -> tuple[object, ...]:
    """All that a caller can see of a run over a raw data set; room: bytes given at a time."""
    seen: list[core.Trace] | None = [] if trace else None
    rewriter = core.Rewriter(table, answer, scout=scout, trace=seen)
    if directory:
        rewriter.set_directory(False)
    window = bytearray(data)
    told: list[object] = []
    filled = 0
    try:
        while True:
            if rewriter.position > len(data):  # more was to be skipped than there is
                rewriter.cut(len(data))
            filled = min(max(filled, rewriter.position) + (room or len(data)), len(data))
            while True:
                status = rewriter.step(window, filled, filled == len(data))
                if status != core.RECORD:
                    break
                told.append(rewriter.record)
            if status in (core.DONE, core.BARRIER) or filled == len(data):
                break
        told.append(status)
    except dcmveil.DicomError as error:
        return (*told, str(error), rewriter.elements, rewriter.notes)
    told += [
        rewriter.characteristics,
        rewriter.position,
        rewriter.elements,
        rewriter.counts,
        rewriter.notes,
    ]
    told += [rewriter.values(window, filled), rewriter.texts(window, filled), bytes(window)]
    return tuple(told)


def check(table: core.Rules, elements: Sequence[E | bytes], encoding: str) -> None:
    check_bytes(table, encode([FIRST, *elements], encoding))


def check_bytes(
    table: core.Rules, data: bytes, rooms: Sequence[int] = (7,), *, directory: bool = False
) -> tuple[object, ...]:
    """The outcome, which is the same with a trace, and however many bytes are given at a time."""
    for scout in (True, False):
        wanted = outcome(table, data, scout=scout, trace=True, directory=directory)
        for room in (0, *rooms):
            assert wanted == outcome(
                table, data, scout=scout, trace=False, room=room, directory=directory
            )
    return wanted


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


# -- where sequences and items begin and end -------------------------------------------------------

SEQUENCES = [0x52009229, 0x00081115, 0x00081140, 0x00400275, 0x00080300, 0x00081199, 0x00091018]
CODE = E(0x00080104, "LO", "T-11100 ")
MARKERS = [struct.pack("<HHI", 0xFFFE, element, 0) for element in (0xE000, 0xE00D, 0xE0DD)]


def nested(chance: random.Random, depth: int) -> Iterator[E | bytes]:
    """Few elements and many items, of lengths of both kinds, empty ones among them."""
    some = sorted(chance.choice(tags()) for _ in range(chance.randrange(3)))
    yield from (element(chance, *one) for one in some)
    for tag in sorted(chance.sample(SEQUENCES, chance.randrange(3)) if depth else []):
        items = [
            Item(list(nested(chance, depth - 1)), undefined=chance.random() < 0.5)
            for _ in range(chance.randrange(4))
        ]
        inside: Sequence[Item | bytes] = items
        vr = "UN" if chance.random() < 0.1 else "SQ"
        if vr == "SQ" and chance.random() < 0.1:  # not in the encoding that was told
            inside = [encode([E(tag, "SQ", [item])], "implicit-le")[8:] for item in items]
        yield E(tag, vr, inside, undefined=chance.random() < 0.5)
    if chance.random() < 0.3:
        yield E(0x60000010, "US", [1])


def damage(chance: random.Random, data: bytearray) -> None:
    """One thing that real files have, or worse."""
    headers = [at for at in range(8, len(data) - 8) if data[at : at + 2] in (b"\xfe\xff", b"SQ")]
    at = chance.choice(headers) if headers else len(data) // 2
    kind = chance.randrange(5)
    if kind == 0:  # a length that lies, by a little or much
        at += 4
        length = int.from_bytes(data[at : at + 4], "little")
        by = chance.choice(
            [-length, -9, -8, -4, -1, 1, 4, 7, 8, 9, 12, 1 << 20, 1 << 31, -1 - length]
        )
        data[at : at + 4] = ((length + by) % (1 << 32)).to_bytes(4, "little")
    elif kind == 1:
        del data[at : at + 8]
    elif kind == 2:
        data[at:at] = chance.choice(MARKERS)
    elif kind == 3:
        del data[chance.randrange(1, len(data) + 1) :]
    else:
        data[chance.randrange(len(data))] = chance.choice([0, 1, 0x53, 0xFE, 0xFF])


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("profile", "options"), SETTINGS)
def test_nesting_whole_and_damaged(profile: str, options: tuple[str, ...], encoding: str) -> None:
    table = rules(profile, options)
    chance = random.Random(f"nesting {profile} {options} {encoding}")
    refused = 0
    for _ in range(250):
        data = bytearray(encode([FIRST, *nested(chance, 5)], encoding))
        for _ in range(3):
            found = check_bytes(table, bytes(data), (1, 3, 8))
            refused += isinstance(found[0], str)
            damage(chance, data)
    assert 100 < refused < 650


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("undefined", [False, True])
def test_a_window_that_ends_anywhere_in_a_nesting(encoding: str, undefined: bool) -> None:
    inner = E(0x00081199, "SQ", [Item([CODE], undefined=undefined)] * 2, undefined=undefined)
    items = [Item([inner, CODE], undefined=undefined), Item([]), Item([inner])]
    outer = E(0x52009229, "SQ", items, undefined=undefined)
    data = encode([FIRST, outer, E(0x60000010, "US", [1])], encoding)
    wanted = check_bytes(rules("basic", ()), data, range(1, 40))
    assert wanted[0] == core.DONE
    for cut in range(len(data)):
        check_bytes(rules("basic", ()), data[:cut], (1, 5))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("levels", [127, 128, 129])
def test_the_deepest_nesting(encoding: str, undefined: bool, levels: int) -> None:
    data = encode([CODE], encoding)
    for _ in range(levels):
        item = Item([data], undefined=undefined)
        data = encode([E(0x52009229, "SQ", [item], undefined=undefined)], encoding)
    found = check_bytes(rules("basic", ()), encode([FIRST], encoding) + data, (1,))
    assert isinstance(found[0], str) == (levels > 128)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_nesting_after_the_barrier_and_after_the_pixel_data(encoding: str) -> None:
    """A scout goes no further, and what follows pixel data may be no data element at all."""
    items = E(0x00400275, "SQ", [Item([CODE])])
    pixels = E(0x7FE00010, "OW", b"ab")
    late = E(0xFFFCFFFC, "OB", b"the end ")
    patient = E(0x00100020, "LO", "X")
    check(rules("basic", ()), [patient, items, pixels, late], encoding)
    check(rules("basic", ()), [patient, pixels, items, b"\1" * 20], encoding)


def test_the_records_of_a_directory() -> None:
    """The caller is told of each, wherever the loop is then."""
    key = E(0x00041430, "CS", "PATIENT")
    icon = E(0x00880200, "SQ", [Item([E(0x00280010, "US", [1]), CODE], undefined=True)])
    for undefined in (False, True):
        records = [Item([key, CODE, icon], undefined=undefined)] * 3
        data = encode([FIRST, E(0x00041220, "SQ", records, undefined=undefined)])
        found = check_bytes(rules("basic", ()), data, (1, 9), directory=True)
        assert [isinstance(one, tuple) for one in found[:7]] == [True] * 6 + [False]


def test_a_rule_for_a_place_inside_a_nesting() -> None:
    draft = Draft("places")
    draft.paths[(0x52009229, 0x00081199, 0x00080104)] = Row("00080104", "blank", "a test")
    table = draft.freeze().rules
    inner = E(0x00081199, "SQ", [Item([CODE]), Item([CODE], undefined=True)])
    other = E(0x00081115, "SQ", [Item([inner])])
    outer = E(0x52009229, "SQ", [Item([inner, CODE]), Item([inner])], undefined=True)
    for encoding in ENCODINGS:
        check(table, [other, inner, outer], encoding)
    data = bytearray(encode([FIRST, other, inner, outer]))
    core.Rewriter(table, answer).step(data, len(data), True)
    assert data.count(b"T-11100") == 5


def test_private_blocks_end_with_their_item() -> None:
    """What the data set around it calls by the same number is not of that creator."""
    block = [E(0x00090010, "LO", "GEMS_IDEN_01"), E(0x00091001, "LO", "FULL FIDELITY ")]
    for undefined in (False, True):
        item = E(0x00081115, "SQ", [Item(block, undefined=undefined)], undefined=undefined)
        data = encode([FIRST, item, block[1]], "implicit-le")
        found = check_bytes(rules("basic", ()), data, (1, 8))
        new = found[-1]
        assert isinstance(new, bytes)
        assert new.count(b" " * 14) == 1  # as a text, inside
        assert new.endswith(bytes(14))  # as what nobody knows, outside


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_items_of_an_unknown_vr_in_either_encoding(encoding: str) -> None:
    for inner in ENCODINGS:
        items = b"".join(
            struct.pack("<HHI", 0xFFFE, 0xE000, len(part)) + part
            for part in (encode([CODE], inner), b"", encode([CODE, CODE], inner))
        )
        value = items + MARKERS[2]
        unknown = E(0x60011018, "UN", value, length=0xFFFFFFFF)
        outer = E(0x52009229, "SQ", [Item([unknown, CODE]), Item([unknown], undefined=True)])
        data = encode([FIRST, outer, unknown], encoding)
        found = check_bytes(rules("basic", ()), data, (1, 3, 8))
        assert found[0] == core.DONE
