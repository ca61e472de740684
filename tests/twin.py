"""A slow, plain twin of the core: the grammar of PS3.5 and PS3.10, read a second time.

It holds the whole input, recurses where the core keeps a stack and knows nothing of windows.
Where the two differ, one of them is wrong.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

from dcmveil.keyed import BROKEN, OTHER_PROFILE, OURS
from dcmveil.keys import digest_of
from twin_rules import BY_VR, TEXT, Answers, Rules, rows
from twin_wire import (
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_END,
    NOWHERE,
    SEQUENCE_END,
    UNDEFINED,
    VRS,
    Element,
    Encoding,
    Input,
    Place,
    Refused,
    is_block,
    letters,
)

MEDIA_CLASS, SYNTAX, SOP_CLASS, SOP_INSTANCE = 0x00020002, 0x00020010, 0x00080016, 0x00080018
MEDIA_INSTANCE, RECORDS, REFERENCED = 0x00020003, 0x00041220, 0x00041511
STUDY, SERIES = 0x0020000D, 0x0020000E
PATIENT_NAME, PATIENT_ID, CHARACTER_SET = 0x00100010, 0x00100020, 0x00080005
FRAMES, WAVEFORM, FLOAT_PIXELS, PIXELS = 0x00280008, 0x54001010, 0x7FE00008, 0x7FE00010
IDENTITY = (SOP_INSTANCE, PATIENT_ID, PATIENT_NAME)
WATCHED = (MEDIA_CLASS, MEDIA_INSTANCE, SYNTAX, SOP_CLASS, *IDENTITY)
OF_RECORD = (REFERENCED, PATIENT_NAME, PATIENT_ID, STUDY, SERIES)
DICOMDIR = "1.2.840.10008.1.3.10"
VOICES = ("1.2.840.10008.5.1.4.1.1.9.4.1", "1.2.840.10008.5.1.4.1.1.9.4.2")

# limits, as the core names them
DEPTH, BLOCKS, CREATOR = 128, 4096, 128
UID_LIMIT, FORM, TRIAL, ICON = 1 << 20, 65536, 4 << 20, 1 << 20


class Twin(Input):
    def __init__(self, data: bytes, rules: Rules, answers: Answers) -> None:
        super().__init__(data)
        self.rules, self.answers = rules, answers
        self.out = bytearray(data)
        self.syntax = ""
        self.packed_at: int | None = None  # where a deflated data set begins
        self.marked = self.directory = self.begun = self.second_run = self.past_pixels = False
        self.late = False
        self.barrier = PATIENT_ID
        self.blocks = 0
        self.seen: dict[int, slice] = {}
        self.records: list[dict[int, slice]] = []  # of a directory
        self.edits: list[Callable[[], None]] = []

    # ---- the file ------------------------------------------------------------------------------

    def file(self) -> bytes:
        if not self.data:
            raise Refused("EMPTY_INPUT", 0)
        if self.data[128:132] == b"DICM":
            self.marked = True
            self.put(0, bytes(128))
            self.meta(132, Place(EXPLICIT, meta=True))
        else:
            found = self.sniff(0, self.rules) if len(self.data) >= 8 else None
            if found is None:
                raise Refused("NOT_DICOM", 0)
            group = self.number(0, 2)
            {2: self.meta, 0: self.command}.get(group, self.main)(0, Place(found, meta=group == 2))
        self.begin()
        if self.packed_at is None:
            return bytes(self.out)
        squeeze = zlib.compressobj(wbits=-15)
        packed = squeeze.compress(self.out[self.packed_at :]) + squeeze.flush()
        return bytes(self.out[: self.packed_at]) + packed + bytes(len(packed) % 2)

    def meta(self, at: int, place: Place) -> None:
        while True:
            if at == len(self.data):
                raise Refused("NO_DATA_SET", at)
            self.need(at, 8)
            if self.tag(at, place.encoding) >> 16 != 2:
                break
            self.sniff_item(at, place)
            at = self.element(at, place)
        self.syntax = self.text(SYNTAX)
        self.directory = self.text(MEDIA_CLASS) == DICOMDIR
        if self.directory:
            self.barrier = 0x00041200  # no Patient ID stands at its top level
        kind = dict(rows("transfer_syntaxes.tsv")).get(self.syntax, "")
        newer = not kind and self.syntax.startswith("1.2.840.10008.")
        if kind == "not-a-data-set" or newer:
            raise Refused("SYNTAX", None)
        if kind == "deflated":
            self.inflate(at)
        told = {"": None, "implicit-le": IMPLICIT, "explicit-be": Encoding(big=True)}
        self.start(at, told.get(kind, EXPLICIT), registered=bool(kind or not self.syntax))

    def inflate(self, at: int) -> None:
        stream = zlib.decompressobj(-15)
        try:
            self.data = self.data[:at] + stream.decompress(self.data[at:])
        except zlib.error:
            raise Refused("DEFLATE", None) from None
        if not stream.eof:
            raise Refused("DEFLATE", None)
        self.packed_at = at
        self.out[at:] = self.data[at:]

    def start(self, at: int, told: Encoding | None, registered: bool = True) -> None:
        """The first header of a data set. What was told of its encoding may be wrong."""
        if at == len(self.data):
            raise Refused("NO_DATA_SET", at)
        self.need(at, 8)
        if self.data[at : at + 8] == b"\0\0\0\0\4\0\0\0":
            return self.command(at, Place(IMPLICIT))
        found = self.sniff(at, self.rules)
        if not registered and found != EXPLICIT:
            raise Refused("NOT_EXPLICIT", at)
        if told is None and found is None:
            raise Refused("NO_SYNTAX", at)
        if told is None:
            return self.main(at, Place(found))
        if found and found.big != told.big and not self.known_in(at, told.big, self.rules):
            raise Refused("BYTE_ORDER", at)
        vr = self.data[at + 4 : at + 6]
        implicit = vr.decode("latin-1") not in VRS if told.implicit else not letters(vr)
        return self.main(at, Place(Encoding(implicit, told.big)))

    def command(self, at: int, place: Place) -> None:
        """Group 0000, as it stands on the network before a data set (PS3.7 section 6.3)."""
        while len(self.data) - at >= 8:
            if self.tag(at, place.encoding) >> 16:
                return self.start(at, None)
            at = self.element(at, place)
        return self.tail(at, cut=True)

    def main(self, at: int, place: Place) -> None:
        """The data set at the top, and what may come after its last element."""
        while len(self.data) - at >= 8:
            tag, vr, _, _ = self.header(at, place.encoding)
            empty = not any(self.data[at + 4 : at + 8])
            if tag == 0 and empty:
                return self.tail(at)
            known = tag >> 16 & 1 or self.rules.rule(tag).vr if place.encoding.implicit else vr
            if self.past_pixels and not known and not (tag >> 16 == 0xFFFE and empty):
                return self.tail(at)
            if tag > self.barrier:
                self.late = True
                if not self.directory:
                    self.begin()
            if tag in (ITEM_END, SEQUENCE_END) and empty:
                at += 8
            elif tag >> 16 == 0xFFFE:
                raise Refused("BAD_DELIMITER", at)
            else:
                at = self.element(at, place)
        return self.tail(at, cut=True)

    def tail(self, at: int, cut: bool = False) -> None:
        """Zeros may end any data set; what stands behind pixel data becomes zeros, unless it is
        `cut` short and may be the header of something that often comes last."""
        rest = self.data[at:]
        if cut and any(rest) and (not self.past_pixels or rest[0] in b"\xfa\xfc\xff"):
            raise Refused("TRUNCATED", len(self.data))
        if any(rest) and not self.past_pixels:
            raise Refused("BAD_TAIL", at + len(rest) - len(rest.lstrip(b"\0")))
        self.do(lambda: self.put(at, bytes(len(rest))))

    def begin(self) -> None:
        """All that the answers depend on has been seen: here a stream lets go."""
        if self.begun:
            return
        self.begun = True
        if self.marked:
            old = self.identity(self.data)
            state = self.answers.mark.check(self.data[:128], *old)
            if state in (OTHER_PROFILE, BROKEN):
                raise Refused("MARK", 0)
            self.second_run = state == OURS
        for edit in self.edits:
            edit()
        if self.marked:
            self.put(0, self.answers.mark.make(*self.identity(bytes(self.out))))

    def identity(self, data: bytes) -> list[bytes]:
        """What the mark is bound to: an instance, or all records of a directory."""
        if not self.directory:
            return [data[self.seen.get(tag, slice(0))] for tag in IDENTITY]
        so_far = ""
        for record in self.records:
            values = [data[record.get(tag, slice(0))].rstrip(b"\0 ") for tag in OF_RECORD]
            so_far = digest_of(so_far, *(value.decode("latin-1") for value in values)).hex()
        return [data[self.seen.get(MEDIA_INSTANCE, slice(0))], so_far.encode(), b""]

    # ---- data elements -------------------------------------------------------------------------

    def data_set(self, at: int, place: Place) -> int:
        """The elements of an item: where its bytes end, with its delimiter."""
        blocks = self.blocks
        while at < place.end:
            self.room(at, 8, place.end)
            tag, _, length, _ = self.header(at, Encoding(True, place.encoding.big))
            if tag >> 16 != 0xFFFE:
                self.sniff_item(at, place)
                at = self.element(at, place)
            elif tag == ITEM_END and length == 0 and (place.undefined or at + 8 == place.end):
                at += 8
                break
            elif place.undefined and (tag == ITEM or (tag == SEQUENCE_END and length == 0)):
                break  # its delimiter is missing
            else:
                raise Refused("BAD_DELIMITER", at)
        self.blocks = blocks
        return at

    def element(self, at: int, place: Place) -> int:
        tag, vr, length, value = self.header(at, place.encoding)
        e = Element(at, tag, vr, length, value)
        if not place.encoding.implicit and not vr:
            return self.strange(e, place)
        self.need(at, value - at)
        return self.body(e, place)

    def strange(self, e: Element, place: Place) -> int:
        """No VR of the 34: taken where exactly one form of the header leads to a next one."""
        big = place.encoding.big
        if place.meta:
            raise Refused("UNKNOWN_FORM", e.at)
        forms = [(8, self.number(e.at + 6, 2, big)), (12, self.number(e.at + 8, 4, big))]
        if self.number(e.at + 6, 2):  # reserved, and zero, before a length of four bytes
            forms[1] = (12, NOWHERE)
        if not letters(self.data[e.at + 4 : e.at + 6]):
            forms.append((8, self.number(e.at + 4, 4, big)))  # an element in implicit VR
        right = []
        for form, (size, length) in enumerate(forms):
            end = e.at + size + length
            if length > FORM or end > min(place.end, len(self.data)):
                continue
            if end in (place.end, len(self.data)) or self.follows(end, e.tag, place):
                right.append((form, e.at + size, length))
        if len(right) != 1:
            raise Refused("UNKNOWN_FORM", e.at)
        form, e.value, e.length = right[0]
        return self.body(e, place) if form == 2 else self.leaf(e, place)

    def follows(self, at: int, after: int, place: Place) -> bool:
        """Whether a legal header stands here that may come after that tag."""
        if len(self.data) - at < 8:
            return False
        tag, vr, _, _ = self.header(at, place.encoding)
        known = tag >> 16 & 1 or tag & 0xFFFF == 0 or self.rules.rule(tag).vr
        return tag in (ITEM, ITEM_END, SEQUENCE_END) or bool(tag > after and known and vr)

    def decide(self, e: Element, place: Place) -> None:
        """What the rules say of it: its action, and the VR that its value is treated by."""
        group, element = e.tag >> 16, e.tag & 0xFFFF
        if group & 1:
            creator = place.creators.get((group, element >> 8), b"")
            e.known, e.action = self.rules.private.get((creator, group, element & 0xFF)), "blank"
        else:
            rule = self.rules.rule(e.tag)
            e.known, e.action = rule.vr, rule.veiled if place.veiled else rule.action
        listed = group & 1 or e.known
        voice = e.tag == WAVEFORM and {self.text(SOP_CLASS), self.text(MEDIA_CLASS)} & {*VOICES}
        if element == 0 and not group & 1:  # a group length
            e.known = "UL"
            e.action = "keep" if e.length == 4 and e.vr in (None, "UL") else "blank"
        elif (
            voice or (group == 4 and not self.directory) or (e.tag == 0x00020001 and e.length != 2)
        ):
            e.action = "blank"
        e.means = (e.known if e.vr in (None, "UN") else e.vr) or "UN"
        if e.action == "keep":
            e.action = BY_VR.get(e.means) or BY_VR.get(e.known or "") or "keep"
            if e.action == "keep" and e.known == "SQ" and e.means != "SQ":
                e.action = "blank"
        other = e.known == "UI" or (e.known in TEXT and e.means not in TEXT)
        if e.action == "keep" and e.means != "SQ" and other:
            e.means = e.known
        # in a tag that the dictionary does not have, items are decided one by one
        e.veils = bool(place.veiled or (listed and e.action not in ("keep", "uid")))

    def body(self, e: Element, place: Place) -> int:
        undefined = e.length == UNDEFINED
        if e.value + (0 if undefined else e.length) > place.end:
            raise Refused("OVERRUN", e.at)
        self.decide(e, place)
        private = e.tag >> 16 & 1
        if e.vr == "SQ" or (e.vr is None and e.known == "SQ" and not private):
            return self.sequence(e, place, place.encoding)
        if undefined and e.means in ("OB", "OW") and e.vr != "UN":
            if e.tag != PIXELS and e.action == "keep":  # no other value is encapsulated
                e.action = "blank"
            return self.fragments(e, place)
        if undefined:
            if e.vr != "UN" and (e.vr or not (private or e.known is None)):
                raise Refused("BAD_UNDEFINED", e.at)
            self.need(e.value, 4)
            big = self.data[e.value : e.value + 2] == b"\xff\xfe"
            return self.sequence(e, place, Encoding(True, big), either=True)
        if e.means in ("UN", "SQ") and e.vr in (None, "UN") and e.length:
            return self.perhaps_items(e, place)
        return self.leaf(e, place)

    def leaf(self, e: Element, place: Place) -> int:
        """A value that holds no items."""
        action, tag, end = e.action, e.tag, e.value + e.length
        if e.means == "UI":
            action = {"keep": "check", "dummy": "uid"}.get(action, action)
            if action in ("uid", "check") and e.length > UID_LIMIT:
                raise Refused("TOO_LONG", e.at)
        elif action == "uid":
            action = "blank"
        if action == "document" and e.means in TEXT:
            action = "dummy"
        self.need(e.value, e.length)
        self.in_order(e, place)
        value = self.data[e.value : end]
        text_like = e.vr in TEXT or e.vr in (None, "UN")
        if is_block(tag) and text_like and e.length <= CREATOR and action != "zero":
            action, e.means = self.reserve(e, place, value.rstrip(b" \0").lstrip(b" ")), "LO"
        if place.depth == 0 and tag in WATCHED and not self.begun and not self.late:
            self.seen.setdefault(tag, slice(e.value, end))
        if place.record and tag in OF_RECORD:
            self.records[-1].setdefault(tag, slice(e.value, end))
        if place.veiled and tag == FRAMES:
            digits = b"".join(re.findall(rb"\d", value[:16]))
            place.image[8] = int(digits or b"0") if len(value) <= 16 else 0
        elif place.veiled and tag >> 16 == 0x28 and e.length == 2 and e.means == "US":
            place.image[tag & 0xFFFF] = self.number(e.value, 2, place.encoding.big)
        if value:
            new = self.answers.value
            self.do(lambda: self.put(e.value, new(action, e.means, value, self.second_run)))
        if place.depth == 0 and FLOAT_PIXELS <= tag <= PIXELS:
            self.past_pixels = True
        return end

    def reserve(self, e: Element, place: Place, name: bytes) -> str:
        """A private creator (PS3.5 section 7.8.1) stays where it is a known one."""
        if self.blocks == BLOCKS:
            raise Refused("TOO_MANY_BLOCKS", e.at)
        self.blocks += 1
        place.creators[e.tag >> 16, e.tag & 0xFF] = name
        return "keep" if name in self.rules.creators else "blank"

    def in_order(self, e: Element, place: Place) -> None:
        """What other values depend on stands once and in its place."""
        patient = e.tag == PATIENT_ID and place.depth == 0
        again = place.record and e.tag == PATIENT_ID and PATIENT_ID in self.records[-1]
        late = patient and place.last > self.barrier
        top = (MEDIA_CLASS, SYNTAX) if place.meta else (SOP_CLASS,)
        depended_on = (
            patient
            or e.tag == CHARACTER_SET
            or is_block(e.tag)
            or (place.depth == 0 and e.tag in top)
        )
        if late or again or (depended_on and e.tag <= place.last):
            raise Refused("MISPLACED", e.at)
        place.last = max(place.last, e.tag)

    # ---- sequences and fragments ---------------------------------------------------------------

    def sequence(self, e: Element, outer: Place, encoding: Encoding, either: bool = False) -> int:
        self.in_order(e, outer)
        if outer.depth == DEPTH:
            raise Refused("TOO_DEEP", e.value)
        at, end = e.value, outer.end if e.length == UNDEFINED else e.value + e.length
        while at < end:
            self.room(at, 8, end)
            tag, _, length, start = self.header(at, Encoding(True, encoding.big))
            if tag == ITEM:
                stop = end if length == UNDEFINED else start + length
                if stop > end:
                    raise Refused("OVERRUN", at)
                inner = Place(encoding, stop, length == UNDEFINED, e.veils, either)
                inner.depth = outer.depth + 1
                inner.record = self.directory and e.tag == RECORDS and outer.depth == 0
                self.records += [{}] * inner.record
                at = self.data_set(start, inner)
            elif tag in (SEQUENCE_END, ITEM_END) and length == 0:
                at = start
                if tag == SEQUENCE_END and e.length == UNDEFINED:
                    break
            else:
                raise Refused("EXPECTED_ITEM", at)
        return at

    def perhaps_items(self, e: Element, place: Place) -> int:
        """A value that may be a sequence although its VR does not say so."""
        if e.length >= 8:
            self.need(e.value, 4)
            orders = [big for big in (0, 1) if self.tag(e.value, Encoding(True, big)) == ITEM]
            if orders and e.length > TRIAL:
                return self.sequence(e, place, Encoding(True, bool(orders[0])), either=True)
            if orders:
                self.need(e.value, e.length)
                for encoding in [IMPLICIT, EXPLICIT] + [place.encoding] * place.encoding.big:
                    end = e.value + e.length
                    if self.tiles(e.value, end, False, encoding, 0) == end:
                        return self.sequence(e, place, encoding)
        if e.known == "SQ":
            raise Refused("NOT_ITEMS", e.at)
        return self.leaf(e, place)

    def fragments(self, e: Element, place: Place) -> int:
        """Encapsulated pixel data (PS3.5 section A.4)."""
        icon = e.tag == PIXELS and place.veiled
        if not icon:
            self.in_order(e, place)
            if place.depth == DEPTH:
                raise Refused("TOO_DEEP", e.value)
        at, end, tag = e.value, NOWHERE if icon else place.end, ITEM
        while tag == ITEM and at < end:
            if icon and at - e.value > ICON:
                raise Refused("ICON_TOO_LONG", e.at)
            self.room(at, 8, end)
            tag, _, length, value = self.header(at, Encoding(True, place.encoding.big))
            if tag == ITEM and length != UNDEFINED:
                if value + length > end:
                    raise Refused("OVERRUN", at)
                if not icon:
                    self.need(value, length)
                    if e.action != "keep":
                        self.do(lambda value=value, n=length: self.put(value, bytes(n)))
            elif tag != SEQUENCE_END or length:
                raise Refused("BAD_FRAGMENT", at)
            at = value + length
        if icon:
            if at > place.end:
                raise Refused("OVERRUN", e.at)
            self.in_order(e, place)
            self.do(lambda: self.icon(e, slice(e.value, at), place.image))
        elif place.depth == 0 and e.tag == PIXELS:
            self.past_pixels = True
        return at

    def icon(self, e: Element, value: slice, image: dict[int, int]) -> None:
        new = self.answers.pixels(self.syntax, self.data[value], image)
        if new is None:
            raise Refused("ICON", e.at)
        self.put(e.value, new)

    def sniff_item(self, at: int, place: Place) -> None:
        """The first header of an item may not be in the encoding around it (PS3.5 6.2.2)."""
        vr = self.data[at + 4 : at + 6]
        if place.fresh and place.either:
            place.encoding = Encoding(vr.decode("latin-1") not in VRS, place.encoding.big)
        elif place.fresh and not letters(vr):
            place.encoding = Encoding(True, place.encoding.big)
        place.fresh = False

    def text(self, tag: int) -> str:
        value = self.data[self.seen.get(tag, slice(0))]
        return value.partition(b"\0")[0].strip().decode("latin-1")

    def do(self, edit: Callable[[], None]) -> None:
        """Now, or once all is known that new values depend on."""
        if self.begun:
            edit()
        else:
            self.edits.append(edit)

    def put(self, at: int, new: bytes) -> None:
        self.out[at : at + len(new)] = new


def rewrite(data: bytes, rules: Rules, answers: Answers) -> bytes:
    """What dcmveil makes of the input. Raises Refused."""
    return Twin(data, rules, answers).file()
