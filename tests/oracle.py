"""The pydicom oracle: does one file stand to another as the Basic Profile, fixed layout, asks?

It shares no code with the product. pydicom parses both files; its raw elements are compared as
bytes, never as converted values. `compare` judges, `leaks` and `echoes` look for what is left.
"""

from __future__ import annotations

import functools
import io
import logging
import re
import struct
import warnings
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydicom import config, datadict, dcmread, filereader, values
from pydicom._private_dict import private_dictionaries
from pydicom._uid_dict import UID_dictionary
from pydicom.dataelem import DataElement
from pydicom.errors import InvalidDicomError

TABLES = Path(__file__).parents[1] / "src/dcmveil/profile/tables"

_TEXT = "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT"
_LONG = "OB OD OF OL OV OW SQ SV UC UN UR UT UV"  # in explicit VR, a length of 4 bytes
TEXT = frozenset(_TEXT.split())
LONG = frozenset(_LONG.split())
VRS = TEXT | LONG | frozenset({"AT", "FD", "FL", "SL", "SS", "UL", "US"})

# The words that a dummy may be: one of them, or its beginning where the value is short.
WORDS = ("ANON", "ANONYMOUS", "ANONYMIZED", "ANONYMISED", "DEIDENTIFIED", "REMOVED", "ANON" * 8)
WORDS_OF_ACTIONS = {"blank": "X", "dummy": "D", "uid": "U", "document": "D", "keep": "K"}
MIME_STARTS = (b"%PDF-", b"<", b"solid ", b"\xef\xbb\xbf<")  # minimal encapsulated documents

PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
DEFLATED = frozenset({f"1.2.840.10008.1.2.{end}".encode() for end in ("1.99", "4.95", "4.205")})
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


# ---- rules ---------------------------------------------------------------------------------


class Rules:
    """Tag -> what the fixed layout does: X, Z, D, U, K, "set...:TEXT", or "" for no row.

    decisions: tag -> action, before the rows of the table (default: decisions.tsv).
    structure: tags that may stay inside a sequence that goes; fixed: what others become there.
    """

    def __init__(self, decisions: Mapping[str, str] | None = None, tables: Path = TABLES) -> None:
        self._exact: dict[int, str] = {}
        self._patterns: list[tuple[int, int, str]] = []
        if decisions is None:
            decisions = {row["tag"]: row["action"] for row in _rows(tables / "decisions.tsv")}
        for tag, action in decisions.items():
            self._add(tag, action)
        for row in _rows(tables / "e1_1_2026d.tsv", required=True):
            self._add(row["tag"], row["basic"])
        inside = {_number_of(row["tag"]): row["action"] for row in _rows(tables / "structure.tsv")}
        self.structure = frozenset(tag for tag, action in inside.items() if action == "keep")
        self.fixed = {tag: action for tag, action in inside.items() if action.startswith("set")}
        self.registered = frozenset(_lines(tables / "registered_uids.txt"))
        self.creators = {creator.encode() for creator in private_dictionaries}
        for row in _rows(tables / "safe_private_2026d.tsv"):
            self.creators.add(row["private_creator"].encode())
        for line in _lines(tables / "private_dictionary.txt"):
            if line.startswith(b"@"):
                self.creators.add(line[1:])

    def _add(self, text: str, action: str) -> None:
        digits = text.strip("()").replace(",", "").lower()
        if not re.fullmatch("[0-9a-fx]{8}", digits):
            return  # "private": any odd group, which needs no row here
        letter = WORDS_OF_ACTIONS.get(action, action)
        if not letter.startswith("set"):
            letter = letter.rstrip("*").split("/")[-1]
            if letter not in ("X", "Z", "D", "U", "K"):
                raise ValueError(f"{text}: no such action: {action}")  # never take it for "keep"
        if "x" not in digits:
            self._exact.setdefault(int(digits, 16), letter)  # the decisions came first
            return
        mask = int("".join("0" if d == "x" else "f" for d in digits), 16)
        self._patterns.append((mask, int(digits.replace("x", "0"), 16), letter))

    def action(self, tag: int) -> str:
        if tag in self._exact:
            return self._exact[tag]
        if not is_private(tag):
            for mask, want, letter in self._patterns:
                if tag & mask == want:
                    return letter
        return ""


def _number_of(tag: str) -> int:
    return int(tag.strip("()").replace(",", ""), 16)


def _rows(path: Path, required: bool = False) -> Iterator[dict[str, str]]:
    if not required and not path.exists():
        return
    lines = [line for line in path.read_text("utf-8").splitlines() if line and line[0] != "#"]
    names = lines[0].split("\t")
    for line in lines[1:]:
        yield dict(zip(names, line.split("\t"), strict=False))


def _lines(path: Path) -> list[bytes]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [line.strip() for line in lines if line.strip() and not line.startswith(b"#")]


@functools.cache
def default_rules() -> Rules:
    return Rules()


