"""The fixed layout, value by value: what each action writes for each VR and length."""

from __future__ import annotations

import functools
import random
from itertools import product

import pytest
from pydicom import config
from pydicom.uid import UID
from pydicom.valuerep import validate_value

from build import NUMBER, VRS, E, encode
from dcmveil import core
from twin_rules import DIVIDED, TEXT, fixed

LONG_TEXT = 70001  # bytes: past the limit up to which a value is seen whole
LITERALS = {"set:YES": core.CUT, "set-or-keep:YES": core.LEAVE, "set-or-blank:YES": core.CLEAR}
ACTIONS = ["keep", "blank", "dummy", "uid", "document", *LITERALS]
LEAVES = [vr for vr in VRS if vr != "SQ"]  # a sequence has items, which have tests of their own
BYTES = sorted({"blank", "dummy"} | set(LITERALS))  # actions that look at nothing but the VR


def tag_of(vr: str, action: str) -> int:
    """Each pair has a tag, in a group that no dictionary knows."""
    return (0x2200 + 2 * VRS.index(vr)) << 16 | 0x0100 + ACTIONS.index(action)


@functools.cache
def rules() -> core.Rules:
    made = core.Rules()
    made.load(b"", b"")
    literals = {a: made.literal(a.partition(":")[2].encode(), how) for a, how in LITERALS.items()}
    codes = {"keep": core.KEEP, "blank": core.BLANK, "dummy": core.DUMMY, "uid": core.UID,
             "document": core.DOCUMENT} | dict.fromkeys(LITERALS, core.LITERAL)  # fmt: skip
    for vr, action in product(VRS, ACTIONS):
        tag = f"{tag_of(vr, action):08X}"
        made.set(tag, vr, codes[action], core.BLANK, literals.get(action))
    made.freeze()
    return made


def answer(asks: list[core.Ask]) -> list[core.Answer]:
    """Plain marks, so that it shows who was asked."""
    marks = {core.UID: b"u", core.CHECK_UID: b"c"}
    return [
        (b"%PDF", ord("."), b"EOF") if action == core.DOCUMENT else marks[action] * len(value)
        for action, value, *_ in asks
    ]


def written(vr: str, action: str, old: bytes, encoding: str = "explicit-le") -> bytes:
    data = encode([E(tag_of(vr, action), vr, old)], encoding)
    window = bytearray(data)
    status = core.Rewriter(rules(), answer).step(window, len(window), True)
    assert status == core.DONE
    start = len(data) - len(old)
    assert window[:start] == data[:start], "the header has changed"
    return bytes(window[start:])


def in_pieces(vr: str, action: str, old: bytes, size: int) -> bytes:
    """The same through a window that sees `size` new bytes at a time."""
    # a first header with a long value would not pass for implicit VR
    data = encode([E(tag_of("US", "keep"), "US"), E(tag_of(vr, action), vr, old)], "implicit-le")
    rewriter = core.Rewriter(rules(), answer)
    window, filled, at, out = bytearray(1 << 18), 0, 0, bytearray()
    status = core.MORE
    while status != core.DONE:
        part = data[at : at + size]
        at += len(part)
        window[filled : filled + len(part)] = part
        filled += len(part)
        status = rewriter.step(window, filled, not part)
        settled = min(rewriter.position - rewriter.base, filled)
        out += window[:settled]
        window[: filled - settled] = window[settled:filled]
        filled -= settled
        rewriter.drop(settled)
        if status == core.SKIP:
            out += data[at : at + rewriter.skip]
            at += rewriter.skip
            rewriter.drop(rewriter.skip)
    assert out[:16] == data[:16]
    return bytes(out[16:])


def check_valid(vr: str, new: bytes) -> None:
    """By pydicom where it has a validator; empty values are valid in every VR."""
    if vr in NUMBER or vr in ("AT", "UN"):
        return  # any bytes are
    text = new.decode("ascii").rstrip("\0" if vr == "UI" else " ")
    for value in text.split("\\") if vr in DIVIDED or vr == "UI" else [text]:
        if value.strip() not in ("", "1900.01.01"):  # the old form of a date, where it was there
            validate_value(vr, value.rstrip(), config.RAISE)
        if vr == "UI" and value:
            assert UID(value).is_valid


