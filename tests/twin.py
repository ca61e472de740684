"""A slow, plain twin of the core: the grammar of PS3.5 and the fixed layout, read a second time.

It holds the whole input, recurses where the core keeps a stack, knows nothing of windows, and
reads the data files of the profile by its own means. Where the two differ, one of them is wrong.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from dcmveil import load_profile
from dcmveil.codestreams import Geometry, blank_fragments
from dcmveil.documents import blank_document
from dcmveil.keys import BROKEN, OTHER_PROFILE, OURS, RunMark, UidMapper

TABLES = Path(__file__).parents[1] / "src/dcmveil/profile/tables"
BY_VR = {"PN": "dummy", "UR": "blank"}  # the project's decision for kept attributes
TEXT = frozenset("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT".split())
PLAIN = frozenset("AE AS CS DA DS DT IS TM UC UR".split()) - {"UC", "UR"}
LONG = frozenset("OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # PS3.5 section 7.1.2
VRS = TEXT | LONG | frozenset("AT FD FL SL SS UI UL US".split())

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
CHARACTER_SET, PATIENT_ID, PIXEL_DATA = 0x00080005, 0x00100020, 0x7FE00010
FRAMES, WAVEFORM = 0x00280008, 0x54001010
WATCHED = (0x00020002, 0x00020010, 0x00080016, 0x00080018, 0x00100010, PATIENT_ID)
MEDIA_CLASS, SYNTAX, SOP_CLASS, SOP_INSTANCE, PATIENT_NAME, _ = WATCHED
DICOMDIR = "1.2.840.10008.1.3.10"
VOICES = ("1.2.840.10008.5.1.4.1.1.9.4.1", "1.2.840.10008.5.1.4.1.1.9.4.2")
NOWHERE = 1 << 64

# limits, as the core names them
DEPTH, TRIAL_LEVELS, BLOCKS = 128, 64, 4096
WHOLE, UID_LIMIT, FORM, CREATOR = 65536, 1 << 20, 65536, 128
TRIAL, ICON = 4 << 20, 1 << 20


class Refused(Exception):
    """`fault` is a name of the core's Fault list, or MARK, DEFLATE, ICON or SYNTAX."""

    def __init__(self, fault: str, offset: int | None) -> None:
        super().__init__(f"{fault} at {offset}")
        self.fault, self.offset = fault, offset


# ---- rules -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    vr: str | None
    action: str  # keep, blank, dummy, uid, document or set...:TEXT
    veiled: str  # the same, inside a sequence that goes


