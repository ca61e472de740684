"""The pydicom oracle: does one file stand to another as the Basic Profile, fixed layout, asks?

It shares no code with the product. pydicom parses both files; its raw elements are compared as
bytes, never as converted values. `compare` judges, `leaks` and `echoes` look for what is left.
"""

from __future__ import annotations

import functools
import re
import struct
import zlib
from bisect import bisect_right
from collections.abc import Sequence

from pydicom._uid_dict import UID_dictionary
from pydicom.errors import InvalidDicomError

from oracle_parse import Node, Parsed, parse
from oracle_rules import TEXT, VRS, Rules, default_rules, is_known, is_private

# The words that a dummy may be: one of them, or its beginning where the value is short.
WORDS = ("ANON", "ANONYMOUS", "ANONYMIZED", "ANONYMISED", "DEIDENTIFIED", "REMOVED", "ANON" * 8)
MIME_STARTS = (b"%PDF-", b"<", b"solid ", b"\xef\xbb\xbf<")  # minimal encapsulated documents

REGISTERED = frozenset(uid.encode() for uid in UID_dictionary)
CONTEXT_GROUP = re.compile(rb"1\.2\.840\.10008\.6\.1\.[0-9]{1,4}")  # registered, not in pydicom
# All that pydicom raises when it gives a file up.
READ_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, EOFError, InvalidDicomError, LookupError,
    NotImplementedError, OSError, RecursionError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip

