"""The frozen rule table against plain dictionaries made from the same data files."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dcmveil
from build import IMPLICIT_LE, VRS, E, Item, encode, part10
from cases import Refusal, run_bytes, run_twin, veil
from dcmveil import core
from dcmveil.profile import Row, draft_of
from twin_rules import BY_VR, Rules, default_rules, lines, rows
from twin_wire import Refused

WORDS = {"keep": core.KEEP, "blank": core.BLANK, "dummy": core.DUMMY, "uid": core.UID,
         "document": core.DOCUMENT, "set": core.LITERAL, "set-or-keep": core.LITERAL,
         "set-or-blank": core.LITERAL}  # fmt: skip
GROUPS = sorted({int(line[:4], 16) for line in lines("dictionary.txt") if "x" not in line[:4]})
REPEATING = [*range(0x5000, 0x5100, 2), *range(0x6000, 0x6100, 2)]
ELEMENTS = sorted({int(line[4:8].replace("x", "0"), 16) for line in lines("dictionary.txt")})


def expected(tag: int) -> tuple[int, int, int]:
    rule = default_rules().rule(tag)
    codes = [WORDS[word.partition(":")[0]] for word in (rule.action, rule.veiled)]
    return (VRS.index(rule.vr) + 1 if rule.vr else 0, *codes)


def wrong(tags: list[int]) -> list[str]:
    look_up = veil().profile.rules.look_up
    return [f"{tag:08X}" for tag in tags if look_up(tag)[:3] != expected(tag)]


def test_every_tag_of_the_files() -> None:
    tags = [int(line[:8], 16) for line in lines("dictionary.txt") if "x" not in line[:8]]
    for file in ("e1_1_2026d.tsv", "decisions.tsv", "structure.tsv"):
        tags += [int(row[0][1:5] + row[0][6:10], 16) for row in rows(file) if row[0][0] == "("
                 and "x" not in row[0]]  # fmt: skip
    assert len(tags) > 5000
    assert wrong(tags) == []


@pytest.mark.parametrize("groups", [GROUPS, REPEATING], ids=["dictionary", "repeating"])
def test_around_the_tags_of_the_files(groups: list[int]) -> None:
    """Every group with elements that are in the dictionary, in this group or another, and with
    their neighbours."""
    some = random.Random(1)
    near = {element + step for element in ELEMENTS for step in (-1, 0, 1, 16, 256)}
    tags = [group << 16 | e & 0xFFFF for group in groups for e in some.sample(sorted(near), 150)]
    tags += [group << 16 | e for group in groups for e in range(0x40)]
    assert wrong(tags) == []


PATTERNS = sorted({line[:8] for line in lines("dictionary.txt") if "x" in line[:8]}
                  | {"50xxxxxx", "60xx0022", "60xx1500", "60xx3000", "60xx4000"})  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns(pattern: str) -> None:
    """Every digit in place of each x, and what stands just outside the pattern."""
    some = random.Random(pattern)
    tags = []
    for _ in range(400):
        digits = "".join(some.choice("0123456789ABCDEF") if c == "x" else c for c in pattern)
        tags.append(int(digits, 16) & ~0x10000)
        tags.append(int(digits, 16) & ~0x10000 ^ 1 << some.choice((*range(16), *range(17, 32))))
    assert wrong(tags) == []


def test_random_tags() -> None:
    some = random.Random(2)
    assert wrong([some.randrange(1 << 32) & ~0x10000 for _ in range(20000)]) == []


def test_literals_are_those_of_their_rows() -> None:
    """A literal has one index for all its rows, none shares it, and no tag has two."""
    seen: set[int] = set()
    words: dict[int, str] = {}
    marked = [(3, row) for row in rows("decisions.tsv") if ":" in row[1]]
    marked += [(4, row) for row in rows("structure.tsv") if ":" in row[1]]
    for place, (tag, word, _reason) in marked:
        number = int(tag[1:5] + tag[6:10], 16)
        assert number not in seen
        seen.add(number)
        assert words.setdefault(veil().profile.rules.look_up(number)[place], word) == word
    assert len(words) == len({row[1] for _, row in marked})


def test_how_many_are_known() -> None:
    exact = {line[:8] for line in lines("dictionary.txt") if "x" not in line[:8]}
    assert veil().profile.rules.tags_known() > len(exact)


def test_values_by_vr() -> None:
    """A kept attribute of these VRs is not kept, and every other is."""
    for vr in (vr for vr in VRS if vr not in ("SQ", "UI")):
        data = encode([E(0x00080060, "CS", "MR"), E(0x00180050, vr, b"12345678")])
        new = run_bytes(veil(), data).result
        assert isinstance(new, bytes)
        assert (new != data) == (vr in BY_VR)


# -- private attributes --------------------------------------------------------------------------


def private_set(creator: bytes, block: int, group: int, lows: list[int]) -> bytes:
    """In implicit VR, where the private dictionary alone tells what a value is."""
    elements = [E(group << 16 | block, "LO", creator)]
    elements += [E(group << 16 | block << 8 | low, "UN", b"SECRET_\0") for low in lows]
    return part10(elements, IMPLICIT_LE)


def by_creator() -> dict[bytes, dict[int, dict[int, str]]]:
    found: dict[bytes, dict[int, dict[int, str]]] = {name: {} for name in default_rules().creators}
    for (creator, group, low), vr in default_rules().private.items():
        found[creator].setdefault(group, {})[low] = vr
    return found


def outcome(data: bytes) -> bytes | str:
    """The output or the fault, and the twin says so too."""
    result, theirs = run_bytes(veil(), data).result, run_twin(data)
    if isinstance(result, Refusal):
        assert isinstance(theirs, Refused)
        assert result.fault == theirs.fault
        return result.fault
    assert result == theirs
    return result


def test_private_dictionary() -> None:
    """Each row: text becomes spaces, binary zeros, and a sequence that is none is refused."""
    n = 0
    for creator, groups in by_creator().items():
        for group, row in groups.items():
            leaves = [low for low, vr in sorted(row.items()) if vr != "SQ"]
            n += len(row)
            if group % 2 == 0:
                continue  # the dictionary has a few, which no private attribute can have
            for block in (0x10, 0xFF):
                data = private_set(creator, block, group, leaves)
                new = outcome(data)
                assert isinstance(new, bytes)
                assert creator in new
                assert b"SECRET" not in new
                new = outcome(private_set(creator + b"x", block, group, leaves))
                assert isinstance(new, bytes)
                assert creator not in new
            for low in (low for low, vr in row.items() if vr == "SQ"):
                assert outcome(private_set(creator, 0x11, group, [low])) == "NOT_ITEMS"
    assert n == len([line for line in lines("private_dictionary.txt") if line[0] != "@"])


@pytest.mark.parametrize("pad", [b"", b" ", b"   ", b"\0", b" \0\0 "])
def test_padding_of_a_creator(pad: bytes) -> None:
    creator = next(name for name, groups in by_creator().items() if "SQ" in
                   {vr for row in groups.values() for vr in row.values()})  # fmt: skip
    group, row = next(iter(by_creator()[creator].items()))
    for name in (creator + pad, b" " + creator + pad):
        data = private_set(name, 0x20, group, sorted(low for low, vr in row.items() if vr != "SQ"))
        assert creator in outcome(data)  # type: ignore[operator]


def test_a_block_belongs_to_its_data_set() -> None:
    """An item has its own blocks, and the outer ones count again after it."""
    creator = b"AGFA-AG_HPState"
    sequence = E(0x00711018, "UN", [Item([E(0x00711018, "UN", b"SECRET_\0")])])
    after = E(0x00711019, "UN", b"SECRET_\0")
    data = part10([E(0x00710010, "LO", creator), sequence], IMPLICIT_LE)
    new = outcome(data)
    assert isinstance(new, bytes)
    assert new.endswith(bytes(8))  # in the item nobody has reserved the block
    assert outcome(data + encode([after], "implicit-le")) == "NOT_ITEMS"


def test_many_private_rows() -> None:
    """More than any table of the rules has room for at first, of creators in the dictionary and
    not, and each row is of its own element alone."""
    draft = draft_of("basic")
    names = [f"ACME {n}".encode() for n in range(500)] + sorted(by_creator())[:20]
    for name in names:
        for low in range(1, 8, 2):
            draft.private[name.decode(), 0x0009, low] = Row("0009xx01", "keep", "")
    kept = dcmveil.Veil(draft.freeze(), key=bytes(range(32)))
    for name in names:
        elements = [E(0x00090010, "LO", name)]
        elements += [E(0x00091000 | low, "LO", b"SECRET") for low in range(1, 9)]
        new = kept.bytes(part10(elements))
        values = [new[at + 8 : at + 14] for at in range(len(new) - 8 * 14, len(new), 14)]
        assert [value == b"SECRET" for value in values] == [True, False] * 4


# -- building a table ----------------------------------------------------------------------------

GROUP = st.sampled_from(["6000", "6002", "60xx", "7Fxx", "7FE0", "1000", "0010"])
ELEMENT = st.sampled_from(["0010", "001x", "00xx", "0x10", "10xx", "1010", "xx10", "xxx0", "xxxx"])
ACTION = st.sampled_from(["keep", "blank", "dummy", "uid"])


@given(st.lists(st.tuples(GROUP, ELEMENT, ACTION, ACTION), max_size=12))
def test_later_rows_win(table: list[tuple[str, str, str, str]]) -> None:
    made = core.Rules()
    made.load(b"", b"")
    plain = Rules.__new__(Rules)
    plain._exact, plain._wide, plain._rows = {}, [], 0
    for group, element, action, veiled in table:
        made.set(group + element, "LO", WORDS[action], WORDS[veiled])
        plain._add("vr", group + element, "LO")
        plain._add("action", group + element, action)
        plain._add("veiled", group + element, veiled)
    made.freeze()
    groups = (0x6000, 0x6002, 0x6004, 0x7F00, 0x7FE0, 0x7FE2, 0x1000, 0x0010, 0x0012)
    elements = (0x0010, 0x0011, 0x0020, 0x0100, 0x0110, 0x1000, 0x1010, 0x1011, 0x2010, 0x2222)
    for group, element in product(groups, elements):
        rule = plain._rule(group << 16 | element)
        vr, action, veiled, *_ = made.look_up(group << 16 | element)
        assert (vr != 0) == (rule.vr is not None)
        assert (action, veiled) == (WORDS[rule.action], WORDS[rule.veiled])


def test_patterns_that_overlap() -> None:
    made = core.Rules()
    made.load(b"", b"")
    made.set("60xx0010", "LO", core.KEEP, core.KEEP)
    try:
        made.set("6xxx0010", "LO", core.BLANK, core.BLANK)
    except ValueError:
        return  # refused is as good
    assert made.look_up(0x60000010)[1] == core.BLANK


def test_patterns_that_overlap_in_part() -> None:
    """Neither holds the other, so a group of both would need a place of its own: refused."""
    made = core.Rules()
    made.load(b"", b"")
    made.set("60xx0010", "LO", core.KEEP, core.KEEP)
    with pytest.raises(ValueError, match="rule 6xx00010"):
        made.set("6xx00010", "LO", core.BLANK, core.BLANK)


@pytest.mark.parametrize("pattern", ["", "0010001", "001000100", "0010,010", "00100 10", "0010001g",
                                     "XXXX0010", "60xx300\u00e9"])  # fmt: skip
def test_malformed_patterns(pattern: str) -> None:
    made = core.Rules()
    with pytest.raises(ValueError):  # noqa: PT011 - UnicodeEncodeError is one too
        made.set(pattern, "LO", core.KEEP, core.KEEP)


def changes(table: core.Rules) -> list[Callable[[], object]]:
    return [
        lambda: table.set("00100010", "PN", core.KEEP),
        lambda: table.set_vr("PN", core.KEEP),
        lambda: table.literal(b"x", core.CUT),
        lambda: table.load(b"00100010 LO\n", b""),
        table.freeze,
    ]


@pytest.mark.parametrize("number", range(5))
def test_a_frozen_table_says_so(number: int) -> None:
    table = core.Rules()
    table.load(b"00100010 PN\n", b"")
    table.freeze()
    with pytest.raises(ValueError, match="frozen"):
        changes(table)[number]()


def test_a_frozen_table_stays() -> None:
    table = core.Rules()
    table.load(b"00100010 PN\n", b"")
    table.set("00100010", "PN", core.BLANK)
    table.freeze()
    before = table.look_up(0x00100010)
    for change in changes(table):
        with pytest.raises(ValueError, match="frozen"):
            change()
    assert table.look_up(0x00100010) == before


@pytest.mark.parametrize(("dictionary", "private"), [
    (b"00100010 PN", b""), (b"0010001 PN\n", b""), (b"00100010 XX\n", b""), (b"", b"0029 10 LO\n"),
    (b"", b"@A\n0029 1 LO\n"), (b"", b"@A\n0029 10 ZZ\n"), (b"", b"@A\n@A\n"),
])  # fmt: skip
def test_malformed_dictionaries(dictionary: bytes, private: bytes) -> None:
    with pytest.raises(ValueError, match="malformed"):
        core.Rules().load(dictionary, private)


def test_a_literal_must_exist() -> None:
    made = core.Rules()
    made.load(b"", b"")
    made.set("00100010", "PN", core.LITERAL, core.BLANK, 3)
    with pytest.raises(ValueError, match="malformed"):
        made.freeze()
