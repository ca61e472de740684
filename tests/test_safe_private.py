"""Retain Safe Private (PS3.15 section E.3.10): private elements that are known to be safe, by Table
E.3.10-1 or because the file itself declares them so in (0008,0300)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence

import pytest

import dcmveil
from build import (
    DEFLATED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    E,
    Item,
    encode,
    encoding_of,
    part10,
)
from expectations import KEY

SYNTAXES = [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED[0]]
OPTION = ("retain-safe-private",)
WALKED = 0x52009229  # Shared Functional Groups Sequence: no table names it
# Rows of Table E.3.10-1 for Philips: (2001,xx63) CS and (2001,xx5F) SQ; and none for (2001,xxFE).
PHILIPS, GE = "Philips Imaging DD 001", "GEMS_PARM_01"
SAFE_TEXT, SAFE_SEQUENCE, UNSAFE = 0x63, 0x5F, 0xFE

every_syntax = pytest.mark.parametrize("syntax", SYNTAXES)
both_lengths = pytest.mark.parametrize("undefined", [False, True], ids=["defined", "undefined"])


def kept(
    elements: Sequence[E | bytes], syntax: str = EXPLICIT_LE, options: Sequence[str] = OPTION
) -> set[str]:
    """Which canaries stay; every other byte of the structure is as it was."""
    usual = [E(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.4"), E(0x00100020, "LO", "4711")]
    whole: list[E | bytes] = [*usual, *elements]
    whole.sort(key=lambda element: element.tag if isinstance(element, E) else 0)
    data = part10(whole, syntax)
    new = dcmveil.Veil("basic", options=tuple(options), key=KEY).bytes(data)
    if syntax in DEFLATED:
        new = zlib.decompressobj(-zlib.MAX_WBITS).decompress(new[len(data) - len_of(data) :])
    else:
        assert len(new) == len(data)
    return {found.decode() for found in re.findall(rb"CNRY_\w+", new)}


def len_of(data: bytes) -> int:
    """Length of the deflated data set."""
    return len(data) - 144 - int.from_bytes(data[140:144], "little")


def canary(tag: int, name: str, vr: str = "LO") -> E:
    return E(tag, vr, f"CNRY_{name}")


def sequence(tag: int, *items: Sequence[E | bytes], undefined: bool = False) -> E:
    return E(tag, "SQ", [Item(item, undefined) for item in items], undefined=undefined)


def block(number: int, creator: str = PHILIPS, group: int = 0x2001, mark: str = "") -> list[E]:
    """A block of a creator with a safe element and an unsafe one."""
    base = group << 16 | number << 8
    return [
        E(group << 16 | number, "LO", creator),
        canary(base | SAFE_TEXT, f"SAFE{mark}", "CS"),
        canary(base | UNSAFE, f"UNSAFE{mark}", "LO"),
    ]


# -- by Table E.3.10-1 -----------------------------------------------------------------------


@every_syntax
@pytest.mark.parametrize("number", [0x10, 0x42, 0xFF])
def test_by_creator_and_low_byte_in_any_block(syntax: str, number: int) -> None:
    assert kept(block(number), syntax) == {"CNRY_SAFE"}
    assert kept(block(number), syntax, options=()) == set()


@every_syntax
def test_two_creators_in_one_group(syntax: str) -> None:
    elements = [*block(0x10, "Philips MR Imaging DD 001", mark="_OTHER"), *block(0x11)]
    assert kept(elements, syntax) == {"CNRY_SAFE"}
    twice = [*block(0x10, mark="_1"), *block(0x80, mark="_2")]
    assert kept(twice, syntax) == {"CNRY_SAFE_1", "CNRY_SAFE_2"}


@every_syntax
@pytest.mark.parametrize("creator", [GE, "PHILIPS IMAGING DD 001", "Philips Imaging DD 001.", ""])
def test_another_creator(syntax: str, creator: str) -> None:
    assert kept(block(0x10, creator), syntax) == set()


@every_syntax
@pytest.mark.parametrize("padding", ["", " ", "  \0", "   "])
def test_padding_of_a_creator_does_not_count(syntax: str, padding: str) -> None:
    assert kept(block(0x10, PHILIPS + padding), syntax) == {"CNRY_SAFE"}


@every_syntax
def test_another_group(syntax: str) -> None:
    assert kept(block(0x10, group=0x2003), syntax) == set()


@every_syntax
def test_an_element_without_its_creator(syntax: str) -> None:
    elements = block(0x10)[1:]
    assert kept(elements, syntax) == set()
    other_block = [E(0x20010011, "LO", PHILIPS), *elements]
    assert kept(other_block, syntax) == set()


@every_syntax
def test_an_element_before_its_creator_is_refused(syntax: str) -> None:
    creator, safe, _ = block(0x10)
    wrong = encode([safe, creator], encoding_of(syntax))
    elements = [E(0x00080060, "CS", "MR"), wrong]
    with pytest.raises(dcmveil.DicomError, match="repeated or misplaced"):
        dcmveil.Veil("basic", options=OPTION, key=KEY).bytes(part10(elements, syntax))


@every_syntax
@both_lengths
def test_each_item_has_blocks_of_its_own(syntax: str, undefined: bool) -> None:
    items = sequence(
        WALKED,
        block(0x31, mark="_IN_1"),
        block(0x10, GE, mark="_IN_2"),  # another creator in the block that the data set reserves
        block(0x10)[1:],  # no creator: that of the data set around does not count
        [sequence(0x00081199, block(0xEE, mark="_IN_4"), undefined=undefined)],
        undefined=undefined,
    )
    assert kept([*block(0x10), items], syntax) == {"CNRY_SAFE", "CNRY_SAFE_IN_1", "CNRY_SAFE_IN_4"}
    # and what the items reserve does not count outside
    assert kept([items, *block(0x31, GE, mark="_OUT")], syntax) == {
        "CNRY_SAFE_IN_1",
        "CNRY_SAFE_IN_4",
    }


# -- private sequences -----------------------------------------------------------------------


def mixed_item(mark: str) -> list[E | bytes]:
    return [
        canary(0x00100010, f"NAME{mark}", "PN"),
        canary(0x00180015, f"PART{mark}", "CS"),
        *block(0x23, mark=mark),
    ]


@every_syntax
@both_lengths
@pytest.mark.parametrize("low", [SAFE_SEQUENCE, UNSAFE])
@pytest.mark.parametrize("creator", [PHILIPS, "of no list"])
def test_items_of_a_private_sequence_are_decided_one_by_one(
    syntax: str, undefined: bool, low: int, creator: str
) -> None:
    private = sequence(
        0x20011000 | low,
        mixed_item("_1"),
        [sequence(0x20012300 | UNSAFE, mixed_item("_2"), undefined=undefined)],
        undefined=undefined,
    )
    elements = [E(0x20010010, "LO", creator), private]
    want = {"CNRY_PART_1", "CNRY_SAFE_1", "CNRY_PART_2", "CNRY_SAFE_2"}
    assert kept(elements, syntax) == want
    assert kept(elements, syntax, options=()) == set()


@pytest.mark.parametrize("inner", ["implicit-le", "explicit-le"])
@both_lengths
def test_a_private_sequence_in_un(inner: str, undefined: bool) -> None:
    item = Item([encode(mixed_item(""), inner)], undefined and inner == "implicit-le")
    element = E(0x20011000 | UNSAFE, "UN", [item], undefined=undefined)
    if inner == "explicit-le" and undefined:
        element = E(0x20011000 | UNSAFE, "UN", [Item([encode(mixed_item(""), inner)])])
    assert kept([E(0x20010010, "LO", "of no list"), element]) == {"CNRY_PART", "CNRY_SAFE"}


@every_syntax
def test_inside_a_blanked_sequence_nothing_is_safe(syntax: str) -> None:
    elements = [sequence(0x00081110, block(0x10))]  # Referenced Study Sequence: X/Z
    assert kept(elements, syntax) == set()


# -- declared by the file --------------------------------------------------------------------

GROUP, CREATOR, STATUS, ELEMENTS = 0x00080301, 0x00080302, 0x00080303, 0x00080304
OWN = "MY OWN CREATOR"  # no list has it


def declared(
    status: str,
    safe: Sequence[int] | None = None,
    creator: str = OWN,
    group: int = 0x2001,
) -> list[E | bytes]:
    """An item of (0008,0300) Private Data Element Characteristics Sequence."""
    item: list[E | bytes] = [E(GROUP, "US", [group]), E(CREATOR, "LO", creator)]
    item.append(E(STATUS, "CS", status))
    return item if safe is None else [*item, E(ELEMENTS, "US", safe)]


def declaring(*items: Sequence[E | bytes], undefined: bool = False) -> E:
    return sequence(0x00080300, *items, undefined=undefined)


@every_syntax
@both_lengths
@pytest.mark.parametrize(
    ("status", "safe", "want"),
    [
        ("SAFE", None, {"CNRY_SAFE", "CNRY_UNSAFE"}),
        ("SAFE", [SAFE_TEXT], {"CNRY_SAFE", "CNRY_UNSAFE"}),
        ("MIXED", [SAFE_TEXT], {"CNRY_SAFE"}),
        ("MIXED", [1, 2, SAFE_TEXT, UNSAFE], {"CNRY_SAFE", "CNRY_UNSAFE"}),
        ("MIXED", [1, 2], set()),
        ("MIXED", None, set()),
        ("UNSAFE", None, set()),
        ("UNSAFE", [SAFE_TEXT], set()),
    ],
)
def test_the_declaration_counts(
    syntax: str, undefined: bool, status: str, safe: list[int] | None, want: set[str]
) -> None:
    item = declared(status, safe)
    elements = [declaring(item, undefined=undefined), *block(0x10, OWN)]
    assert kept(elements, syntax) == want
    moved = [declaring(item, undefined=undefined), *block(0xC7, OWN)]
    assert kept(moved, syntax) == want
    assert kept(elements, syntax, options=()) == set()


@every_syntax
@both_lengths
def test_several_declarations(syntax: str, undefined: bool) -> None:
    items = declaring(
        declared("MIXED", [SAFE_TEXT], "ONE"),
        declared("UNSAFE", None, "TWO"),
        declared("SAFE", None, "THREE"),
        declared("SAFE", None, "FOUR", 0x2003),
        undefined=undefined,
    )
    elements = [
        *block(0x10, "ONE", mark="_1"),
        *block(0x11, "TWO", mark="_2"),
        *block(0x12, "THREE", mark="_3"),
        *block(0x13, "FOUR", mark="_4"),
        *block(0x13, "FOUR", 0x2003, mark="_5"),
    ]
    want = {"CNRY_SAFE_1", "CNRY_SAFE_3", "CNRY_UNSAFE_3", "CNRY_SAFE_5", "CNRY_UNSAFE_5"}
    assert kept([items, *elements], syntax) == want


@every_syntax
def test_a_creator_that_is_declared_stays(syntax: str) -> None:
    name = "CNRY_CREATOR"
    elements = block(0x10, name)
    assert kept([declaring(declared("SAFE", None, name)), *elements], syntax) == {
        # the declaration names it, too: no table has (0008,0302)
        name, "CNRY_SAFE", "CNRY_UNSAFE",
    }  # fmt: skip
    data = part10([declaring(declared("MIXED", [1], name)), *elements], EXPLICIT_LE)
    new = dcmveil.Veil("basic", options=OPTION, key=KEY).bytes(data)
    assert new.count(name.encode()) == 2


@pytest.mark.parametrize("status", ["UNSAFE", "MIXED"])
def test_a_creator_of_nothing_safe_goes(status: str) -> None:
    name = "CNRY_CREATOR"
    data = part10([declaring(declared(status, None, name)), *block(0x10, name)], EXPLICIT_LE)
    new = dcmveil.Veil("basic", options=OPTION, key=KEY).bytes(data)
    assert new.count(name.encode()) == 1  # in the declaration


@every_syntax
@both_lengths
def test_declared_for_the_whole_file_in_each_item_by_its_own_creator(
    syntax: str, undefined: bool
) -> None:
    items = sequence(
        WALKED, block(0x44, OWN, mark="_IN"), block(0x10, GE, mark="_NO"), undefined=undefined
    )
    elements = [declaring(declared("MIXED", [SAFE_TEXT]), undefined=undefined), items]
    assert kept([*elements, *block(0x10, OWN)], syntax) == {"CNRY_SAFE", "CNRY_SAFE_IN"}


@every_syntax
def test_a_declaration_in_an_item_does_not_count(syntax: str) -> None:
    inside = sequence(WALKED, [declaring(declared("SAFE")), *block(0x10, OWN)])
    assert kept([inside, *block(0x10, OWN)], syntax) == set()


@every_syntax
@both_lengths
def test_a_sequence_in_a_safe_block_is_still_walked(syntax: str, undefined: bool) -> None:
    private = sequence(0x20011001, mixed_item(""), undefined=undefined)
    elements = [declaring(declared("SAFE")), E(0x20010010, "LO", OWN), private]
    assert kept(elements, syntax) == {"CNRY_PART", "CNRY_SAFE"}


def test_values_of_every_vr_stay() -> None:
    values = [
        E(0x20011001, "DA", "20160229"),
        E(0x20011002, "PN", "CNRY_NAME"),
        E(0x20011003, "OB", b"CNRY_BYTES"),
        E(0x20011004, "UN", b"CNRY_UN "),
        E(0x20011005, "UT", "CNRY_TEXT"),
        E(0x20011006, "UR", "CNRY_URL"),
    ]
    elements = [declaring(declared("SAFE")), E(0x20010010, "LO", OWN), *values]
    names = {"NAME", "BYTES", "UN", "TEXT", "URL"}
    assert kept(elements) == {f"CNRY_{name}" for name in names}


MALFORMED: dict[str, Callable[[], list[E | bytes]]] = {
    "another status": lambda: declared("safe"),
    "no status": lambda: declared("SAFE")[:2],
    "an empty status": lambda: declared(""),
    "no creator": lambda: [E(GROUP, "US", [0x2001]), E(STATUS, "CS", "SAFE")],
    "an empty creator": lambda: declared("SAFE", creator=""),
    "no group": lambda: declared("SAFE")[1:],
    "an empty group": lambda: [E(GROUP, "US", []), *declared("SAFE")[1:]],
    "another group": lambda: declared("SAFE", group=0x2003),
    "the status twice": lambda: [*declared("UNSAFE"), E(STATUS, "CS", "SAFE")],
    "the creator twice": lambda: [E(GROUP, "US", [0x2001]), E(CREATOR, "LO", "X"),
                                  *declared("SAFE")[1:]],
    "nothing": list,
}  # fmt: skip


@every_syntax
@both_lengths
@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_declaration_declares_nothing(syntax: str, undefined: bool, what: str) -> None:
    items = declaring(MALFORMED[what](), undefined=undefined)
    assert kept([items, *block(0x10, OWN)], syntax) == set()


def test_a_nested_sequence_of_undefined_length_in_a_declaration_declares_nothing() -> None:
    odd = sequence(0x00080305, [E(0x00080307, "US", [1])], undefined=True)
    assert kept([declaring([*declared("SAFE"), odd]), *block(0x10, OWN)]) == set()
    plain = sequence(0x00080305, [E(0x00080307, "CS", "X")])
    want = {"CNRY_SAFE", "CNRY_UNSAFE"}
    assert kept([declaring([*declared("SAFE"), plain]), *block(0x10, OWN)]) == want


def test_a_declaration_in_un() -> None:
    item = Item([encode(declared("MIXED", [SAFE_TEXT]), "implicit-le")])
    for undefined in (False, True):
        element = E(0x00080300, "UN", [item], undefined=undefined)
        assert kept([element, *block(0x10, OWN)]) == {"CNRY_SAFE"}


def test_more_declarations_than_are_held_are_not_safe() -> None:
    items = [declared("SAFE", None, f"OWN {n:03d}") for n in range(100)]
    elements = [declaring(*items)]
    for n in range(100):
        elements += block(0x10 + n, f"OWN {n:03d}", mark=f"_{n:03d}")
    want = {f"CNRY_{name}_{n:03d}" for n in range(64) for name in ("SAFE", "UNSAFE")}
    assert kept(elements) == want


def test_declared_safe_and_unsafe_at_once() -> None:
    """Nothing says which one counts."""
    contrary = declaring(declared("SAFE"), declared("UNSAFE"))
    assert kept([contrary, *block(0x10, OWN)]) == set()


def test_an_element_number_that_is_no_low_byte_declares_nothing() -> None:
    items = declaring(declared("MIXED", [0x1000 | SAFE_TEXT]))
    assert kept([items, *block(0x10, OWN)]) == set()