# -- literals ------------------------------------------------------------------------------------

TABLE = [
    # vr, action, old, new
    ("AE", "blank", b"PACS01", b"ANON  "),  # spaces alone are forbidden
    ("AE", "blank", b"PAC", b"ANO"),
    ("AE", "dummy", b"PACS01\\P ", b"ANON  \\AN"),
    ("AS", "blank", b"062Y", b"    "),
    ("AS", "dummy", b"062Y", b"000Y"),
    ("AS", "dummy", b"62", b"  "),
    ("AS", "dummy", b"062Y\\007M", b"000Y\\000Y"),
    ("AT", "dummy", b"\x10\0\x20\0", bytes(4)),
    ("CS", "blank", b"HEAD", b"    "),
    ("CS", "dummy", b"HEAD\\NECK ", b"ANON\\ANON "),
    ("CS", "dummy", b"\\\\", b"\\\\"),
    ("DA", "blank", b"20240229", b"        "),
    ("DA", "dummy", b"20240229", b"19000101"),
    ("DA", "dummy", b"2024.02.29", b"1900.01.01"),
    ("DA", "dummy", b"20240229-20240301 ", b"19000101          "),
    ("DA", "dummy", b"20240229\\20240301 ", b"19000101\\19000101 "),
    ("DA", "dummy", b"202402", b"      "),
    ("DS", "dummy", b"71.5", b"0   "),
    ("DS", "dummy", b"1\\22\\333 ", b"0\\0 \\0   "),
    ("DT", "dummy", b"2024", b"1900"),
    ("DT", "dummy", b"202402291015", b"190001010000"),
    ("DT", "dummy", b"20240229101530.250000", b"19000101000000.000000"),
    ("DT", "dummy", b"20240229101530.250000+0100", b"19000101000000.000000     "),
    ("DT", "dummy", b"20240229101530.", b"19000101000000 "),
    ("FD", "blank", b"\1" * 8, bytes(8)),
    ("IS", "dummy", b"4711", b"0   "),
    ("LO", "blank", b"Doe, ward 7", b"           "),
    ("LO", "dummy", b"Doe\\ward 7 ", b"ANON       "),  # 5C may be half of a character
    ("LT", "dummy", b"ab", b"AN"),
    ("PN", "dummy", b"DOE^JOHN=X", b"ANON      "),
    ("PN", "dummy", b"D", b"A"),
    ("TM", "dummy", b"101530.25 ", b"000000.000"),
    ("TM", "dummy", b"1015", b"0000"),
    ("TM", "dummy", b"10153", b"0000 "),
    ("TM", "dummy", b"101530.", b"000000 "),
    ("TM", "dummy", b"1", b" "),
    ("TM", "dummy", b"10:15:30", b"000000.0"),
    ("UC", "dummy", b"A\\BCDEFG", b"ANON    "),
    ("UI", "blank", b"1.2.3\0", bytes(6)),
    ("UI", "dummy", b"1.2.3\0", b"uuuuuu"),
    ("UI", "keep", b"1.2.3\0", b"cccccc"),
    ("LO", "uid", b"1.2.3 ", b"      "),  # a UID where none belongs
    ("OB", "uid", b"1.2.3\0", bytes(6)),
    ("UN", "blank", b"secret", bytes(6)),
    ("UR", "dummy", b"http://a", b"        "),
    ("US", "dummy", b"\1\2", bytes(2)),
    ("CS", "set:YES", b"NO", b"YE"),
    ("CS", "set:YES", b"NEVER ", b"YES   "),
    ("CS", "set-or-keep:YES", b"NO", b"NO"),
    ("CS", "set-or-blank:YES", b"NO", b"  "),
    ("UI", "set:YES", b"1.2.3\0", b"YES\0\0\0"),
    ("UI", "set-or-blank:YES", b"1\0", bytes(2)),
    ("OB", "set:YES", b"NEVER!", bytes(6)),
    ("OB", "set-or-keep:YES", b"NEVER!", bytes(6)),
    ("LO", "keep", b"all of it ", b"all of it "),
    ("LO", "keep", b"seen\0hid ", b"seen\0\0\0\0\0"),
    ("OB", "keep", b"a\0b", b"a\0b"),
    ("LT", "document", b"a letter", b"ANON    "),
    ("OB", "document", b"x" * 10, b"%PDF...EOF"),
    ("UN", "document", b"x" * 8, b"%PDF.EOF"),
]  # fmt: skip


