"""Files that readers disagree about. A canary stands where some reader would show it as an
attribute that the profile takes away. The file is refused, or no reader shows the canary in what
comes out, and no search of the bytes finds it.

A case whose name begins with `bulk` has the canary inside a value that the profile keeps, encoded
as an element: there it stays as bytes, but nobody may take it for the element.
"""

from __future__ import annotations

import functools
import itertools
import struct
import zlib
from collections.abc import Iterator

import pytest

import dcmveil
import readers
from build import (
    DEFLATED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    ITEM,
    ITEM_END,
    JPEG_BASELINE,
    LONG_HEADER,
    SEQUENCE_END,
    UNDEFINED,
    E,
    Fragments,
    Item,
    deflate,
    encode,
    encoding_of,
    even,
    part10,
)

KEY = bytes(range(32))
CANARY = b"CANARYQX"
ENCODINGS = ("explicit-le", "implicit-le", "explicit-be")
SYNTAX_OF = dict(zip(ENCODINGS, (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE), strict=True))
SYNTAXES = {**SYNTAX_OF, "deflated": DEFLATED[0], "jpeg": JPEG_BASELINE, "private": "1.2.3.4.5"}
WALKED = 0x52009229  # Shared Functional Groups Sequence, kept
BULK = (0x00281201, 0x00660025, 0x00282000, 0x7FE00010)  # kept
MR = "1.2.840.10008.5.1.4.1.1.4"
VOICE = "1.2.840.10008.5.1.4.1.1.9.4.1"
FIRST = E(0x00080016, "UI", MR)
NAME = E(0x00100010, "PN", CANARY)
TEXT = E(0x00104000, "LT", CANARY)
PIXELS = E(0x7FE00010, "OW", bytes(64))
ROWS = E(0x00280010, "US", [8])


def marker(tag: int, length: int = 0) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)


def seq(tag: int, *elements: E | bytes, vr: str = "SQ", undefined: bool = False) -> E:
    return E(tag, vr, [Item(list(elements), undefined)], undefined=undefined)


def header(tag: int, vr: str, length: int) -> bytes:
    if vr in LONG_HEADER:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, length)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length)


def file(*elements: E | bytes, syntax: str = EXPLICIT_LE) -> bytes:
    return part10([FIRST, *elements], syntax)


def with_body(body: bytes, syntax: str) -> bytes:
    """The usual file meta information of a transfer syntax, and then any bytes."""
    head = part10([], syntax)
    return head[: -len(deflate(b""))] + body if syntax in DEFLATED else head + body


# -- the cases -------------------------------------------------------------------------------

Cases = Iterator[tuple[str, bytes]]


def repeated() -> Cases:
    old = E(0x00100010, "PN", "DOE^JANE")
    for syntax in SYNTAX_OF.values():
        yield f"name twice {syntax}", file(old, NAME, syntax=syntax)
        yield f"name twice, the other way {syntax}", file(NAME, old, syntax=syntax)
        yield f"name twice in an item {syntax}", file(seq(WALKED, old, NAME), syntax=syntax)
        yield f"sequence twice {syntax}", file(seq(WALKED, ROWS), seq(WALKED, NAME), syntax=syntax)
        yield f"name after pixel data {syntax}", file(PIXELS, NAME, syntax=syntax)
        yield f"name before its group {syntax}", file(ROWS, NAME, syntax=syntax)
    yield "second pixel data", file(PIXELS, PIXELS, NAME)
    fragments = E(0x7FE00010, "OB", Fragments([b"", b"ab"]))
    yield "pixel data of both kinds", file(fragments, PIXELS, NAME, syntax=JPEG_BASELINE)


def voices() -> Cases:
    """A waveform is a voice by its SOP Class: by which, where there are two, or none in place?"""
    wave = seq(0x54000100, E(0x54001010, "OW", CANARY))
    voice, other = E(0x00080016, "UI", VOICE), FIRST
    yield "voice, then another class", part10([voice, other, wave])
    yield "another class, then voice", part10([other, voice, wave])
    yield "voice after Patient ID", part10([E(0x00100020, "LO", "1"), voice, wave])
    meta = [E(0x00020002, "UI", VOICE), E(0x00020010, "UI", EXPLICIT_LE)]
    yield "voice in the file meta information", part10([E(0x00100020, "LO", "1"), wave], meta=meta)
    yield "voice there, and another class", part10([FIRST, wave], meta=meta)
    yield "voice in another VR", part10([E(0x00080016, "LO", VOICE), wave])
    yield "voice, padded twice", part10([E(0x00080016, "UI", VOICE.encode() + b" \0\0"), wave])
    meta = [E(0x00020002, "UI", MR), E(0x00020002, "UI", VOICE), E(0x00020010, "UI", EXPLICIT_LE)]
    yield "two classes in the file meta information", part10([ROWS, wave], meta=meta)


