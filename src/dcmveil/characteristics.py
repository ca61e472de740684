"""Private elements that a file itself declares safe.

(0008,0300) Private Data Element Characteristics Sequence: PS3.3 section C.12.1.1.7, honoured
under the Retain Safe Private Option (PS3.15 section E.3.10). Anything odd in it declares nothing:
then the elements are treated as any private ones.
"""

from __future__ import annotations

from . import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_GROUP, _CREATOR, _STATUS, _SAFE_ELEMENTS = 0x00080301, 0x00080302, 0x00080303, 0x00080304
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")


def safe_blocks(items: bytes, encoding: int) -> list[tuple[int, bytes, list[int] | None]]:
    """(group, private creator, low bytes of the safe elements or None for all) of each item.

    items: the value field of the sequence; encoding: as the core names it. The value fields of
    SAFE blocks are wholly safe, of MIXED ones those that (0008,0304) names.
    """
    try:
        blocks = list(_blocks(items, encoding))
    except (IndexError, ValueError):
        return []
    if len({block[:2] for block in blocks}) < len(blocks):
        return []  # of two items for one block nothing says which one counts
    return [block for block in blocks if block[2] != []]


def _blocks(items: bytes, encoding: int) -> Iterator[tuple[int, bytes, list[int] | None]]:
    order = "big" if encoding & core.EXPLICIT_BE else "little"
    values: dict[int, bytes] = {}
    for tag, value in _elements(items, encoding):
        if tag not in (_ITEM, 0):
            if tag in values:
                raise ValueError("twice in one item")
            values[tag] = value
            continue
        if _GROUP in values and values.get(_CREATOR, b"").strip(b" \0"):
            group = _numbers(values[_GROUP], order)[0]
            creator = values[_CREATOR].strip(b" \0")
            status = values.get(_STATUS, b"").strip(b" \0")
            mixed = _numbers(values.get(_SAFE_ELEMENTS, b""), order) if status == b"MIXED" else []
            if any(low > 0xFF for low in mixed):
                raise ValueError("no low byte of an element number")
            yield group, creator, None if status == b"SAFE" else mixed
        values = {}


def _numbers(value: bytes, order: str) -> list[int]:
    """US values."""
    return [_number(value[i : i + 2], order) for i in range(0, len(value) // 2 * 2, 2)]


def _number(value: bytes, order: str) -> int:
    return int.from_bytes(value, "big" if order == "big" else "little")


def _elements(data: bytes, encoding: int) -> Iterator[tuple[int, bytes]]:
    """Elements of the items in order, (_ITEM, b"") before each item, (0, b"") at the end. Nested
    sequences of defined length are one value; one of undefined length is an error."""
    order = "big" if encoding & core.EXPLICIT_BE else "little"
    at = 0
    while at + 8 <= len(data):
        group, element = (_number(data[at + i : at + i + 2], order) for i in (0, 2))
        tag = group << 16 | element
        length = _number(data[at + 4 : at + 8], order)
        at += 8
        if tag in (_ITEM, _ITEM_END, _SEQUENCE_END):
            if tag == _ITEM:
                yield tag, b""
            continue
        if not encoding & core.IMPLICIT_LE:
            if data[at - 4 : at - 2] in _LONG:
                length = _number(data[at : at + 4], order)
                at += 4
            else:
                length = _number(data[at - 2 : at], order)
        if length == _UNDEFINED or at + length > len(data):
            raise ValueError("not the plain form of this sequence")
        yield tag, data[at : at + length]
        at += length
    yield 0, b""
