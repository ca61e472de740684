"""A canary in every row of every table, at every depth, in every encoding: which ones stay?

What is to be expected comes from the tables alone (the TSV files), not from the profiles that are
made of them. Every value of the file is checked in its place, and every byte outside of values is
the same as before; so nothing can stay that nobody looked at.
"""

from __future__ import annotations

import datetime
import functools
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from build import (
    DEFLATED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    LONG_HEADER,
    E,
    Fragments,
    Item,
    encode,
    encoding_of,
    part10,
)
from expectations import (
    BLANKED,
    DATES,
    EDITIONS,
    GONE,
    MAPPED,
    MODIFIED,
    OPTIONS,
    SETTINGS,
    STAYS,
    Setting,
    dictionary,
    digits,
    rows_of,
    structure,
    vr_of,
)

SYNTAXES = {"explicit": EXPLICIT_LE, "implicit": IMPLICIT_LE, "big": EXPLICIT_BE,
            "deflated": DEFLATED[0]}  # fmt: skip
DEPTHS = range(5)
WALKED = 0x52009229  # Shared Functional Groups Sequence: no table names it
CONTENT = 0x0040A730
TEXT = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR",
        "UT"}  # fmt: skip


# -- canaries --------------------------------------------------------------------------------

TOKENS = {
    "text": re.compile(rb"CNRY\d{5}"),
    "number": re.compile(rb"-7\d{6}"),
    "binary": re.compile(rb"\xc5\xc5[^\xc5]{4}\xc5\xc5", re.DOTALL),
    "uid": re.compile(rb"1\.2\.826\.0\.1\.3680043\.9\.77\.1\d{5}"),
}