class Rules:
    """What the data files say of a tag. `x` in a row stands for any digit, later rows win."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[int, tuple[int, str]]] = {"vr": {}, "action": {}, "veiled": {}}
        self._wide: list[tuple[str, int, int, int, str]] = []
        self._rows = 0
        self.creators: set[bytes] = set()
        self.private: dict[tuple[bytes, int, int], str] = {}
        dictionary = [line.split() for line in _lines("dictionary.txt")]
        # a single group is told apart from the repeating groups around it
        for digits, vr in sorted(dictionary, key=lambda row: "x" not in row[0][:4]):
            self._add("vr", digits, vr)
            self._add("action", digits, "keep")
            self._add("veiled", digits, "uid" if vr == "UI" else "dummy")
        for cells in _rows("e1_1_2026d.tsv"):
            if cells[0] != "private":
                digits = cells[0][1:5] + cells[0][6:10]
                if "x" not in digits and self.vr(int(digits, 16)) is None:
                    self._add("vr", digits, cells[3][-2:])
                letter = cells[5].split("/")[-1].rstrip("*")
                words = {"X": "blank", "Z": "blank", "D": "dummy", "U": "uid", "K": "keep"}
                self._add("action", digits, words[letter])
        for column, file in (("action", "decisions.tsv"), ("veiled", "structure.tsv")):
            for tag, word, _reason in _rows(file):
                self._add(column, tag[1:5] + tag[6:10], word)
        for line in _lines("private_dictionary.txt"):
            if line.startswith("@"):
                creator = line[1:].encode()
                self.creators.add(creator)
            else:
                group, low, vr = line.split(" ")
                self.private[creator, int(group, 16), int(low, 16)] = vr

    def _add(self, column: str, digits: str, what: str) -> None:
        self._rows += 1
        value = int(digits.replace("x", "0"), 16)
        if "x" not in digits:
            self._exact[column][value] = self._rows, what
            return
        mask = int("".join("0" if digit == "x" else "F" for digit in digits), 16)
        self._wide.append((column, mask, value, self._rows, what))

    def _find(self, column: str, tag: int) -> str | None:
        found = [self._exact[column].get(tag, (0, None))]
        found += [row[3:] for row in self._wide if row[0] == column and tag & row[1] == row[2]]
        return max(found, key=lambda hit: hit[0])[1]

    def vr(self, tag: int) -> str | None:
        return self._find("vr", tag)

    def rule(self, tag: int) -> Rule:
        """Of a public tag; what no file names is blanked."""
        action, veiled = self._find("action", tag), self._find("veiled", tag)
        return Rule(self.vr(tag), action or "blank", veiled or "blank")


def _lines(name: str) -> list[str]:
    lines = (TABLES / name).read_text("utf-8").split("\n")
    return [line for line in lines if line and line[0] != "#"]


def _rows(name: str) -> list[list[str]]:
    return [line.split("\t") for line in _lines(name)[1:]]


@cache
def default_rules() -> Rules:
    return Rules()


# ---- answers -----------------------------------------------------------------------------------


class Answers:
    """What needs a key or a code stream."""

    def __init__(self, key: bytes, profile: str = "basic", root: str = "2.25") -> None:
        registered = frozenset(line.encode() for line in _lines("registered_uids.txt"))
        self.uids = UidMapper(key, registered, root)
        self.mark = RunMark(key, load_profile(profile).digest)

    def pixels(self, syntax: str, old: bytes, image: dict[int, int]) -> bytes | None:
        sizes, at = [], 0
        while old[at : at + 4] == b"\xfe\xff\x00\xe0":
            sizes.append(int.from_bytes(old[at + 4 : at + 8], "little"))
            at += 8 + sizes[-1]
        stored, allocated = image.get(0x0101, 0), image.get(0x0100, 0)
        shape = Geometry(image.get(0x0010, 0), image.get(0x0011, 0), image.get(0x0002, 0) or 1,
                         allocated or 8, stored or allocated or 8)  # fmt: skip
        new = blank_fragments(syntax, shape, image.get(0x0008, 0) or 1, sizes[1:])
        if new is None:
            return None
        table = old[: 8 + sizes[0]]
        items = [b"\xfe\xff\x00\xe0" + struct.pack("<I", len(piece)) + piece for piece in new]
        return b"".join([table, *items, old[at:]])


# ---- the fixed layout --------------------------------------------------------------------------

DUMMIES = {
    "DA": b"19000101", "TM": b"000000.000000", "DT": b"19000101000000.000000", "AS": b"000Y",
    "IS": b"0", "DS": b"0",
}  # fmt: skip
# PS3.5 table 6.2-1: the lengths at which a dummy may be cut
LEGAL = {
    "DA": (8,), "AS": (4,), "TM": (2, 4, 6, *range(8, 14)),
    "DT": (4, 6, 8, 10, 12, 14, *range(16, 22)),
}  # fmt: skip


def dummy(vr: str, old: bytes) -> bytes:
    """One value that says nothing, as long as the old one."""
    n = len(old)
    word = DUMMIES.get(vr, b"ANON")
    if vr == "DA" and re.match(rb"....\...\...", old, re.DOTALL):
        return b"1900.01.01".ljust(n)
    n_word = max((k for k in LEGAL.get(vr, range(n + 1)) if k <= n), default=0)
    return word[:n_word].ljust(n)


def fixed(action: str, vr: str, old: bytes) -> bytes:
    """The new value field for an action that needs no key."""
    n = len(old)
    spaces = b" " * n
    if action.startswith("set"):
        verb, _, text = action.partition(":")
        if vr not in TEXT and vr != "UI":
            return bytes(n)
        if len(text) > n and verb == "set-or-keep":
            return old
        if len(text) > n and verb == "set-or-blank":
            text = ""
        return text.encode()[:n].ljust(n, b"\0" if vr == "UI" else b" ")
    if vr not in TEXT or action == "zero":
        return bytes(n)
    if vr == "UR" or (action == "blank" and vr != "AE"):
        return spaces
    if vr not in PLAIN:
        return dummy(vr, old)
    if n <= WHOLE:
        return b"\\".join(dummy(vr, part) for part in old.split(b"\\"))
    return dummy(vr, old) if vr in ("CS", "AE") else spaces


# ---- the grammar -------------------------------------------------------------------------------


@dataclass
class Place:
    """A data set, and what holds in it."""

    implicit: bool
    big: bool
    end: int = NOWHERE  # nothing in here may pass this offset
    undefined: bool = False
    veiled: bool = False
    either: bool = False  # in a UN, where an item may be explicit or implicit
    depth: int = 0  # sequences around it
    last: int = -1  # the greatest tag so far
    creators: dict[tuple[int, int], bytes] = field(default_factory=dict)
    image: dict[int, int] = field(default_factory=dict)


@dataclass
class Element:
    at: int
    tag: int
    vr: str | None  # as encoded
    length: int
    value: int  # offset
    known: str | None = None  # as the dictionary has it
    means: str = "UN"
    action: str = "zero"
    veils: bool = True


class Twin:
    def __init__(self, data: bytes, rules: Rules, answers: Answers) -> None:
        self.data, self.rules, self.answers = data, rules, answers
        self.out = bytearray(data)
        self.rule = cache(rules.rule)
        self.syntax = ""
        self.packed_at = 0  # where a deflated data set begins
        self.marked = self.directory = self.begun = self.second_run = self.past_pixels = False
        self.barrier = PATIENT_ID
        self.blocks = 0
        self.seen: dict[int, slice] = {}
        self.edits: list[Callable[[], None]] = []

    # -- the file --------------------------------------------------------------------------------

    def file(self) -> bytes:
        if not self.data:
            raise Refused("EMPTY_INPUT", 0)
        if self.data[128:132] == b"DICM":
            self.marked = True
            self.out[:128] = bytes(128)
            self.after_meta(self.meta(132, Place(False, False)))
        else:
            found = self.sniff(0) if len(self.data) >= 8 else None
            if found is None:
                raise Refused("NOT_DICOM", 0)
            group = self.number(0, 2)
            if group == 2:
                self.after_meta(self.meta(0, Place(*found)))
            elif group == 0:
                self.command(0, Place(*found))
            else:
                self.main(0, Place(*found))
        self.begin()
        if not self.packed_at:
            return bytes(self.out)
        squeeze = zlib.compressobj(wbits=-15)
        packed = squeeze.compress(self.out[self.packed_at :]) + squeeze.flush()
        return bytes(self.out[: self.packed_at]) + packed + bytes(len(packed) % 2)

    def meta(self, at: int, place: Place) -> int:
        place.veiled = False
        first = True
        while True:
            if at == len(self.data):
                raise Refused("NO_DATA_SET", at)
            self.need(at, 8)
            tag = self.tag(at, place.big)
            if tag >> 16 != 2:
                return at
            if first:
                self.sniff_item(at, place)
            first = False
            at = self.element(at, place)

    def after_meta(self, at: int) -> None:
        self.syntax = self.text(SYNTAX)
        self.directory = self.text(MEDIA_CLASS) == DICOMDIR
        if self.directory:
            self.barrier = 0x00041200  # no Patient ID stands at its top level
        kind = dict(_rows("transfer_syntaxes.tsv")).get(self.syntax)
        if kind == "not-a-data-set":
            raise Refused("SYNTAX", None)
        if kind == "deflated":
            self.packed_at = at
            stream = zlib.decompressobj(-15)
            try:
                self.data = self.data[:at] + stream.decompress(self.data[at:])
            except zlib.error:
                raise Refused("DEFLATE", None) from None
            if not stream.eof:
                raise Refused("DEFLATE", None)
            self.out[at:] = self.data[at:]
        told = {"implicit-le": (True, False), "explicit-be": (False, True)}.get(kind or "")
        self.start(at, told or (False, False), proved=kind is None)

    def start(self, at: int, told: tuple[bool, bool], proved: bool) -> None:
        """The first header: `told` may be wrong, and where the bytes are plain they win."""
        if at == len(self.data):
            raise Refused("NO_DATA_SET", at)
        self.need(at, 8)
        if self.data[at : at + 8] == b"\0\0\0\0\4\0\0\0":
            self.command(at, Place(True, False))
            return
        found = self.sniff(at)
        vr = self.data[at + 4 : at + 6]
        if proved:
            if self.syntax and found != (False, False):
                raise Refused("NOT_EXPLICIT", at)
            if found is None:
                raise Refused("NOT_DICOM", at)
            told = found
        elif found is not None and found[1] != told[1]:
            raise Refused("BYTE_ORDER", at)
        elif told[0] and vr.decode("latin-1") in VRS:
            told = False, told[1]
        elif not _letters(vr):
            told = True, told[1]
        self.main(at, Place(*told))

    def command(self, at: int, place: Place) -> None:
        """Group 0000 before a data set, as on the network (PS3.7 section 6.3)."""
        while len(self.data) - at >= 8:
            if self.tag(at, place.big) >> 16:
                self.syntax, syntax = "", self.syntax
                self.start(at, (False, False), proved=True)
                self.syntax = syntax
                return
            at = self.element(at, place)
        self.tail(at, cut=True)

    def main(self, at: int, place: Place) -> None:
        """The data set at the top, and what may come after its last element."""
        while len(self.data) - at >= 8:
            if not any(self.data[at : at + 8]):
                return self.tail(at)
            tag = self.tag(at, place.big)
            empty = self.number(at + 4, 4) == 0
            if self.past_pixels and not self.header(at, tag, place):
                if not (tag >> 16 == 0xFFFE and empty):
                    return self.tail(at)
            if tag > self.barrier:
                self.begin()
            if tag in (ITEM_END, SEQUENCE_END) and empty:
                at += 8
            elif tag >> 16 == 0xFFFE:
                raise Refused("BAD_DELIMITER", at)
            else:
                at = self.element(at, place)
        return self.tail(at, cut=True)

    def header(self, at: int, tag: int, place: Place) -> bool:
        """Whether it may be one, where after pixel data anything else may stand."""
        if place.implicit:
            return tag >> 16 & 1 == 1 or self.rules.vr(tag) is not None
        return self.data[at + 4 : at + 6].decode("latin-1") in VRS

    def tail(self, at: int, cut: bool = False) -> None:
        rest = self.data[at:]
        if cut and any(rest) and (not self.past_pixels or rest[0] in b"\xfa\xfc\xff"):
            raise Refused("TRUNCATED", len(self.data))
        if any(rest) and not self.past_pixels:
            first = next(i for i, byte in enumerate(rest) if byte)
            raise Refused("BAD_TAIL", at + first)
        self.do(lambda: self.put(at, bytes(len(rest))))

    def begin(self) -> None:
        """All that the answers depend on is known: this stands where a stream lets go."""
        if self.begun:
            return
        self.begun = True
        watched = (SOP_INSTANCE, PATIENT_ID, PATIENT_NAME)
        if self.marked:
            old = [self.data[self.seen.get(tag, slice(0))] for tag in watched]
            state = self.answers.mark.check(self.data[:128], *old)
            if state in (OTHER_PROFILE, BROKEN):
                raise Refused("MARK", 0)
            self.second_run = state == OURS
        for edit in self.edits:
            edit()
        if self.marked:
            new = [bytes(self.out[self.seen.get(tag, slice(0))]) for tag in watched]
            self.put(0, self.answers.mark.make(*new))

    # -- data elements ---------------------------------------------------------------------------

    def data_set(self, at: int, place: Place) -> int:
        """The elements of an item, to its end or behind its delimiter."""
        blocks, fresh = self.blocks, True
        while at < place.end:
            self.room(at, 8, place.end)
            tag, length = self.tag(at, place.big), self.number(at + 4, 4, place.big)
            if tag == ITEM_END and length == 0 and place.undefined:
                at += 8
                break
            if tag == ITEM_END and length == 0 and at + 8 == place.end:
                at += 8
                continue
            if place.undefined and (tag == ITEM or (tag == SEQUENCE_END and length == 0)):
                break  # its delimiter is missing
            if tag >> 16 == 0xFFFE:
                raise Refused("BAD_DELIMITER", at)
            if fresh:
                self.sniff_item(at, place)
            fresh = False
            at = self.element(at, place)
        self.blocks = blocks
        return at

    def element(self, at: int, place: Place) -> int:
        tag = self.tag(at, place.big)
        if place.implicit:
            return self.body(Element(at, tag, None, self.number(at + 4, 4, place.big), at + 8), place)
        vr = self.data[at + 4 : at + 6].decode("latin-1")
        if vr not in VRS:
            return self.strange(Element(at, tag, None, 0, 0), place)
        if vr in LONG:
            self.need(at, 12)
            e = Element(at, tag, vr, self.number(at + 8, 4, place.big), at + 12)
        else:
            e = Element(at, tag, vr, self.number(at + 6, 2, place.big), at + 8)
        return self.body(e, place)

    def strange(self, e: Element, place: Place) -> int:
        """No VR of the 34: taken where exactly one form of the header leads to a next one."""
        forms = [(e.at + 8, self.number(e.at + 6, 2, place.big))]
        if len(self.data) - e.at >= 12:
            forms.append((e.at + 12, self.number(e.at + 8, 4, place.big)))
        implicit = e.at + 8, self.number(e.at + 4, 4, place.big)
        if not _letters(self.data[e.at + 4 : e.at + 6]):
            forms.append(implicit)
        right = [
            (number, value, length) for number, (value, length) in enumerate(forms)
            if length <= FORM and value + length <= min(place.end, len(self.data))
            and (value + length in (place.end, len(self.data))
                 or self.follows(value + length, e.tag, place))
        ]  # fmt: skip
        if len(right) != 1:
            raise Refused("UNKNOWN_FORM", e.at)
        number, e.value, e.length = right[0]
        if number and (e.value, e.length) == implicit:
            return self.body(e, place)
        return self.leaf(e, place)

    def follows(self, at: int, after: int, place: Place) -> bool:
        if len(self.data) - at < 8:
            return False
        tag = self.tag(at, place.big)
        if tag in (ITEM, ITEM_END, SEQUENCE_END):
            return True
        known = tag >> 16 & 1 or tag & 0xFFFF == 0 or self.rules.vr(tag) is not None
        return bool(tag > after and known and self.data[at + 4 : at + 6].decode("latin-1") in VRS)

    def decide(self, e: Element, place: Place) -> None:
        group, element = e.tag >> 16, e.tag & 0xFFFF
        if group & 1:
            creator = place.creators.get((group, element >> 8), b"")
            vr = self.rules.private.get((creator, group, element & 0xFF))
            rule, listed = Rule(vr, "blank", "blank"), True
        else:
            rule = self.rule(e.tag)
            listed = rule.vr is not None
        e.known, e.action = rule.vr, rule.veiled if place.veiled else rule.action
        if element == 0 and not group & 1:
            e.known = "UL"
            e.action = "keep" if e.length == 4 and e.vr in (None, "UL") else "blank"
        elif group == 4 and not self.directory:
            e.action = "blank"
        elif e.tag == WAVEFORM and self.text(SOP_CLASS) in VOICES:
            e.action = "blank"
        e.means = (e.known if e.vr in (None, "UN") else e.vr) or "UN"
        if e.action == "keep":
            e.action = BY_VR.get(e.means) or BY_VR.get(e.known or "") or "keep"
            if e.known == "SQ" and e.means != "SQ":
                e.action = "blank"
        # in a tag that the dictionary does not have, the items are decided one by one
        e.veils = place.veiled or (listed and e.action not in ("keep", "uid"))

    def body(self, e: Element, place: Place) -> int:
        undefined = e.length == UNDEFINED
        if e.value + (0 if undefined else e.length) > place.end:
            raise Refused("OVERRUN", e.at)
        self.decide(e, place)
        private = e.tag >> 16 & 1
        if e.vr == "SQ" or (e.vr is None and e.known == "SQ" and not private):
            return self.sequence(e, place, place.implicit, place.big)
        if undefined:
            if e.means in ("OB", "OW"):
                return self.fragments(e, place)
            if e.vr != "UN" and (e.vr or not (private or e.known is None)):
                raise Refused("BAD_UNDEFINED", e.at)
            self.need(e.value, 4)
            return self.sequence(e, place, True, self.tag(e.value, True) == ITEM, either=True)
        if e.means in ("UN", "SQ") and e.vr in (None, "UN") and e.length:
            return self.perhaps_items(e, place)
        return self.leaf(e, place)

    def leaf(self, e: Element, place: Place) -> int:
        action, n, tag = e.action, e.length, e.tag
        if e.means == "UI":
            action = {"keep": "check", "dummy": "uid"}.get(action, action)
            if action in ("uid", "check") and n > UID_LIMIT:
                raise Refused("TOO_LONG", e.at)
        elif action == "uid":
            action = "blank"
        if action == "document" and (n == 0 or e.means in TEXT):
            action = "dummy"
        self.need(e.value, n)
        self.in_order(e, place)
        if _is_block(tag) and n <= CREATOR and action != "zero":
            if e.vr in (None, "UN") or e.vr in TEXT:
                action, e.means = self.reserve(e, place), "LO"
        if place.depth == 0 and tag in WATCHED and not self.begun:
            self.seen.setdefault(tag, slice(e.value, e.value + n))
        value = self.data[e.value : e.value + n]
        if place.veiled and tag >> 16 == 0x28:
            if tag == FRAMES:
                digits = b"".join(re.findall(rb"\d", value)) if n <= 16 else b""
                place.image[8] = int(digits or b"0")
            elif n == 2 and e.means == "US":
                place.image[tag & 0xFFFF] = self.number(e.value, 2, place.big)
        if n:
            self.do(lambda: self.put(e.value, self.new_value(action, e.means, value)))
        if place.depth == 0 and PIXEL_DATA - 8 <= tag <= PIXEL_DATA:
            self.past_pixels = True
        return e.value + n

    def new_value(self, action: str, vr: str, old: bytes) -> bytes:
        if action == "keep":
            if vr not in TEXT:
                return old
            return old.partition(b"\0")[0].ljust(len(old), b"\0") if _hides(old) else old
        if action == "check" or (action == "uid" and self.second_run):
            return self.answers.uids.keep_value(old)
        if action == "uid":
            return self.answers.uids.map_value(old)
        if action == "document":
            made, _ = blank_document(old[:512], len(old))
            middle = len(old) - len(made.head) - len(made.tail)
            return made.head + bytes([made.fill]) * middle + made.tail
        return fixed(action, vr, old)

    def reserve(self, e: Element, place: Place) -> str:
        """A private creator (PS3.5 section 7.8.1) stays where it is a known one."""
        name = self.data[e.value : e.value + e.length].rstrip(b" \0").lstrip(b" ")
        if self.blocks == BLOCKS:
            raise Refused("TOO_MANY_BLOCKS", e.at)
        self.blocks += 1
        place.creators[e.tag >> 16, e.tag & 0xFF] = name
        return "keep" if name in self.rules.creators else "blank"

    def in_order(self, e: Element, place: Place) -> None:
        """What other values depend on stands once and in its place."""
        top_id = e.tag == PATIENT_ID and place.depth == 0
        late = top_id and place.last > self.barrier
        again = e.tag <= place.last and (e.tag == CHARACTER_SET or top_id or _is_block(e.tag))
        if late or again:
            raise Refused("MISPLACED", e.at)
        place.last = max(place.last, e.tag)

    # -- sequences and fragments -----------------------------------------------------------------

    def sequence(
        self, e: Element, outer: Place, implicit: bool, big: bool, either: bool = False
    ) -> int:
        self.in_order(e, outer)
        if outer.depth == DEPTH:
            raise Refused("TOO_DEEP", e.value)
        undefined = e.length == UNDEFINED
        at, end = e.value, outer.end if undefined else e.value + e.length
        while at < end:
            self.room(at, 8, end)
            tag, length = self.tag(at, big), self.number(at + 4, 4, big)
            if tag == ITEM:
                stop = end if length == UNDEFINED else at + 8 + length
                if stop > end:
                    raise Refused("OVERRUN", at)
                inner = Place(implicit, big, stop, length == UNDEFINED, e.veils, either)
                inner.depth = outer.depth + 1
                at = self.data_set(at + 8, inner)
            elif tag == SEQUENCE_END and length == 0 and undefined:
                return at + 8
            elif tag in (SEQUENCE_END, ITEM_END) and length == 0:
                at += 8
            else:
                raise Refused("EXPECTED_ITEM", at)
        return at

    def perhaps_items(self, e: Element, place: Place) -> int:
        """A value that may be a sequence although its VR does not say so."""
        stop = e.value + e.length
        if e.length >= 8:
            self.need(e.value, 4)
            orders = [big for big in (False, True) if self.tag(e.value, big) == ITEM]
            if orders and e.length > TRIAL:
                return self.sequence(e, place, True, orders[0], either=True)
            if orders:
                self.need(e.value, e.length)
                outer = (place.implicit, place.big)
                for implicit, big in [(True, False), (False, False)] + [outer] * place.big:
                    if self.items(e.value, stop, False, implicit, big, 0) == stop:
                        return self.sequence(e, place, implicit, big)
        if e.known == "SQ":
            raise Refused("NOT_ITEMS", e.at)
        return self.leaf(e, place)

    def items(self, at: int, end: int, undefined: bool, implicit: bool, big: bool, level: int) -> int:
        """Where the items end that begin here, -1 where they do not hold together."""
        while at >= 0 and (at < end or undefined):
            if end - at < 8:
                return -1
            tag, length = self.tag(at, big), self.number(at + 4, 4, big)
            if tag == SEQUENCE_END and length == 0 and undefined:
                return at + 8
            stop = end if length == UNDEFINED else at + 8 + length
            if tag != ITEM or stop > end or level == TRIAL_LEVELS:
                return -1
            at = self.elements(at + 8, stop, length == UNDEFINED, implicit, big, level)
        return at

    def elements(
        self, at: int, end: int, undefined: bool, implicit: bool, big: bool, level: int
    ) -> int:
        while at >= 0 and (at < end or undefined):
            if end - at < 8:
                return -1
            tag, length = self.tag(at, big), self.number(at + 4, 4, big)
            if tag == ITEM_END and length == 0 and undefined:
                return at + 8
            vr = self.data[at + 4 : at + 6].decode("latin-1")
            if tag in (ITEM, ITEM_END, SEQUENCE_END) or not (implicit or vr in VRS):
                return -1
            value = at + 8
            if not implicit and vr in LONG:
                if len(self.data) - at < 12:
                    return -1
                length, value = self.number(at + 8, 4, big), at + 12
            elif not implicit:
                length = self.number(at + 6, 2, big)
            if length == UNDEFINED:
                at = self.items(value, end, True, implicit, big, level + 1)
            elif value + length > end:
                return -1
            else:
                at = value + length
        return at

    def fragments(self, e: Element, place: Place) -> int:
        """Encapsulated pixel data (PS3.5 section A.4)."""
        icon = e.tag == PIXEL_DATA and place.veiled
        if not icon:
            self.in_order(e, place)
            if place.depth == DEPTH:
                raise Refused("TOO_DEEP", e.value)
        at, end = e.value, NOWHERE if icon else place.end
        while True:
            if icon and at - e.value > ICON:
                raise Refused("ICON_TOO_LONG", e.at)
            if not icon and at == end:
                break  # the delimiter is missing
            self.room(at, 8, end)
            tag, length = self.tag(at, place.big), self.number(at + 4, 4, place.big)
            at += 8
            if tag == SEQUENCE_END and length == 0:
                break
            if tag != ITEM or length == UNDEFINED:
                raise Refused("BAD_FRAGMENT", at - 8)
            if at + length > end:
                raise Refused("OVERRUN", at - 8)
            if not icon:
                self.need(at, length)
                if e.action != "keep":
                    self.do(lambda at=at, length=length: self.put(at, bytes(length)))
            at += length
        if icon:
            if at > place.end:
                raise Refused("OVERRUN", e.at)
            self.in_order(e, place)
            self.do(lambda: self.icon(e, slice(e.value, at), place.image))
        elif place.depth == 0 and e.tag == PIXEL_DATA:
            self.past_pixels = True
        return at

    def icon(self, e: Element, value: slice, image: dict[int, int]) -> None:
        new = self.answers.pixels(self.syntax, self.data[value], image)
        if new is None:
            raise Refused("ICON", e.at)
        self.put(e.value, new)

    # -- encodings -------------------------------------------------------------------------------

    def sniff(self, at: int) -> tuple[bool, bool] | None:
        """(implicit, big endian) as the first header of a data set tells, if it does."""
        tag, vr = self.tag(at, False), self.data[at + 4 : at + 6].decode("latin-1")
        for big in (False, True):
            first = self.tag(at, big)
            length = first & 0x1FFFF == 0 and vr == "UL" and self.number(at + 6, 2, big) == 4
            if vr in VRS and (length or self.rules.vr(first)):
                return False, big
        length = self.number(at + 4, 4)
        if tag & 0x1FFFF == 0 and tag >> 16 <= 0x7FE0:
            return (True, False) if length == 4 else None
        known = self.rules.vr(tag)
        return (True, False) if known and (known == "SQ" or length < 0x10000) else None

    def sniff_item(self, at: int, place: Place) -> None:
        """The first header of an item may not be in the encoding around it (PS3.5 6.2.2)."""
        vr = self.data[at + 4 : at + 6]
        if place.either:
            place.implicit = vr.decode("latin-1") not in VRS
        elif not _letters(vr):
            place.implicit = True

    # -- bytes -----------------------------------------------------------------------------------

    def number(self, at: int, n: int, big: bool = False) -> int:
        return int.from_bytes(self.data[at : at + n], "big" if big else "little")

    def tag(self, at: int, big: bool) -> int:
        return self.number(at, 2, big) << 16 | self.number(at + 2, 2, big)

    def need(self, at: int, n: int) -> None:
        if at + n > len(self.data):
            raise Refused("TRUNCATED", len(self.data))

    def room(self, at: int, n: int, end: int) -> None:
        if at + n > end:
            raise Refused("OVERRUN", at)
        self.need(at, n)

    def text(self, tag: int) -> str:
        value = self.data[self.seen.get(tag, slice(0))]
        return value.partition(b"\0")[0].strip().decode("latin-1")

    def do(self, edit: Callable[[], None]) -> None:
        if self.begun:
            edit()
        else:
            self.edits.append(edit)

    def put(self, at: int, new: bytes) -> None:
        self.out[at : at + len(new)] = new


def _letters(vr: bytes) -> bool:
    return vr.isalpha() and vr.isupper()


def _is_block(tag: int) -> bool:
    return bool(tag >> 16 & 1) and 0x10 <= tag & 0xFFFF <= 0xFF


def _hides(text: bytes) -> bool:
    """Whether anything stands after a NUL, where some readers show it and some do not."""
    return any(text.partition(b"\0")[2])


def rewrite(data: bytes, rules: Rules, answers: Answers) -> bytes:
    """What dcmveil makes of the input. Raises Refused."""
    return Twin(data, rules, answers).file()