def is_private(tag: int) -> bool:
    return bool(tag >> 16 & 1)


def is_known(tag: int) -> bool:
    return tag & 0xFFFF == 0 or datadict.dictionary_has_tag(tag) or datadict.repeater_has_tag(tag)


# ---- parsing -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """An element as encoded; offset is absolute (in the inflated bytes)."""

    path: str
    tag: int
    coded: str | None  # the VR in the bytes; None in implicit VR
    vr: str  # the VR it has: as coded, or from the dictionaries
    offset: int
    value: bytes
    undefined: bool
    is_sequence: bool
    parents: tuple[int, ...]

    @property
    def shape(self) -> tuple[str, str | None, int, int, bool]:
        return self.path, self.coded, self.offset, len(self.value), self.undefined

    @property
    def is_pixels(self) -> bool:
        return self.tag in PIXELS and not self.parents


@dataclass(frozen=True)
class Parsed:
    data: bytes  # inflated, if it was deflated
    nodes: list[Node]
    tail: int  # where the bytes after the last element start
    unused: bytes  # after the end of a deflate stream

    @property
    def leaves(self) -> list[Node]:
        return [node for node in self.nodes if not node.is_sequence]


@functools.lru_cache(maxsize=8)
def parse(data: bytes) -> Parsed:
    """Every element at every depth, also those that stand twice. pydicom's errors go through."""
    with _quiet(), _recording() as datasets:
        data, readable, unused = _inflate(data)
        datasets.clear()
        dcmread(io.BytesIO(readable), force=True)
        nodes: list[Node] = []
        for elements in datasets[-3:]:  # file meta, command set, data set
            _walk(elements, 0, "", (), nodes)
    for i, node in enumerate(nodes):
        there = data[node.offset : node.offset + len(node.value)]
        if node.tag == 0x00020010:  # pydicom was shown another one if the file is deflated
            nodes[i] = replace(node, value=there)
        elif not node.is_sequence and there != node.value:
            raise AssertionError(f"{node.path}: pydicom's offset {node.offset} misread")
    return Parsed(data, nodes, _tail(data, nodes), unused)


def _inflate(data: bytes) -> tuple[bytes, bytes, bytes]:
    """The inflated file; the same for pydicom to read; what follows the deflate stream.

    pydicom inflates one syntax of three, so it is given the plain one in the same 22 bytes.
    """
    if data[128:132] != b"DICM":
        return data, data, b""
    fp = io.BytesIO(data)
    fp.seek(132)
    meta = filereader._read_file_meta_info(fp)
    syntax = str(meta.get("TransferSyntaxUID", "")).encode()
    if syntax not in DEFLATED:
        return data, data, b""
    squeezed = zlib.decompressobj(-zlib.MAX_WBITS)
    body = squeezed.decompress(data[fp.tell() :]) + squeezed.flush()
    head = data[: fp.tell()]
    plain = head.replace(syntax, b"1.2.840.10008.1.2.1".ljust(len(syntax), b"\0"))
    return head + body, plain + body, squeezed.unused_data


@contextmanager
def _quiet() -> Iterator[None]:
    """pydicom at its most tolerant, without a word; everything as it was afterwards."""
    settings, logger = config.settings, logging.getLogger("pydicom")
    modes = settings._reading_validation_mode, logger.disabled  # the public one is never None
    try:
        settings.reading_validation_mode, logger.disabled = config.IGNORE, True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        settings._reading_validation_mode, logger.disabled = modes


@contextmanager
def _recording() -> Iterator[list[list[Any]]]:
    """Keep every element that pydicom reads: its dictionaries keep only the last of a tag.

    Yields the element lists of the outermost data sets; an inner one gets `all_elements`.
    """
    read_dataset, generator = filereader.read_dataset, filereader.data_element_generator
    open_lists: list[list[Any]] = []
    outermost: list[list[Any]] = []

    def recording_dataset(*args: Any, **kwargs: Any) -> Any:
        elements: list[Any] = []
        if not open_lists:
            outermost.append(elements)
        open_lists.append(elements)
        try:
            dataset = read_dataset(*args, **kwargs)
        finally:
            open_lists.pop()
        dataset.all_elements = elements
        return dataset

    def recording_generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
        elements = open_lists[-1]
        for element in generator(*args, **kwargs):
            elements.append(element)
            yield element

    filereader.read_dataset = recording_dataset
    filereader.data_element_generator = recording_generator
    try:
        yield outermost
    finally:
        filereader.read_dataset = read_dataset
        filereader.data_element_generator = generator


