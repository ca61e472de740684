"""Headers and bytes for the twin: PS3.5 section 7.1, read from an input that is all there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from twin_rules import LONG, VRS, Rules

UNDEFINED = 0xFFFFFFFF
NOWHERE = 1 << 64  # an offset past all others
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXELS = 0x7FE00010
TRIAL_LEVELS = 64  # a limit, as the core names it


class Refused(Exception):  # noqa: N818
    """`fault` is a name of the core's Fault list, or MARK, DEFLATE, ICON or SYNTAX."""

    def __init__(self, fault: str, offset: int | None) -> None:
        super().__init__(f"{fault} at {offset}")
        self.fault, self.offset = fault, offset


class Encoding(NamedTuple):
    implicit: bool = False
    big: bool = False


EXPLICIT, IMPLICIT = Encoding(), Encoding(implicit=True)


@dataclass
class Place:
    """A data set, and what holds in it."""

    encoding: Encoding
    end: int = NOWHERE  # nothing in here may pass this offset
    undefined: bool = False
    veiled: bool = False
    meta: bool = False  # file meta information
    either: bool = False  # in a UN, where each item may be explicit or implicit
    fresh: bool = True  # before its first element
    depth: int = 0  # sequences around it
    record: bool = False  # an item of the sequence of a directory
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


class Input:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def header(self, at: int, encoding: Encoding) -> tuple[int, str | None, int, int]:
        """Tag, VR (None: implicit, or none of the 34), length, and where the value begins."""
        big = encoding.big
        vr = self.data[at + 4 : at + 6].decode("latin-1")
        tag = self.tag(at, encoding)
        if encoding.implicit or vr not in VRS:
            return tag, None, self.number(at + 4, 4, big), at + 8
        if vr in LONG:
            return tag, vr, self.number(at + 8, 4, big), at + 12
        return tag, vr, self.number(at + 6, 2, big), at + 8

    def number(self, at: int, n: int, big: bool = False) -> int:
        return int.from_bytes(self.data[at : at + n], "big" if big else "little")

    def tag(self, at: int, encoding: Encoding) -> int:
        return self.number(at, 2, encoding.big) << 16 | self.number(at + 2, 2, encoding.big)

    def need(self, at: int, n: int) -> None:
        if at + n > len(self.data):
            raise Refused("TRUNCATED", len(self.data))

    def room(self, at: int, n: int, end: int) -> None:
        if at + n > end:
            raise Refused("OVERRUN", at)
        self.need(at, n)

    def sniff(self, at: int, rules: Rules) -> Encoding | None:
        """The encoding that the first header of a data set shows: its tag is known, or the length
        of a group."""
        tag, vr, _, _ = self.header(at, EXPLICIT)
        orders = [Encoding(big=big) for big in (False, True) if self.known_in(at, big, rules)]
        if vr and orders:  # a data set begins with a low group
            return min(orders, key=lambda order: self.tag(at, order))
        known, length = rules.rule(tag).vr, self.number(at + 4, 4)
        if tag & 0x1FFFF == 0 and tag >> 16 <= 0x7FE0:
            return IMPLICIT if length == 4 else None
        return IMPLICIT if known and (known == "SQ" or length < 0x10000) else None

    def known_in(self, at: int, big: bool, rules: Rules) -> bool:
        """Whether an explicit header of a known tag, or of a group length, stands here."""
        tag, vr, length, _ = self.header(at, Encoding(big=big))
        group_length = tag & 0x1FFFF == 0 and vr == "UL" and length == 4
        return bool(vr and (group_length or rules.rule(tag).vr))

    def tiles(self, at: int, end: int, undefined: bool, encoding: Encoding, level: int) -> int:
        """Where the items end that begin here, or past all ends where they do not hold together.
        Values of defined length are jumped over. Odd levels are elements, even ones items."""
        of_items = level % 2 == 0
        closing = SEQUENCE_END if of_items else ITEM_END
        while at < end or (undefined and at == end):
            if end - at < 8:
                return NOWHERE
            tag, vr, length, value = self.header(at, encoding)
            marker = tag in (ITEM, ITEM_END, SEQUENCE_END)
            if marker:
                _, _, length, value = self.header(at, Encoding(True, encoding.big))
            if tag == closing and length == 0 and undefined:
                return value
            if of_items != (tag == ITEM) or (marker and not of_items):
                return NOWHERE
            if level == 2 * TRIAL_LEVELS or not (marker or vr or encoding.implicit):
                return NOWHERE
            pixels = tag == PIXELS or ((vr or "")[:1] == "O" and not encoding.implicit)
            if length == UNDEFINED and pixels and not marker:
                at = self.fragments_end(value, end, encoding)
            elif length == UNDEFINED:
                at = self.tiles(value, end, True, encoding, level + 1)
            elif value + length > end:
                return NOWHERE
            elif of_items:
                at = self.tiles(value, value + length, False, encoding, level + 1)
            else:
                at = value + length
        return at

    def fragments_end(self, at: int, end: int, encoding: Encoding) -> int:
        """Where encapsulated pixel data ends, past all ends where it does not hold together."""
        plain = Encoding(True, encoding.big)
        while end - at >= 8:
            tag, _, length, value = self.header(at, plain)
            if tag == SEQUENCE_END and length == 0:
                return value
            if tag != ITEM or length > end - value:
                return NOWHERE
            at = value + length
        return NOWHERE


def letters(vr: bytes) -> bool:
    return vr.isalpha() and vr.isupper()


def is_block(tag: int) -> bool:
    return bool(tag >> 16 & 1) and 0x10 <= tag & 0xFFFF <= 0xFF