def meta_in_the_data_set() -> Cases:
    sender = E(0x00020016, "AE", CANARY)
    for name, syntax in SYNTAX_OF.items():
        yield f"meta element behind {name}", file(ROWS, sender, syntax=syntax)
        yield f"meta element in an item {name}", file(seq(WALKED, sender), syntax=syntax)
        for other in SYNTAX_OF.values():
            again = encode([E(0x00020010, "UI", other), sender])
            yield f"all the meta behind {name}, {other}", file(ROWS, again, NAME, syntax=syntax)
    for one, two in itertools.permutations(SYNTAXES.values(), 2):
        meta = [E(0x00020010, "UI", one), E(0x00020010, "UI", two)]
        yield f"two transfer syntaxes {one} {two}", part10([FIRST, NAME], one, meta=meta)


def syntaxes_that_lie() -> Cases:
    for (told, syntax), real in itertools.product(SYNTAXES.items(), (*ENCODINGS, "deflated")):
        body = encode([FIRST, ROWS, NAME], "explicit-le" if real == "deflated" else real)
        if real == "deflated":
            body = deflate(body)
        yield f"{told}, but {real}", with_body(body, syntax)
        large = E(0x7FE00010, "OW", encode([NAME], real if real in ENCODINGS else "explicit-le"))
        if real != "deflated":
            yield f"bulk, {told}, but {real}", with_body(encode([FIRST, large], real), syntax)
    body = encode([FIRST, NAME])
    yield "zlib in place of deflate", with_body(zlib.compress(body), DEFLATED[0])
    yield "two deflated streams", with_body(deflate(encode([FIRST])) + deflate(body), DEFLATED[0])
    yield "plain behind deflated", with_body(deflate(encode([FIRST])) + body, DEFLATED[0])


def mixed_encodings() -> Cases:
    for outer, inner in itertools.permutations(ENCODINGS, 2):
        syntax = SYNTAX_OF[outer]
        inside = encode([E(0x00080104, "LO", "x"), NAME], inner)
        for undefined, closed in itertools.product((False, True), repeat=2):
            item = Item([inside], undefined=closed)
            of = E(WALKED, "SQ", [item], undefined=undefined)
            yield f"{inner} item in {outer} {undefined} {closed}", file(of, syntax=syntax)
        yield f"{inner} element in {outer}", file(ROWS, encode([NAME], inner), syntax=syntax)
        yield f"{inner} at the end of {outer}", file(PIXELS, encode([NAME], inner), syntax=syntax)
        private = seq(0x00091001, inside)
        yield f"{inner} in a private {outer}", file(private, syntax=syntax)


def lengths_that_overlap() -> Cases:
    inside = encode([ROWS, NAME])
    for syntax, undefined in itertools.product(SYNTAX_OF.values(), (False, True)):
        body = [encode([ROWS, NAME], encoding_of(syntax))]
        size = len(body[0])
        for lie in {size - 18, size - 8, size - 1, size + 1, size + 8, size + 400, 0, 10}:
            items = [Item(body, length=lie)]
            of = E(WALKED, "SQ", items, undefined=undefined)
            yield f"item of {lie} {undefined} {syntax}", file(of, NAME, PIXELS, syntax=syntax)
        for lie in {0, 8, 10, size, size + 6, size + 16, size + 200}:
            of = E(WALKED, "SQ", [Item(body, undefined)], length=lie)
            yield f"sequence of {lie} {undefined} {syntax}", file(of, NAME, PIXELS, syntax=syntax)
            outer = E(0x00081140, "SQ", [Item([of, ROWS])], undefined=undefined)
            yield f"and in an item {lie} {undefined} {syntax}", file(outer, NAME, syntax=syntax)
    for lie in (0, 2, 4, 6, 10, 12, 16, 18, 26, 1000):
        yield f"name of {lie}", file(E(0x00100010, "PN", CANARY, length=lie), ROWS, PIXELS)
        kept = E(0x00180015, "CS", b"HEAD", length=lie)
        yield f"kept text of {lie}", file(kept, NAME, ROWS, PIXELS)
        numbers = E(0x00280010, "US", [1], length=lie)
        yield f"bulk, a number of {lie}", file(numbers, NAME, PIXELS)
        bulk = E(0x00282000, "OB", b"abcd", length=lie)
        yield f"bulk, of {lie}", file(bulk, NAME, PIXELS)
    yield (
        "items that end early",
        file(E(WALKED, "SQ", [Item([inside[:10], NAME], length=10)]), ROWS),
    )