def _walk(
    elements: Sequence[Any], base: int, path: str, parents: tuple[int, ...], nodes: list[Node]
) -> None:
    creators: dict[int, str] = {}  # (group << 16 | block) -> private creator
    for e in elements:
        tag = int(e.tag)
        here = f"{path}({tag >> 16:04X},{tag & 0xFFFF:04X})"
        if isinstance(e, DataElement):  # a sequence of undefined length
            start = base + (e.file_tell or 0)
            nodes.append(Node(here, tag, "SQ", "SQ", start, b"", True, True, parents))
            items, inner_base = e.value, base
        else:
            value = e.value or b""
            if is_private(tag) and 0x10 <= tag & 0xFFFF <= 0xFF:
                creators[tag & 0xFFFF0000 | (tag & 0xFF) << 8] = value.decode("latin-1").strip()
            vr = _vr(tag, e.VR, creators)
            start, undefined = base + e.value_tell, e.length == 0xFFFFFFFF
            items, inner_base = _items(tag, vr, e, value), start
            kind = items is not None
            nodes.append(Node(here, tag, e.VR, vr, start, value, undefined, kind, parents))
        for number, item in enumerate(items or ()):
            _walk(item.all_elements, inner_base, f"{here}[{number}]", (*parents, tag), nodes)


def _vr(tag: int, coded: str | None, creators: dict[int, str]) -> str:
    if coded is not None and coded != "UN":
        return coded if coded in VRS else "UN"
    try:
        if not is_private(tag):
            return "UL" if tag & 0xFFFF == 0 else datadict.dictionary_VR(tag)
        if 0x10 <= tag & 0xFFFF <= 0xFF:
            return "LO"
        return datadict.private_dictionary_VR(tag, creators.get(tag & 0xFFFFFF00, ""))
    except KeyError:
        return "UN"


def _items(tag: int, vr: str, e: Any, value: bytes) -> Sequence[Any] | None:
    """The items of a sequence of defined length, also of one that only its bytes give away."""
    if e.length == 0xFFFFFFFF:
        return None
    untyped = e.VR == "UN" or (e.VR is None and (is_private(tag) or not is_known(tag)))
    if untyped:
        for implicit, little in ((True, True), (False, True), (False, e.is_little_endian)):
            if value and _tiles(value, implicit, "little" if little else "big"):
                return values.convert_SQ(value, implicit, little)
    elif vr == "SQ":
        return values.convert_SQ(value, e.is_implicit_VR, e.is_little_endian)
    return None


def _tiles(value: bytes, implicit: bool, order: Any) -> bool:
    """Is the value wholly made of items, each wholly made of elements?"""
    try:
        return _pass_items(value, 0, len(value), implicit, order, False) == len(value)
    except (ValueError, RecursionError):
        return False


def _pass_items(
    value: bytes, at: int, end: int, implicit: bool, order: Any, delimited: bool
) -> int:
    while at < end:
        tag, length = _tag(value, at, order), _number(value, at + 4, 4, order)
        at += 8
        if delimited and tag == 0xFFFEE0DD:
            return at
        if tag != 0xFFFEE000:
            raise ValueError
        open_end = length == 0xFFFFFFFF
        stop = end if open_end else at + length
        if stop > end:
            raise ValueError
        at = _pass_elements(value, at, stop, implicit, order, open_end)
    if delimited:
        raise ValueError
    return at


def _pass_elements(
    value: bytes, at: int, end: int, implicit: bool, order: Any, delimited: bool
) -> int:
    while at < end:
        tag = _tag(value, at, order)
        if delimited and tag == 0xFFFEE00D:
            return at + 8
        vr = value[at + 4 : at + 6].decode("latin-1")
        if implicit:
            length, at = _number(value, at + 4, 4, order), at + 8
        elif vr not in VRS:
            raise ValueError
        elif vr in LONG:
            length, at = _number(value, at + 8, 4, order), at + 12
        else:
            length, at = _number(value, at + 6, 2, order), at + 8
        if length == 0xFFFFFFFF:
            at = _pass_items(value, at, end, implicit or vr == "UN", order, True)
        else:
            at += length
        if at > end:
            raise ValueError
    if delimited:
        raise ValueError
    return at


def _tag(value: bytes, at: int, order: Any) -> int:
    return _number(value, at, 2, order) << 16 | _number(value, at + 2, 2, order)


def _number(value: bytes, at: int, size: int, order: Any) -> int:
    if at + size > len(value):
        raise ValueError
    return int.from_bytes(value[at : at + size], order)


def _tail(data: bytes, nodes: list[Node]) -> int:
    """Where the data set ends: after the last value and the delimiters and empty items there."""
    at = max((n.offset + (0 if n.is_sequence else len(n.value)) for n in nodes), default=0)
    marker = re.compile(
        rb"(\xfe\xff[\x0d\xdd]\xe0.{4}|\xff\xfe\xe0[\x0d\xdd].{4}"
        rb"|\xfe\xff\0\xe0(\0{4}|\xff{4})|\xff\xfe\xe0\0(\0{4}|\xff{4}))*",
        re.DOTALL,
    )
    found = marker.match(data, at)
    return found.end() if found else at


# ---- judging -------------------------------------------------------------------------------


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


# ---- what is left ----------------------------------------------------------------------------


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