class Aviary:
    """Canaries, each of them once, valid for their VR where it can tell them apart."""

    def __init__(self) -> None:
        self._n = 0

    def value(self, vr: str) -> bytes:
        self._n += 1
        n = self._n
        if vr in ("DA", "DT"):
            day = f"{datetime.date(1930, 1, 1) + datetime.timedelta(n):%Y%m%d}".encode()
            return day if vr == "DA" else day + b"101112.%06d " % n
        if vr == "TM":
            return b"%02d%02d%02d.%06d " % (n % 23 + 1, n % 59, n % 58, n)
        if vr == "AS":
            return b"%03d" % (n % 999 + 1) + b"WMDY"[n // 999 % 4 :][:1]
        if vr in ("IS", "DS"):
            return b"-7%06d" % n + (b".5" if vr == "DS" else b"")
        if vr == "UI":
            return b"1.2.826.0.1.3680043.9.77.1%05d\0" % n
        if vr == "UR":
            return b"http://host/CNRY%05d " % n
        if vr in TEXT:
            return b"CNRY%05d " % n
        # no byte of the number may be that of the frame
        number = bytes([1 + n % 127, 1 + n // 127 % 127, 1 + n // 127**2 % 127, 1])
        return b"\xc5\xc5" + number + b"\xc5\xc5"

    def element(self, tag: int, vr: str) -> E:
        value = self.value(vr)
        return E(tag, vr, value * 8 if tag == 0x00120063 else value)  # with room for a method


# -- the file --------------------------------------------------------------------------------


@functools.cache
def listed() -> dict[int, str]:
    """tag -> VR of every row of every table, patterns as some of their tags."""
    found: dict[int, str] = {}
    for name, vr_column in (
        ("e1_1_2026d.tsv", 3), ("sup142.tsv", 3), ("omidb.tsv", 2), ("decisions.tsv", 0),
        ("editions.tsv", 0),
    ):  # fmt: skip
        for cells in rows_of(name):
            for tag in tags_of(digits(cells[0])):
                vr = cells[vr_column][-2:] if vr_column else ""
                found[tag] = vr_of(tag) or vr or found.get(tag, "LO")
    return found


def tags_of(pattern: str) -> list[int]:
    if pattern == "50xxxxxx":
        patterns = ["50002500", "50023000", "501E0005", "50080022", "500C200E", "50400040"]
    else:
        patterns = [pattern.replace("xx", group) for group in ("00", "04", "1E")]
    return [int(text, 16) for text in patterns]


@functools.cache
def unlisted() -> dict[int, str]:
    """Some attributes of each VR that no table names."""
    chosen: dict[str, list[int]] = {}
    for text, vr in dictionary().items():
        if "x" in text or vr == "SQ":
            continue
        tag = int(text, 16)
        special = tag >> 16 in (0, 2, 4, 0x7FE0) or tag == 0x00080005
        if special or tag in listed() or tag in structure() or tag & 0xFFFF == 0:
            continue
        if tag >> 16 > 8 or vr in ("UR", "DT", "PN"):
            chosen.setdefault(vr, []).append(tag)
    return {tag: vr for vr, tags in chosen.items() for tag in tags[:: max(len(tags) // 3, 1)][:4]}


UNKNOWN = {0x00081FEE: "LO", 0x00081FEF: "UI", 0x00301FEE: "DA", 0x00301FEF: "OB"}
UNKNOWN_SEQUENCE = 0x00081FF0
KNOWN_CREATOR = "GEMS_IDEN_01"  # a dictionary has it; Table E.3.10-1 has (0009,xx01) of it


@functools.cache
def safe() -> dict[tuple[int, str], list[tuple[int, str]]]:
    """(group, private creator) -> (low byte, VR) of Table E.3.10-1."""
    found: dict[tuple[int, str], list[tuple[int, str]]] = {}
    for creator, group, low, vr, *_ in rows_of("safe_private_2026d.tsv"):
        found.setdefault((int(group, 16), creator), []).append((int(low, 16), vr[-2:] or "FD"))
    return found


@dataclass
class Private:
    """What the test knows of private elements, by identity of the element."""

    safe: set[int] = field(default_factory=set)
    creators: set[int] = field(default_factory=set)  # known ones, which stay


def data_set(birds: Aviary, private: Private, depth: int, undefined: bool) -> list[E]:
    """Every row, private blocks and what no table names; the same again one level deeper."""
    elements: list[E] = []
    for tag, vr in {**listed(), **unlisted(), **UNKNOWN}.items():
        if depth == 0 and tag >> 16 == 2:
            continue  # file meta information
        if vr == "SQ":
            items = [inside(birds, private, undefined, tag)]
            elements.append(E(tag, vr, items, undefined=undefined))
        else:
            elements.append(birds.element(tag, vr))
    items = [inside(birds, private, undefined, UNKNOWN_SEQUENCE)]
    elements.append(E(UNKNOWN_SEQUENCE, "SQ", items, undefined=undefined))
    elements += blocks(birds, private, depth, undefined)
    if depth < DEPTHS[-1]:
        deeper = data_set(birds, private, depth + 1, undefined)
        elements.append(E(WALKED, "SQ", [Item([]), Item(deeper, undefined)], undefined=undefined))
    return sorted(elements, key=lambda element: element.tag)


def inside(birds: Aviary, private: Private, undefined: bool, sequence: int) -> Item:
    """An item with a listed and an unlisted attribute, a UID, a private block and a sequence."""
    tags = {0x00081155: "UI", 0x00100010: "PN", 0x00104000: "LT", 0x00180015: "CS",
            0x00181063: "DS", 0x00189004: "CS", 0x00280010: "US"}  # fmt: skip
    if sequence == CONTENT:
        tags |= {tag: vr_of(tag) for tag in structure() if tag != 0x00080005}
    elements = [birds.element(tag, vr) for tag, vr in tags.items()]
    code = [birds.element(0x00080100, "SH"), birds.element(0x00180015, "CS")]
    elements.append(E(0x0040A170, "SQ", [Item(code, undefined)], undefined=undefined))
    creator = E(0x00090042, "LO", KNOWN_CREATOR)
    private.creators.add(id(creator))
    unsafe = birds.element(0x000942F7, "LO")
    return Item(sorted([*elements, creator, unsafe], key=lambda element: element.tag), undefined)


def blocks(birds: Aviary, private: Private, depth: int, undefined: bool) -> Iterator[E]:
    """Every row of Table E.3.10-1, in blocks that are others at each depth, and unsafe ones."""
    free: dict[int, int] = {}
    for (group, name), rows in safe().items():
        block = free.setdefault(group, 0x10 + 0x21 * depth)
        free[group] += 1
        creator = E(group << 16 | block, "LO", name)
        private.creators.add(id(creator))
        yield creator
        named = {low for low, _ in rows}
        for low, vr in rows:
            tag = group << 16 | block << 8 | low
            if vr == "SQ":
                element = E(tag, vr, [inside(birds, private, undefined, tag)], undefined=undefined)
            else:
                element = birds.element(tag, vr)
            private.safe.add(id(element))
            yield element
        other = next(low for low in range(255, 0, -1) if low not in named)
        yield birds.element(group << 16 | block << 8 | other, "LO")
    # an unknown creator; the same low byte as a safe one; a block that nobody has reserved
    yield birds.element(0x001900E0, "LO")
    for low, vr in ((0x01, "LO"), (0x02, "OB"), (0x03, "UI"), (0x04, "DA"), (0x05, "PN")):
        yield birds.element(0x0019E000 | low, vr)
    for tag in (0x0019E006, 0x0019E107):
        yield E(tag, "SQ", [inside(birds, private, undefined, tag)], undefined=undefined)
    yield birds.element(0x0019E101, "LO")
    yield birds.element(0x00190001, "LO")


@dataclass
class Leaf:
    element: E
    start: int  # of its value in the inflated file
    parents: tuple[E, ...]

    def __str__(self) -> str:
        path = "/".join(f"{element.tag:08X}" for element in (*self.parents, self.element))
        return f"{path} {self.element.vr} at {self.start}"


@dataclass
class File:
    data: bytes
    plain: bytes  # inflated
    leaves: list[Leaf]
    private: Private
    tail: int
    # id of an element -> what becomes of it, or its new value, where no table tells
    special: dict[int, str | bytes] = field(default_factory=dict)

    @functools.cached_property
    def preamble(self) -> int:
        """Bytes of it: none in a raw data set."""
        return 128 if self.plain[128:132] == b"DICM" else 0

    @functools.cached_property
    def frame(self) -> list[tuple[int, int]]:
        """What lies between the values."""
        spans, at = [], self.preamble
        for leaf in self.leaves:
            spans.append((at, leaf.start))
            assert isinstance(leaf.element.value, bytes | str)
            at = leaf.start + len(value_of(leaf.element))
        return [*spans, (at, self.tail)]


def value_of(element: E) -> bytes:
    value = element.value
    if isinstance(value, str):
        value = value.encode()
        value += (b"\0" if element.vr == "UI" else b" ") * (len(value) % 2)
    assert isinstance(value, bytes)
    return value


def leaves_of(
    elements: Sequence[E | bytes], encoding: str, start: int, parents: tuple[E, ...] = ()
) -> Iterator[Leaf]:
    """Every value with its place, counted from the lengths of what comes before it. A fragment is
    a value of an element of its own."""
    for element in elements:
        assert isinstance(element, E)
        whole = len(encode([element], encoding))
        long = encoding != "implicit-le" and element.vr in LONG_HEADER
        inner = start + (12 if long else 8)
        if isinstance(element.value, Fragments):
            for part in element.value.parts:
                if part:
                    yield Leaf(E(element.tag, element.vr, part), inner + 8, parents)
                inner += 8 + len(part)
        elif isinstance(element.value, list):
            of = "implicit-le" if element.vr == "UN" and element.undefined else encoding
            for item in element.value:
                assert isinstance(item, Item)
                yield from leaves_of(item.elements, of, inner + 8, (*parents, element))
                inner += 8 + len(encode(item.elements, of)) + (8 if item.undefined else 0)
        else:
            yield Leaf(element, inner, parents)
        start += whole


@functools.cache
def file_of(syntax: str, undefined: bool) -> File:
    birds, private = Aviary(), Private()
    encoding = encoding_of(syntax)
    meta: list[E | bytes] = [
        E(0x00020002, "UI", "1.2.840.10008.5.1.4.1.1.4"),
        E(0x00020010, "UI", syntax),
        *(birds.element(tag, vr) for tag, vr in listed().items() if tag >> 16 == 2),
    ]
    meta.sort(key=lambda element: element.tag if isinstance(element, E) else 0)
    elements = [
        *data_set(birds, private, 0, undefined),
        E(0x00080005, "CS", "ISO_IR 100"),
        E(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.4"),
        E(0x7FE00010, "OW", birds.value("OW")),
    ]
    elements.sort(key=lambda element: element.tag)
    preamble = b"".join(birds.value("OB") for _ in range(16))
    tail = b"\2\2" + b"".join(birds.value("LO") for _ in range(8))
    data = part10([*elements, tail], syntax, meta=meta, preamble=preamble)
    head = 132 + 12 + len(encode(meta))
    plain = inflated(data, syntax, head)
    leaves = [
        *leaves_of(meta, "explicit-le", 144),
        *leaves_of(elements, encoding, head),
    ]
    for leaf in leaves:  # the test itself may be wrong
        value = value_of(leaf.element)
        assert plain[leaf.start : leaf.start + len(value)] == value, leaf.element
    return File(data, plain, leaves, private, len(plain) - len(tail))


def inflated(data: bytes, syntax: str, head: int) -> bytes:
    if syntax not in DEFLATED:
        return data
    return data[:head] + zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[head:])


# -- judging ---------------------------------------------------------------------------------


def expected(setting: Setting, file: File, leaf: Leaf, blanked: bool) -> str:
    element = leaf.element
    tag = element.tag
    special = file.special.get(id(element))
    if isinstance(special, str):
        return special
    if tag == 0x7FE00010:
        return STAYS
    if tag >> 16 & 1:
        stays = id(element) in file.private.creators or (
            id(element) in file.private.safe and setting.keeps_private() and not blanked
        )
        return STAYS if stays else GONE
    if blanked:
        if structure().get(tag) == "keep":
            return STAYS
        mapped = element.vr == "UI" and tag >> 16 != 4 and vr_of(tag)
        return MAPPED if mapped else GONE
    return setting.outcome(tag, element.vr)


def is_blanked(setting: Setting, sequence: E) -> bool:
    if sequence.tag >> 16 & 1:  # E.3.10: a private sequence that is not known is parsed
        return not setting.keeps_private()
    return setting.outcome(sequence.tag, "SQ") == BLANKED


class Judge:
    """Looks at one value after another of one file."""

    def __init__(self) -> None:
        self.days: set[int] = set()
        self.uids: dict[bytes, bytes] = {}

    def fault(self, outcome: str, vr: str, old: bytes, new: bytes) -> str | None:
        match outcome:
            case "stays":
                return None if new == old else "does not stay"
            case "mapped" if vr == "UI":
                self.uids[old] = new
                good = re.fullmatch(rb"2\.25\.[0-9.]+\0?", new) and len(new) == len(old)
                return None if good else "not mapped"
            case "shifted" if vr in DATES:
                days = (day_of(new) - day_of(old)).days
                self.days.add(days)
                return None if -3650 <= days < 0 and new[8:] == old[8:] else "not moved"
            case "year" if vr == "DA":
                return None if new == old[:4] + b"0101" else "not the year alone"
            case "midnight" if vr == "TM":
                return None if new.rstrip() == b"000000.000000" else "not midnight"
        if new == old or old.strip(b" \0") in new or any(t.search(new) for t in TOKENS.values()):
            return "left"
        if vr not in TEXT and vr != "UI" and new.strip(b"\0 "):  # another dictionary's VR is a text
            return "not blank"
        return None


def day_of(value: bytes) -> datetime.date:
    return datetime.datetime.strptime(value[:8].decode(), "%Y%m%d").date()


def check(setting: Setting, file: File, syntax: str) -> bytes:
    """Run the file and judge every value of it. Returns the output, inflated."""
    new = setting.veil().bytes(file.data)
    if syntax in DEFLATED:
        head = 144 + int.from_bytes(file.data[140:144], "little")
        new = inflated(new, syntax, head)
    assert len(new) == len(file.plain)
    judge, stay = Judge(), set()
    blanked: dict[int, bool] = {}  # by the identity of `parents`, which all leaves of an item share
    for leaf in file.leaves:
        if id(leaf.parents) not in blanked:
            blanked[id(leaf.parents)] = any(is_blanked(setting, seq) for seq in leaf.parents)
        outcome = expected(setting, file, leaf, blanked[id(leaf.parents)])
        old = value_of(leaf.element)
        now = new[leaf.start : leaf.start + len(old)]
        vr, special = leaf.element.vr, file.special.get(id(leaf.element))
        if isinstance(special, bytes) and outcome == STAYS:
            assert now == special, leaf
            continue
        if special == GONE:  # in whatever VR it stands
            vr = "UT"
        fault = judge.fault(outcome, vr, old, now)
        assert fault is None, f"{leaf}: {outcome}, but {fault}"
        if outcome == STAYS:
            stay |= tokens(old)
    assert len(judge.days) <= 1
    assert len(set(judge.uids.values())) == len(judge.uids)
    assert tokens(new) == stay
    if file.preamble:
        assert new[:8] == b"DCMVEIL\1"
        assert new[56:128] == bytes(72)
    assert new[file.tail :] == bytes(len(new) - file.tail)
    for start, end in file.frame:
        assert new[start:end] == file.plain[start:end]
    return new


def tokens(data: bytes) -> set[bytes]:
    return {token for pattern in TOKENS.values() for token in pattern.findall(data)}


@pytest.mark.parametrize("undefined", [False, True], ids=["defined", "undefined"])
@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_what_stays(setting: Setting, syntax: str, undefined: bool) -> None:
    check(setting, file_of(syntax, undefined), syntax)


@pytest.mark.parametrize("edition", EDITIONS)
def test_what_stays_in_an_older_edition(edition: str) -> None:
    for options in [(), (OPTIONS[1], MODIFIED)]:
        setting = Setting("basic", options, edition)
        check(setting, file_of(EXPLICIT_LE, True), EXPLICIT_LE)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_what_stays_in_a_dicomdir(setting: Setting) -> None:
    birds = Aviary()
    tags = {tag: vr for tag, vr in listed().items() if tag >> 16 == 4 and vr != "SQ"}
    tags |= {0x00041200: "UL", 0x00041212: "US", 0x00041430: "CS", 0x00041510: "UI"}
    names = {0x00041142: "CS", 0x00080018: "UI", 0x00100010: "PN", 0x00180015: "CS"}
    record = [birds.element(tag, vr) for tag, vr in sorted((tags | names).items())]
    items = [Item(record, undefined=True)]
    elements = [birds.element(tag, vr) for tag, vr in tags.items()]
    elements.append(E(0x00041220, "SQ", items))
    elements.sort(key=lambda element: element.tag)
    meta = [E(0x00020002, "UI", "1.2.840.10008.1.3.10"), E(0x00020010, "UI", EXPLICIT_LE)]
    data = part10(elements, meta=meta)
    new = setting.veil().bytes(data)
    judge = Judge()
    leaves = [*leaves_of(elements, "explicit-le", 144 + len(encode(meta)))]
    assert len(leaves) == 2 * len(tags) + len(names)
    for leaf in leaves:
        element, old = leaf.element, value_of(leaf.element)
        outcome = setting.outcome(element.tag, element.vr, directory=True)
        fault = judge.fault(outcome, element.vr, old, new[leaf.start : leaf.start + len(old)])
        assert fault is None, f"{leaf}: {outcome}, but {fault}"