def delimiters() -> Cases:
    ends = [marker(ITEM_END), marker(SEQUENCE_END), marker(ITEM_END) + marker(SEQUENCE_END)]
    for i, end in enumerate(ends):
        hidden = end + encode([NAME])
        for vr in ("LT", "UT", "UN"):
            kept = E(0x00720068, vr, hidden)
            yield f"{i} inside {vr}", file(seq(WALKED, kept, undefined=True), ROWS)
        for tag in (0x00091001, 0x00660025, 0x00281201):
            for vr in ("OB", "OW", "UN"):
                value = E(tag, vr, Fragments([b"", hidden]))
                yield f"{i} inside a fragment {vr} {tag:08X}", file(value, ROWS)
        text = E(0x00104000, "LT", b"xx" + end + CANARY)
        yield f"{i} inside a listed text", file(seq(WALKED, text, undefined=True))
    for syntax in (EXPLICIT_LE, IMPLICIT_LE):
        start = encode([E(WALKED, "SQ", length=UNDEFINED)], encoding_of(syntax))
        rows, name = (encode([e], encoding_of(syntax)) for e in (ROWS, NAME))
        item, closed = marker(ITEM, UNDEFINED), marker(ITEM, len(rows))
        last, end = marker(ITEM_END), marker(SEQUENCE_END)
        shapes = {
            "item delimiter for the sequence": [item, rows, last, last, name],
            "and another item": [item, rows, last, last, item, name, last, end],
            "sequence delimiter for the item": [item, rows, end, name],
            "and then its own": [item, rows, end, last, name],
            "and both": [item, rows, end, last, end, name],
            "delimiter in a closed item": [closed, rows, last, end, name],
            "none for the item": [item, rows, item, name, last, end],
            "none for the sequence": [closed, rows, name],
            "none at all": [item, rows, name],
            "two for the sequence": [item, rows, last, end, end, name],
            "two for the item": [item, rows, last, last, end, name],
            "with a length": [item, rows, marker(ITEM_END, 8), name],
            "sequence delimiter with a length": [item, rows, last, marker(SEQUENCE_END, 16), name],
            "item outside": [item, rows, last, end, item, name, last],
            "closed item outside": [item, rows, last, end, marker(ITEM, len(name)), name],
        }
        for name_, parts in shapes.items():
            yield f"{name_} {syntax}", file(start, *parts, syntax=syntax)
            tail = encode([PIXELS], encoding_of(syntax))
            yield f"{name_}, pixels before {syntax}", file(tail, start, *parts, syntax=syntax)


