"""A file as the pydicom oracle sees it: every element at every depth, as bytes at an offset."""

from __future__ import annotations

import functools
import io
import logging
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pydicom import config, datadict, dcmread, filereader, values
from pydicom.dataelem import DataElement

from oracle_rules import LONG, VRS, is_known, is_private

PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
DEFLATED = frozenset({f"1.2.840.10008.1.2.{end}".encode() for end in ("1.99", "4.95", "4.205")})


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