UID = re.compile(rb"2\.25(\.(0|[1-9][0-9]*))+")
OLD_UID = re.compile(rb"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
TIME_DUMMY = re.compile(r"00(00(00(\.0{1,6})?)?)?|00:00(:00(\.0{1,6})?)?")
DATETIME_DUMMY = re.compile(r"1900(01(01(00(00(00(\.0{1,6})?)?)?)?)?)?")


# -- judging -----------------------------------------------------------------------------------


def compare(
    before: bytes,
    after: bytes,
    *,
    structure: frozenset[int] | None = None,
    uids: dict[bytes, bytes] | None = None,
    rules: Rules | None = None,
) -> list[str]:
    """What is wrong with `after` as the rewriting of `before`; empty if nothing.

    structure: tags that may stay inside a sequence that is removed (default: structure.tsv).
    uids: the UID map so far; give one dict to many calls to check the map between files.
    """
    try:
        old = parse(before)
    except READ_ERRORS as error:
        return [f"pydicom cannot read the input: {type(error).__name__}"]
    try:
        new = parse(after)
    except READ_ERRORS as error:
        return [f"pydicom cannot read the output: {type(error).__name__}"]
    if len(old.data) != len(new.data):
        return [f"length changed from {len(old.data)} to {len(new.data)}"]
    findings = _tree_findings(old, new) or _frame_findings(old, new)
    judge = Judge(rules or default_rules(), structure, {} if uids is None else uids)
    for node in old.leaves:
        value = new.data[node.offset : node.offset + len(node.value)]
        if fault := judge.fault(node, value):
            findings.append(f"{node.path} {node.vr} at {node.offset}: {fault}: {_short(value)}")
    return findings


def _tree_findings(old: Parsed, new: Parsed) -> list[str]:
    shapes = [node.shape for node in old.nodes], [node.shape for node in new.nodes]
    for a, b in zip(*shapes, strict=False):
        if a != b:
            return [f"the tree differs: {a} became {b}"]
    if len(shapes[0]) != len(shapes[1]):
        return [f"the tree differs: {len(shapes[0])} elements became {len(shapes[1])}"]
    return []


def _frame_findings(old: Parsed, new: Parsed) -> list[str]:
    """The bytes that belong to no value: preamble, headers, item tags, delimiters, tail."""
    findings = []
    at = 0
    if old.data[128:132] == b"DICM":
        at = 128
        for i in range(0, 128, 4):
            left = old.data[i : i + 4]
            if any(left) and left == new.data[i : i + 4]:
                findings.append(f"preamble left at {i}: {_short(left)}")
                break
    for node in sorted(old.leaves, key=lambda n: n.offset):
        if old.data[at : node.offset] != new.data[at : node.offset]:
            findings.append(f"bytes outside every value changed in {at}..{node.offset}")
        at = max(at, node.offset + len(node.value))
    if old.data[at : old.tail] != new.data[at : old.tail]:
        findings.append(f"bytes outside every value changed in {at}..{old.tail}")
    tail = new.data[old.tail :]
    if tail.strip(b"\0") and tail.strip(b" "):
        findings.append(f"{len(tail)} bytes after the last element at {old.tail}: {_short(tail)}")
    if new.unused.strip(b"\0") and not _is_gzip_end(new):
        findings.append(f"{len(new.unused)} bytes after the deflate stream")
    return findings


def _is_gzip_end(new: Parsed) -> bool:
    """The checksum and length that some writers let follow, right for the new bytes."""
    crc, size = struct.unpack("<2I", new.unused[:8].ljust(8, b"\0"))
    body = new.data[-size:] if size else b""
    return zlib.crc32(body) == crc and not new.unused[8:].strip(b"\0")


class Judge:
    """Judges one leaf after another of one file."""

    def __init__(
        self, rules: Rules, structure: frozenset[int] | None, uids: dict[bytes, bytes]
    ) -> None:
        self.rules = rules
        self.structure = rules.structure if structure is None else structure
        self.uids = uids
        self.olds = {new: old for old, new in uids.items()}

    def fault(self, node: Node, new: bytes) -> str | None:
        """Why this value should not stand there; None if it may."""
        tag, old = node.tag, node.value
        if not old:
            return None
        if node.is_pixels:
            return None if new == old else "pixel data changed"
        if is_private(tag):
            return self._private_fault(node, new)
        if any(self._drops(parent) for parent in node.parents):
            return self._dropped_fault(node, new)
        action = self.rules.action(tag)
        if action == "U":
            return self._uid_fault(old, new)
        if action in ("X", "Z"):
            return self._blank_fault(node, new)
        if action == "D":
            return self._dummy_fault(node, new)
        if action.startswith("set"):
            return _set_fault(action, node, new)
        return self._kept_fault(node, new, listed=action == "K")

    def _drops(self, tag: int) -> bool:
        return is_private(tag) or self.rules.action(tag) in ("X", "Z", "D")

    def _private_fault(self, node: Node, new: bytes) -> str | None:
        element = node.tag & 0xFFFF
        if element == 0 and new == node.value and len(new) == 4:
            return None  # a group length says nothing of a person
        if (
            0x10 <= element <= 0xFF
            and new == node.value
            and new.strip(b"\0 ") in self.rules.creators
        ):
            return None  # without it an implicit VR file changes its meaning
        if node.undefined:
            return _fragments_fault(node.value, new)
        return None if _is_gone(node, new) else "private value left"

    def _dropped_fault(self, node: Node, new: bytes) -> str | None:
        """A leaf of a sequence that should not be there at all."""
        if node.tag in self.structure and new == node.value:
            return None
        if node.undefined:
            return _fragments_fault(node.value, new)
        if node.tag == 0x00420011 and new != node.value and new.startswith(MIME_STARTS):
            return None
        if node.vr == "UI" and not any(is_private(parent) for parent in node.parents):
            return self._uid_fault(node.value, new)
        if node.tag in self.rules.fixed:
            return _set_fault(self.rules.fixed[node.tag], node, new)
        if _is_gone(node, new):
            return None
        if node.vr == "UI" and self._uid_fault(node.value, new) is None:
            return None
        return "value left in a removed sequence"

    def _blank_fault(self, node: Node, new: bytes) -> str | None:
        if node.undefined:
            return _fragments_fault(node.value, new)
        return None if _is_blank(node, new) else "not blank"

    def _dummy_fault(self, node: Node, new: bytes) -> str | None:
        if node.vr == "UI":
            return self._uid_fault(node.value, new)
        if node.undefined:
            return _fragments_fault(node.value, new)
        if node.tag == 0x00420011 and new != node.value and new.startswith(MIME_STARTS):
            return None
        return None if _is_dummy(node, new) else "not a valid dummy"

    def _kept_fault(self, node: Node, new: bytes, listed: bool) -> str | None:
        old, vr = node.value, node.vr
        if not listed and not is_known(node.tag):
            if node.undefined:
                return _fragments_fault(old, new)
            return None if _is_gone(node, new) else "value of an unknown attribute left"
        if not listed and vr in ("PN", "UR", "DA", "TM", "DT"):
            return None if _is_gone(node, new) else f"{vr} left"
        if node.coded is not None and node.coded not in VRS:
            return None if not new.strip(b"\0") else "value of an unknown VR left"
        if vr == "UI" and new != old:
            return self._kept_uid_fault(old, new)
        cut = old.find(b"\0") if vr in TEXT and node.coded != "UN" else -1
        if cut >= 0 and old[cut:].strip(b"\0 "):
            if new[cut:].strip(b"\0 "):
                return "text after a NUL left"
            return None if new[:cut] == old[:cut] else "kept value changed"
        return None if new == old else "kept value changed"

    def _kept_uid_fault(self, old: bytes, new: bytes) -> str | None:
        """Only what hides under the DICOM root, or after a NUL, may change."""
        was, now = old.split(b"\\"), new.split(b"\\")
        if len(was) != len(now):
            return "kept value changed"
        for a, b in zip(was, now, strict=True):
            plain = a.rstrip(b"\0 ")
            cut = a.find(b"\0")
            if a == b or (cut >= 0 and b[:cut] == a[:cut] and not b[cut:].strip(b"\0 ")):
                continue
            if not plain.startswith(b"1.2.840.10008.") or plain in REGISTERED:
                return "kept value changed"
            if fault := self._uid_fault(a, b):
                return fault
        return None

    def _uid_fault(self, old: bytes, new: bytes) -> str | None:
        was = [part.strip(b"\0 ") for part in old.split(b"\\")]
        now = [part.strip(b"\0 ") for part in new.split(b"\\")]
        if not any(now) and all(len(part) < 6 or not OLD_UID.fullmatch(part) for part in was):
            return None if not new.strip(b"\0\\") else "UID blanked otherwise than by NUL"
        if len(was) != len(now):
            return "number of UIDs changed"
        for a, b in zip(was, now, strict=True):
            if fault := self._one_uid_fault(a, b):
                return fault
        return None

    def _one_uid_fault(self, old: bytes, new: bytes) -> str | None:
        if old in REGISTERED:
            return None if new == old else "registered UID changed"
        if new == old and (old in self.rules.registered or CONTEXT_GROUP.fullmatch(old)):
            return None
        if not old or len(old) < 6:
            return None if not new else "UID too short to map left"
        if not new and not OLD_UID.fullmatch(old):
            return None
        if new == old:
            return "UID not mapped"
        if not UID.fullmatch(new) or len(new) > 64 or int(new.split(b".")[2]) >> 128:
            return "not a UID under 2.25"
        if OLD_UID.fullmatch(old) and len(old) <= 64 and len(new) != len(old):
            return "UID of another length"
        if self.uids.setdefault(old, new) != new:
            return "UID mapped differently elsewhere"
        if len(new) >= 20 and self.olds.setdefault(new, old) != old:
            return "two UIDs mapped to one"
        return None


def _is_gone(node: Node, new: bytes) -> bool:
    return _is_blank(node, new) or _is_dummy(node, new)


def _is_blank(node: Node, new: bytes) -> bool:
    if node.coded in (None, "UN") or node.coded not in VRS:  # the VR may be a guess
        return not new.strip(b"\0") or (node.vr in TEXT and _is_blank_as(node.vr, new))
    return _is_blank_as(node.vr, new)


def _is_blank_as(vr: str, new: bytes) -> bool:
    if vr == "AE":
        return _is_word(new, WORDS)
    if vr in TEXT and vr != "UI":
        return not new.strip(b" ")
    return not new.strip(b"\0")


def _is_dummy(node: Node, new: bytes) -> bool:
    if node.coded in (None, "UN") or node.coded not in VRS:
        return not new.strip(b"\0") or (node.vr in TEXT and _is_dummy_as(node.vr, new))
    return _is_dummy_as(node.vr, new)


def _is_dummy_as(vr: str, new: bytes) -> bool:
    if vr not in TEXT or vr == "UI":
        return not new.strip(b"\0")
    try:
        parts = new.decode("ascii").split("\\")
    except UnicodeDecodeError:
        return False
    return all(_is_dummy_text(vr, part, len(new)) for part in parts)


def _is_dummy_text(vr: str, text: str, room: int) -> bool:
    word = text.strip(" ")
    match vr:
        case "DA":
            return word in ("19000101", "1900.01.01") or (not word and room not in (8, 10))
        case "TM":
            return bool(TIME_DUMMY.fullmatch(word))
        case "DT":
            return bool(DATETIME_DUMMY.fullmatch(word)) or (not word and room < 4)
        case "AS":
            return word == "000Y" or (not word and room < 4)
        case "IS" | "DS":
            return word == "0"
        case "UR":
            return not word
        case "CS":
            return text == text.upper() and _is_word(text.encode(), WORDS)
    return _is_word(text.encode(), WORDS)


def _is_word(new: bytes, words: Sequence[str]) -> bool:
    try:
        word = new.decode("ascii").strip(" ").upper()
    except UnicodeDecodeError:
        return False
    return bool(word) and any(known.startswith(word) for known in words)


def _set_fault(action: str, node: Node, new: bytes) -> str | None:
    """set:TEXT cut to the field; set-or-keep and set-or-blank: only where it has room."""
    kind, text = action.split(":", 1)
    wanted, room = text.encode(), len(new)
    word = new.rstrip(b"\0" if node.vr == "UI" else b" ")
    if kind == "set" or len(wanted) <= room:
        short = min(len(wanted), room) - len(word)  # a cut may have to leave a character out
        good = wanted.startswith(word) and (short == 0 or (short == 1 and len(wanted) > room))
        return None if good else "not the text that is set here"
    if kind == "set-or-blank":
        return None if _is_blank(node, new) else "not blank"
    return None if new == node.value else "kept value changed"


def _fragments_fault(old: bytes, new: bytes) -> str | None:
    """Encapsulated data in a removed place: the fragments stay, their bytes do not."""
    at, number = 0, 0
    while at + 8 <= len(old) and old[at : at + 4] == b"\xfe\xff\x00\xe0":
        length = int.from_bytes(old[at + 4 : at + 8], "little")
        if old[at : at + 8] != new[at : at + 8]:
            return "fragments moved"
        was, now = old[at + 8 : at + 8 + length], new[at + 8 : at + 8 + length]
        if number and was == now and was.strip(b"\0"):
            return "fragment left"
        at, number = at + 8 + length, number + 1
    return None if at >= len(old) or not new[at:].strip(b"\0") else "value left"


def _short(value: bytes) -> str:
    return repr(value if len(value) <= 24 else value[:21] + b"...")


# -- what is left ------------------------------------------------------------------------------


def leaks(before: bytes, after: bytes, rules: Rules | None = None) -> list[str]:
    """Identifying texts of `before` that stand in `after` where nothing allows it.

    Names (parts of 4 bytes and more) and other texts and UIDs (6 and more) of values that should
    be gone, sought in all bytes but the top-level pixel data.
    """
    return _residue(before, after, rules or default_rules())[0]


def echoes(before: bytes, after: bytes, rules: Rules | None = None) -> list[str]:
    """Such texts that also stand in values which the profile keeps: for a person to judge."""
    return _residue(before, after, rules or default_rules())[1]


@functools.lru_cache(maxsize=2)
def _residue(before: bytes, after: bytes, rules: Rules) -> tuple[list[str], list[str]]:
    old, new = parse(before), parse(after)
    leaves = sorted(old.leaves, key=lambda n: n.offset)
    starts = [node.offset for node in leaves]
    judge = Judge(rules, None, {})
    found: tuple[list[str], list[str]] = ([], [])
    for text, path in sorted(_identifying(old, judge).items()):
        at = new.data.find(text)
        while at >= 0:
            place = bisect_right(starts, at) - 1
            node = leaves[place] if place >= 0 else None
            if node is None or at + len(text) > node.offset + len(node.value):
                found[0].append(f"{path} {_short(text)} at {at}, outside every value")
            elif not node.is_pixels:
                value = new.data[node.offset : node.offset + len(node.value)]
                if judge.fault(node, value):
                    found[0].append(f"{path} {_short(text)} at {at}, in {node.path}")
                elif value == node.value:
                    found[1].append(f"{path} {_short(text)} at {at}, in {node.path}")
            else:
                at = node.offset + len(node.value) - 1
            at = new.data.find(text, at + 1)
    return found


def _identifying(old: Parsed, judge: Judge) -> dict[bytes, str]:
    """Text -> the path of a value that should be gone and holds it."""
    texts: dict[bytes, str] = {}
    for node in old.leaves:
        if node.vr not in TEXT or node.is_pixels or node.undefined:
            continue
        if node.vr in ("AS", "CS", "DA", "DS", "DT", "IS", "TM"):
            continue  # short and everywhere: a hit would say nothing
        if node.vr != "PN" and judge.fault(node, node.value) is None:
            continue  # may stand as it is
        cut = rb"[\\^=]" if node.vr == "PN" else rb"\\"
        whole = node.vr in ("LT", "ST", "UT", "UR")
        for part in [node.value] if whole else re.split(cut, node.value):
            text = part.strip(b"\0 ")
            if len(text) >= (4 if node.vr == "PN" else 6) and len(set(text)) > 2:
                texts.setdefault(text, node.path)
    return texts