def unknown_values() -> Cases:
    for inner, undefined in itertools.product(ENCODINGS, (False, True)):
        items = encode([seq(WALKED, ROWS, NAME, undefined=undefined)], inner)
        items = items[8 if inner == "implicit-le" else 12 :]
        for tag in (WALKED, 0x00081140, 0x00091001, 0x00081FF0, 0x00180015, 0x00420011, 0x00189004,
                    *BULK):  # fmt: skip
            bulk = "bulk, " * (tag in BULK)
            for syntax in (EXPLICIT_LE, EXPLICIT_BE):
                un = E(tag, "UN", items, length=UNDEFINED if undefined else None)
                yield f"{bulk}{inner} in UN {tag:08X} {undefined} {syntax}", file(un, syntax=syntax)
            for vr in ("OB", "OW", "UT", "LT", "OF"):
                if vr not in LONG_HEADER and undefined:
                    continue
                other = E(tag, vr, items, length=UNDEFINED if undefined else None)
                yield f"{bulk}{inner} in {vr} {tag:08X} {undefined}", file(other)
            other = E(tag, "OB", items, length=UNDEFINED if undefined else None)
            yield (
                f"{bulk}{inner} in implicit {tag:08X} {undefined}",
                file(other, syntax=IMPLICIT_LE),
            )
    for vr in ("OB", "UT", "UC", "UR", "OW", "OF", "OD", "UV", "LO", "PN", "AT"):
        start = header(0x00104000, vr, UNDEFINED if vr in LONG_HEADER else 0xFFFF)
        yield f"{vr} without an end", file(start, CANARY, marker(SEQUENCE_END), ROWS)
        yield (
            f"{vr} without an end, items",
            file(start, marker(ITEM, 8), CANARY, marker(SEQUENCE_END), ROWS),
        )
        yield f"{vr} without any end", file(start, CANARY)


def odd_headers() -> Cases:
    for vr in (b"pn", b"Pn", b"lo", b"un", b"ZZ", b"??", b"  ", b"\0\0", b"P\0", b"OX", b"ox"):
        for length in (struct.pack("<H", 8), struct.pack("<HI", 0, 8)):
            odd = b"\x10\0\x10\0" + vr + length + CANARY
            yield f"{vr!r} of {len(length)}", file(odd, E(0x00100020, "LO", "1"), ROWS)
            yield f"{vr!r} of {len(length)} at the end", file(ROWS, odd)
            yield f"{vr!r} of {len(length)} in an item", file(seq(WALKED, odd, ROWS), ROWS)
            yield f"{vr!r} of {len(length)} after pixels", file(PIXELS, odd)
            yield (
                f"kept, {vr!r} of {len(length)}",
                file(b"\x18\0\x15\0" + vr + length + b"HEADCHST", NAME, ROWS),
            )
    for vr in ("PN", "LO", "CS", "LT", "US"):  # a long header where a short one belongs
        odd = struct.pack("<HH2sHI", 0x10, 0x10, vr.encode(), 0, 8) + CANARY
        yield f"reserved bytes in {vr}", file(odd, ROWS)
        yield f"reserved bytes in {vr}, in an item", file(seq(WALKED, odd, ROWS))
        yield f"reserved bytes in {vr}, at the end", file(ROWS, odd)
    for vr in ("OB", "UN", "UT", "SQ"):  # and the reverse
        odd = struct.pack("<HH2sH", 0x10, 0x10, vr.encode(), 8) + CANARY
        yield f"short {vr}", file(odd, ROWS, PIXELS)
        yield f"short {vr} at the end", file(ROWS, odd)
        odd = struct.pack("<HH2sHI", 0x10, 0x4000, vr.encode(), 0x5158, 8) + CANARY
        yield f"reserved bytes of {vr} in use", file(odd, ROWS)
    for n in (1, 3, 5, 7):
        for syntax in SYNTAX_OF.values():
            odd_name = E(0x00100010, "PN", CANARY + b"ABCDEFGH"[:n])
            yield f"odd name {n} {syntax}", file(odd_name, ROWS, syntax=syntax)
            padded = E(0x00180015, "CS", b"HEAD   "[:n], length=n)
            yield f"odd and padded {n} {syntax}", file(padded, b" ", NAME, ROWS, syntax=syntax)
            yield f"odd {n} {syntax}", file(padded, NAME, ROWS, syntax=syntax)
            inside = seq(WALKED, padded, NAME)
            yield f"odd in an item {n} {syntax}", file(inside, NAME, syntax=syntax)


def text_in_other_clothes() -> Cases:
    hidden = "1.2.840.10008.5.1.4.1.1.4.4711081519700101"
    for vr in ("LO", "LT", "UT", "UN"):
        method = E(0x00120063, vr, b"x\0" + CANARY + b"\0")
        yield f"NUL in a method that is too short to change as {vr}", file(method)
    for vr in ("OB", "OW", "LO", "UN", "UT", "SH"):
        yield f"NUL in a kept text as {vr}", file(E(0x00180015, vr, b"HEAD\0" + CANARY + b"\0"))
        yield f"UID as {vr}", part10([E(0x00080016, vr, CANARY), ROWS])
        yield f"UID of an item as {vr}", file(seq(WALKED, E(0x00081150, vr, CANARY)))
        yield f"unregistered UID as {vr}", part10([E(0x00080016, vr, hidden), ROWS])
        yield f"name as {vr}", file(E(0x00100010, vr, CANARY))
        yield f"unlisted name as {vr}", file(E(0x0040A123, vr, CANARY))