@pytest.mark.parametrize(("vr", "action", "old", "new"), TABLE)
@pytest.mark.parametrize("encoding", ["explicit-le", "implicit-le", "explicit-be"])
def test_literals(encoding: str, vr: str, action: str, old: bytes, new: bytes) -> None:
    assert written(vr, action, old, encoding) == new


# -- all of them ---------------------------------------------------------------------------------


def olds(n: int) -> list[bytes]:
    """Values of n bytes: plain, of many values, with points, with NULs, with anything."""
    some = random.Random(n)
    return [
        b"A" * n,
        (b"12\\3\\\\45678901\\" * 2)[:n],
        (b"2024.02.29\\" * 3)[:n],
        (b"ab\0" * n)[:n],
        some.randbytes(n),
        bytes(some.choice(b"\\.A\0 ") for _ in range(n)),
    ]


@pytest.mark.parametrize("action", BYTES)
@pytest.mark.parametrize("vr", LEAVES)
def test_every_vr_and_length(vr: str, action: str) -> None:
    """As the twin has it, as long as before, and valid."""
    for n in range(25):
        for old in olds(n):
            if vr == "UI" and action == "dummy":
                assert written(vr, action, old) == b"u" * n
                continue
            new = written(vr, action, old)
            assert len(new) == n
            assert new == fixed(action, vr, old)
            if action in ("blank", "dummy"):
                check_valid(vr, new)


@pytest.mark.parametrize("vr", LEAVES)
def test_kept_values(vr: str) -> None:
    for n in range(25):
        for old in olds(n):
            new = b"c" * n if vr == "UI" else fixed("keep", vr, old)
            assert written(vr, "keep", old) == new


@pytest.mark.parametrize("vr", LEAVES)
def test_uid_where_none_belongs(vr: str) -> None:
    for n in range(25):
        new = b"u" * n if vr == "UI" else fixed("blank", vr, b"1" * n)
        assert written(vr, "uid", b"1" * n) == new


@pytest.mark.parametrize("vr", LEAVES)
@pytest.mark.parametrize("action", ["keep", "document", *BYTES])
def test_over_the_whole_limit(vr: str, action: str) -> None:
    """Past the limit what is written depends on the place in the value alone."""
    old = (b"AB\\2024.02.29\\" * LONG_TEXT)[:LONG_TEXT]
    if vr == "UI" and action in ("keep", "dummy", "document"):
        expected = {"keep": b"c", "dummy": b"u"}.get(action, b"") * LONG_TEXT
    else:
        expected = fixed("dummy" if action == "document" else action, vr, old)
    if action == "document" and vr not in TEXT:
        expected = b"%PDF".ljust(LONG_TEXT - 3, b".") + b"EOF"
    for size in (1 << 18, 4096, 999):
        assert in_pieces(vr, action, old, size) == expected
    if action in ("blank", "dummy") and vr in TEXT:
        check_valid(vr, expected)


@pytest.mark.parametrize("nul", [0, 65535, 65536, 69999, 70000])
def test_text_after_a_nul_over_the_whole_limit(nul: int) -> None:
    old = b"a" * nul + b"\0" + b"b" * (LONG_TEXT - nul - 1)
    for size in (1 << 18, 4096, 999, nul + 17):
        assert in_pieces("LT", "keep", old, size) == old[:nul] + bytes(LONG_TEXT - nul)


@pytest.mark.parametrize("vr", [vr for vr in VRS if vr in TEXT])
def test_nothing_of_the_old_value_is_left(vr: str) -> None:
    """Neither a character nor, but for the number of its values, its form."""
    for n, action in product(range(1, 40), ("blank", "dummy")):
        one, other = b"\x81" * n, b"\x93" * n
        assert written(vr, action, one) == written(vr, action, other)
