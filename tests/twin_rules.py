"""Rules, fixed layout and answers for the twin, from the data files and the design."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dcmveil import load_profile
from dcmveil.codestreams import Geometry, blank_fragments
from dcmveil.documents import blank_document
from dcmveil.keyed import RunMark, UidMapper

TABLES = Path(__file__).parents[1] / "src/dcmveil/profile/tables"

TEXT = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM",
                  "UC", "UR", "UT"))  # fmt: skip
LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
VRS = TEXT | LONG | {"AT", "FD", "FL", "SL", "SS", "UI", "UL", "US"}
# in the default repertoire, and of many values: a backslash byte always divides them
DIVIDED = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM"))
# the project's decision for kept attributes
BY_VR = {"PN": "dummy", "UR": "blank", "DA": "dummy", "TM": "dummy", "DT": "dummy"}
WHOLE = 65536  # a longer value is not seen whole


# ---- rules -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    vr: str | None  # None: not in the dictionary
    action: str  # keep, blank, dummy, uid, document or set...:TEXT
    veiled: str  # the same, inside a sequence that goes


class Rules:
    """What the data files say of a tag. `x` in a row stands for any digit; later rows win."""

    def __init__(self) -> None:
        self._exact: dict[tuple[str, int], tuple[int, str]] = {}
        self._wide: list[tuple[str, int, int, tuple[int, str]]] = []
        self._rows = 0
        self.creators: set[bytes] = set()
        self.private: dict[tuple[bytes, int, int], str] = {}  # (creator, group, low byte) -> VR
        # a single group wins over the repeating groups around it
        for line in sorted(lines("dictionary.txt"), key=lambda line: "x" not in line[:4]):
            digits, vr = line.split()
            self._add("vr", digits, vr)
            self._add("action", digits, "keep")
            self._add("veiled", digits, "uid" if vr == "UI" else "dummy")
        words = {"X": "blank", "Z": "blank", "D": "dummy", "U": "uid", "K": "keep"}
        for tag, _name, _keyword, vr, _retired, code, *_options in rows("e1_1_2026d.tsv"):
            if tag != "private":
                if "x" not in tag and self._find("vr", _number(tag)) is None:
                    self._add("vr", tag, vr[-2:])
                    self._add("veiled", tag, "uid" if vr == "UI" else "dummy")
                self._add("action", tag, words[code.split("/")[-1].rstrip("*")])
        for column, file in (("action", "decisions.tsv"), ("veiled", "structure.tsv")):
            for tag, word, _reason in rows(file):
                self._add(column, tag, word)
        for line in lines("private_dictionary.txt"):
            if line.startswith("@"):
                creator = line[1:].encode()
                self.creators.add(creator)
            else:
                group, low, vr = line.split(" ")
                self.private[creator, int(group, 16), int(low, 16)] = vr
        self.rule = cache(self._rule)

    def _add(self, column: str, tag: str, what: str) -> None:
        self._rows += 1
        if "x" in tag:
            mask = int("".join("0" if c == "x" else "F" for c in tag if c not in "(,)"), 16)
            self._wide.append((column, mask, _number(tag), (self._rows, what)))
        else:
            self._exact[column, _number(tag)] = self._rows, what

    def _find(self, column: str, tag: int) -> str | None:
        found = [hit for of, mask, value, hit in self._wide if of == column and tag & mask == value]
        if (column, tag) in self._exact:
            found.append(self._exact[column, tag])
        return max(found)[1] if found else None

    def _rule(self, tag: int) -> Rule:
        """Of a public tag; what no file names is blanked."""
        action, veiled = self._find("action", tag), self._find("veiled", tag)
        return Rule(self._find("vr", tag), action or "blank", veiled or "blank")


def _number(tag: str) -> int:
    return int("".join("0" if c == "x" else c for c in tag if c not in "(,)"), 16)


def lines(name: str) -> list[str]:
    text = (TABLES / name).read_text("utf-8").split("\n")
    return [line for line in text if line and line[0] != "#"]


def rows(name: str) -> list[list[str]]:
    return [line.split("\t") for line in lines(name)[1:]]


@cache
def default_rules() -> Rules:
    return Rules()


# ---- the fixed layout --------------------------------------------------------------------------

DUMMIES = {"DA": b"19000101", "TM": b"000000.000000", "DT": b"19000101000000.000000",
           "AS": b"000Y", "IS": b"0", "DS": b"0"}  # fmt: skip
# PS3.5 table 6.2-1: the lengths at which a value may end
LEGAL = {"DA": (8,), "AS": (4,), "TM": (2, 4, 6, *range(8, 14)),
         "DT": (4, 6, 8, 10, 12, 14, *range(16, 22))}  # fmt: skip


def dummy(vr: str, old: bytes) -> bytes:
    """One value that says nothing, as long as the old one."""
    n = len(old)
    if vr == "DA" and n >= 10 and old[4:8:3] == b"..":
        return b"1900.01.01".ljust(n)  # the form of ACR-NEMA
    word = DUMMIES.get(vr, b"ANON")
    legal = max((k for k in LEGAL.get(vr, range(n + 1)) if k <= n), default=0)
    return word[:legal].ljust(n)


def fixed(action: str, vr: str, old: bytes) -> bytes:
    """The new value field, for the actions that need nothing but the old one's length and form."""
    n = len(old)
    if action.startswith("set"):
        verb, _, text = action.partition(":")
        if vr not in TEXT and vr != "UI":
            return bytes(n)
        if len(text) > n and verb == "set-or-keep":
            return old.partition(b"\0")[0].ljust(n, b"\0")
        if len(text) > n and verb == "set-or-blank":
            text = ""
        return text.encode()[:n].ljust(n, b"\0" if vr == "UI" else b" ")
    if action == "keep":
        start, _, rest = old.partition(b"\0")
        return start.ljust(n, b"\0") if vr in TEXT and any(rest) else old
    if vr not in TEXT or action == "zero":
        return bytes(n)
    if vr == "UR" or (action == "blank" and vr != "AE"):
        return b" " * n
    if vr not in DIVIDED:
        return dummy(vr, old)
    if n <= WHOLE:
        return b"\\".join(dummy(vr, part) for part in old.split(b"\\"))
    return dummy(vr, old) if vr in ("CS", "AE") else b" " * n