def second_data_sets() -> Cases:
    first = {"pixels": file(PIXELS), "no pixels": file(ROWS)}
    first["fragments"] = file(E(0x7FE00010, "OB", Fragments([b"", b"ab"])), syntax=JPEG_BASELINE)
    first["padding"] = file(PIXELS, E(0xFFFCFFFC, "OB", bytes(8)))
    first["zeros"] = file(ROWS) + bytes(8)
    for name, start in first.items():
        for syntax in SYNTAX_OF.values():
            yield f"a file behind {name} {syntax}", start + file(NAME, syntax=syntax)
            without = file(NAME, syntax=syntax)[132:]
            yield f"a file without preamble behind {name} {syntax}", start + without
            yield f"a data set behind {name} {syntax}", start + encode([NAME], encoding_of(syntax))
        yield f"a fragment behind {name}", start + marker(ITEM, 8) + CANARY + marker(SEQUENCE_END)
        yield f"a VR in a length behind {name}", start + marker(ITEM, 0x4F4C) + CANARY
        yield f"garbage behind {name}", start + CANARY
        yield f"odd garbage behind {name}", start + b"\1" + CANARY
        yield f"zeros and a name behind {name}", start + bytes(8) + encode([NAME])
    yield "a data set in the preamble", encode([FIRST, NAME]).ljust(128, b"\0") + file(ROWS)[128:]
    yield "prefix without preamble", b"DICM" + file(NAME)[132:]
    yield "two preambles", bytes(128) + b"DICM" + file(NAME)


def group_lengths() -> Cases:
    def lie(data: bytes, length: int) -> bytes:
        return data[:140] + struct.pack("<I", length) + data[144:]

    for name, syntax in SYNTAX_OF.items():
        good = file(ROWS, NAME, TEXT, syntax=syntax)
        true = struct.unpack_from("<I", good, 140)[0]
        sender = part10([ROWS, NAME], syntax, meta=[
            E(0x00020002, "UI", MR), E(0x00020010, "UI", syntax), E(0x00020016, "AE", CANARY),
            E(0x00020035, "OB", CANARY), E(0x00021001, "LO", CANARY),
        ])  # fmt: skip
        for wrong in (0, 1, 8, 14, 36, 64, true - 8, true - 2, true + 2, true + 8, true + 10,
                      true + 18, true + 34, true + 500, UNDEFINED):  # fmt: skip
            yield f"meta of {wrong} {name}", lie(good, wrong)
            yield f"meta with a sender of {wrong} {name}", lie(sender, wrong)
        for group, length in itertools.product((0x0008, 0x0010, 0x0028), (0, 4, 10, 400)):
            lies = E(group << 16, "UL", [length])
            elements = sorted([FIRST, NAME, ROWS, lies], key=lambda e: e.tag)
            yield f"group {group:04X} of {length} {name}", part10(elements, syntax)
    meta = [E(0x00020001, "OB", b"\0\1" + CANARY), E(0x00020010, "UI", EXPLICIT_LE)]
    yield "a long version", part10([FIRST], meta=meta)
    meta = [E(0x00020000, "UL", CANARY), E(0x00020010, "UI", EXPLICIT_LE)]
    yield "a canary for a length", part10([FIRST, NAME], meta=meta)
    yield "a canary for a group length", file(E(0x00100000, "UL", CANARY), ROWS)
    yield "a text for a group length", file(E(0x00100000, "LO", CANARY), ROWS)
    yield "a name of a group length", file(E(0x00110000, "LO", CANARY), ROWS)


def private_creators() -> Cases:
    known, safe = "GEMS_IDEN_01", 0x000910E7
    for syntax in SYNTAX_OF.values():
        for name, elements in {
            "twice": [(0x00090010, known), (0x00090010, "ACME"), (safe, CANARY)],
            "twice, the other way": [(0x00090010, "ACME"), (0x00090010, known), (safe, CANARY)],
            "behind": [(safe, CANARY), (0x00090010, known)],
            "of another block": [(0x00090011, known), (safe, CANARY)],
            "of another group": [(0x000B0010, known), (safe, CANARY)],
            "with a NUL": [(0x00090010, known + "\0" + CANARY.decode()), (safe, "x")],
            "that is a canary": [(0x00090010, CANARY.decode()), (safe, "x")],
        }.items():
            made = [
                E(tag, "LO", v if isinstance(v, bytes) else even(v.encode())) for tag, v in elements
            ]
            yield f"creator {name} {syntax}", file(*made, syntax=syntax)
        outer = [E(0x00090010, "LO", known), seq(WALKED, E(safe, "LO", CANARY))]
        yield f"creator outside {syntax}", file(*outer, syntax=syntax)
        inner = [seq(0x00081140, E(0x00090010, "LO", known)), E(safe, "LO", CANARY)]
        yield f"creator inside {syntax}", file(*inner, syntax=syntax)


FAMILIES = (
    repeated, voices, meta_in_the_data_set, syntaxes_that_lie, mixed_encodings,
    lengths_that_overlap, delimiters, unknown_values, odd_headers, text_in_other_clothes,
    second_data_sets, group_lengths, private_creators,
)  # fmt: skip


# -- judging ---------------------------------------------------------------------------------

HIDDEN = b"4711081519700101"


def shows(dump: readers.Dump, name: str) -> bool:
    if name.startswith("bulk"):
        return any(line.value == CANARY.decode() for line in dump.lines)
    return CANARY.decode() in dump.text() or HIDDEN.decode() in dump.text()


def forms(data: bytes) -> Iterator[bytes]:
    """The bytes as they are, and what is deflated somewhere in them."""
    yield data
    for start in range(132, min(len(data), 600)):
        try:
            yield zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:])
        except zlib.error:
            continue


def found_in(data: bytes) -> bool:
    words = (CANARY, HIDDEN, b"AACRNXYQ")  # the last in the byte order of 16-bit words
    return any(word in form for form in forms(data) for word in words)


@functools.cache
def rewritten(family: object) -> dict[str, tuple[bytes, bytes | None]]:
    """name -> (input, output; None: refused)."""
    veil = dcmveil.Veil("basic", key=KEY)
    found: dict[str, tuple[bytes, bytes | None]] = {}
    for name, data in family():  # type: ignore[operator]
        assert name not in found, name
        try:
            found[name] = data, veil.bytes(data)
        except dcmveil.DicomError:
            found[name] = data, None
    return found


each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)


@each_family
def test_the_canary_is_there_before(family: object) -> None:
    """Or nothing was tried."""
    assert [name for name, (old, _) in rewritten(family).items() if not found_in(old)] == []


@each_family
def test_no_search_finds_it(family: object) -> None:
    outputs = {name: new for name, (_, new) in rewritten(family).items() if new is not None}
    left = [name for name, new in outputs.items() if found_in(new)]
    assert [name for name in left if not name.startswith("bulk")] == []


@each_family
def test_no_reader_shows_it(family: object) -> None:
    outputs = {name: new for name, (_, new) in rewritten(family).items() if new is not None}
    # what stands nowhere in the file is shown by nobody: readers are asked where it may be
    dumps = readers.dump_all(list(outputs.values()), patient=True)
    left = [
        f"{reader}: {name}"
        for reader, seen in dumps.items()
        for name, dump in zip(outputs, seen, strict=True)
        if shows(dump, name)
    ]
    assert left == []


def test_enough_of_each_is_not_refused() -> None:
    """A tool that refuses everything leaks nothing, and is of no use."""
    taken = {f.__name__: sum(new is not None for _, new in rewritten(f).values()) for f in FAMILIES}
    assert all(taken.values()), taken
    assert sum(taken.values()) > 300, taken


def test_a_reader_shows_what_was_not_rewritten() -> None:
    """The readers and the search can find a canary at all."""
    data = file(NAME, ROWS)
    assert found_in(data)
    assert found_in(file(NAME, syntax=DEFLATED[0]))
    for reader, dumps in readers.dump_all([data], patient=True).items():
        assert shows(dumps[0], ""), reader
        assert shows(dumps[0], "bulk"), reader