# ---- answers -----------------------------------------------------------------------------------


class Answers:
    """What needs a key or a code stream."""

    def __init__(self, key: bytes, profile: str = "basic", root: str = "2.25") -> None:
        registered = frozenset(line.encode() for line in lines("registered_uids.txt"))
        self.uids = UidMapper(key, registered, root)
        self.mark = RunMark(key, load_profile(profile).digest)

    def value(self, action: str, vr: str, old: bytes, second_run: bool) -> bytes:
        if action == "check" or (action == "uid" and second_run):
            return self.uids.keep_value(old)
        if action == "uid":
            return self.uids.map_value(old)
        if action == "document":
            return self.document(old)
        return fixed(action, vr, old)

    def pixels(self, syntax: str, old: bytes, image: dict[int, int]) -> bytes | None:
        sizes, at = [], 0
        while old[at : at + 4] == b"\xfe\xff\x00\xe0":
            sizes.append(int.from_bytes(old[at + 4 : at + 8], "little"))
            at += 8 + sizes[-1]
        get = image.get
        allocated = get(0x100) or 8
        stored = get(0x101) or allocated
        shape = Geometry(get(0x10, 0), get(0x11, 0), get(2) or 1, allocated, stored)
        new = blank_fragments(syntax, shape, get(8) or 1, sizes[1:])
        if new is None:
            return None
        items = [b"\xfe\xff\x00\xe0" + struct.pack("<I", len(piece)) + piece for piece in new]
        starts = {sum(8 + n for n in sizes[1 : 1 + i]) for i in range(len(new))}
        offsets, rest = old[8 : 8 + sizes[0]], sizes[0] % 4
        table = struct.unpack(f"<{sizes[0] // 4}I", offsets[: sizes[0] - rest])
        if rest or not starts.issuperset(table):
            offsets = bytes(sizes[0])
        return b"".join([old[:8], offsets, *items, old[at:]])

    def document(self, old: bytes) -> bytes:
        new, _ = blank_document(old[:512], len(old))
        middle = len(old) - len(new.head) - len(new.tail)
        return new.head + bytes([new.fill]) * middle + new.tail
