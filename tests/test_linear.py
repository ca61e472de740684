"""Nothing is quadratic: four times the input takes about four times as long, never sixteen.

Time is noisy, and noise only adds to it: of the small input the shortest of three runs counts, in
processor time, right before and after the large one. The bound is one that only a wrong order of
growth breaks, and it has to be broken by every try.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import pytest

from build import DEFLATED, JPEG_BASELINE, E, Fragments, Item, encode, part10
from cases import KEY, Pieces, run_session
from dcmveil import Session, Veil
from directories import directory, patient, study

BOUND = 8
TRIES = 8
HEADER = E(0x00080060, "CS", "MR")
PATIENT = E(0x00100020, "LO", "DOE")


def elements(n: int) -> bytes:
    """The same few elements over and over, of every kind of action."""
    some = [E(0x00101000, "LO", "DOE"), E(0x00180050, "DS", "1.5"), E(0x0020000D, "UI", "1.2.3.4"),
            E(0x0040A160, "UT", "DOE")]  # fmt: skip
    return encode([HEADER]) + encode(some) * (n // 4)


def many_tags(n: int) -> bytes:
    return encode([HEADER]) + b"".join(
        encode([E(tag << 16 | element, "LO", "DOE")])
        for tag in range(0x2001, 0x2001 + 2 * (n // 1000), 2)
        for element in range(0x1000, 0x13E8)
    )


def uids(n: int) -> bytes:
    """Each another one, so that no cache helps."""
    return encode([HEADER]) + b"".join(
        encode([E(0x0020000D, "UI", f"1.2.3.{i}")]) for i in range(n)
    )


def values_of_one_uid(n: int) -> bytes:
    return encode([HEADER, E(0x0020000D, "UI", "\\".join(["1.2.3.4.5.6"] * n))], "implicit-le")


def items(n: int) -> bytes:
    return encode([HEADER, E(0x00081115, "SQ", [Item([HEADER])] * n)])


def items_before_patient_id(n: int) -> bytes:
    """All of them are held back."""
    return items(n) + encode([PATIENT])


def undefined_items(n: int) -> bytes:
    return encode([HEADER, E(0x00081115, "SQ", [Item([HEADER], True)] * n, undefined=True)])


def items_in_un(n: int) -> bytes:
    return encode([HEADER, E(0x00091001, "UN", encode_items(n))])


def encode_items(n: int) -> bytes:
    return encode([E(0x00091001, "SQ", [Item([HEADER])] * n)], "implicit-le")[8:]


def un_in_un(n: int) -> bytes:
    """Each holds the next one, and is tried for items."""
    inner = encode([HEADER], "implicit-le") * n
    for _ in range(60):
        inner = encode([E(0x00091001, "UN", [Item([inner])])], "implicit-le")
    return encode([HEADER], "implicit-le") + inner


def private_blocks(n: int) -> bytes:
    tags = [0x2001 + 2 * (i // 240) << 16 | 0x10 + i % 240 for i in range(n)]
    creators = encode([E(tag, "LO", "X") for tag in tags])
    inside = encode([E(tags[-1] & 0xFFFF0000 | 0x1001, "LO", "X")]) * 20
    return encode([HEADER]) + creators + inside * n


def fragments(n: int) -> bytes:
    return part10([HEADER, E(0x7FE00010, "OB", Fragments([b"ab"] * n))], JPEG_BASELINE)


def records(n: int) -> bytes:
    """Of a DICOMDIR: all below one patient, each next to the one before."""
    return directory([patient("P-1", *(study(i) for i in range(n)))])


def delimiters(n: int) -> bytes:
    return encode([HEADER]) + b"\xfe\xff\x0d\xe0\0\0\0\0" * n


def unknown_vrs(n: int) -> bytes:
    return encode([HEADER]) + b"\x18\0\x15\0ZZ\4\0\x81\x81\x81\x81\x18\0\x50\0DS\0\0" * n


def long_text(n: int) -> bytes:
    return encode([HEADER, E(0x00189423, "LT", b"x" * n)], "implicit-le")


def tail(n: int) -> bytes:
    return encode([HEADER, E(0x7FE00010, "OW", b"ab")]) + bytes(8) + b"x" * n


def deflated(n: int) -> bytes:
    return part10([PATIENT, E(0x7FE00010, "OW", b"pixel..." * n)], DEFLATED[0])


Run = Callable[[Veil, bytes], object]


def seconds(run: Run, data: bytes) -> float:
    """With a new veil, which knows none of the UIDs yet."""
    veil = Veil(key=KEY)
    start = time.process_time()
    run(veil, data)
    return time.process_time() - start


def check(run: Run, make: Callable[[int], bytes], n: int) -> None:
    small, large = make(n), make(4 * n)
    found = []
    for _ in range(TRIES):
        before = [seconds(run, small) for _ in range(2)]
        long = seconds(run, large)
        short = min(*before, seconds(run, small))
        if long < BOUND * short:
            return
        found.append(f"{long / short:.1f}")
    raise AssertionError(f"{', '.join(found)} times as long for 4 times as much")


@pytest.mark.parametrize(("make", "n"), [
    (elements, 50_000), (many_tags, 5_000), (uids, 5_000), (values_of_one_uid, 4_000),
    (items, 20_000), (items_before_patient_id, 20_000), (undefined_items, 20_000),
    (items_in_un, 20_000), (un_in_un, 2_000), (private_blocks, 1_000), (fragments, 50_000),
    (delimiters, 50_000), (unknown_vrs, 20_000), (deflated, 4_000), (records, 1_000),
])  # fmt: skip
def test_size(make: Callable[[int], bytes], n: int) -> None:
    check(Veil.bytes, make, n)


class Nowhere:
    def write(self, data: bytes | memoryview) -> int:
        return len(data)


@pytest.mark.parametrize("make", [long_text, tail])
def test_plain_bytes(make: Callable[[int], bytes]) -> None:
    """Not gathered: to get memory for an output takes longer than all that is done to it."""
    check(lambda veil, data: veil.stream(io.BytesIO(data), Nowhere()), make, 8_000_000)


def in_small_reads(veil: Veil, data: bytes, size: int = 64) -> None:
    session = Session(veil._engine, window=64)
    run_session(session, Pieces(data, range(size, len(data), size)))


def icon(n: int) -> bytes:
    """Its fragments are held until all are there."""
    pixels = E(0x7FE00010, "OB", Fragments([b""] * n))
    return encode([HEADER, PATIENT, E(0x00880200, "SQ", [Item([pixels])])])


@pytest.mark.parametrize(("make", "n"), [
    (elements, 4_000), (items, 2_000), (items_before_patient_id, 2_000), (items_in_un, 2_000),
    (fragments, 4_000), (unknown_vrs, 2_000), (long_text, 10_000), (long_text, 80_000),
    (tail, 40_000), (deflated, 40_000), (records, 500),
])  # fmt: skip
def test_small_reads(make: Callable[[int], bytes], n: int) -> None:
    """Whatever is held is not looked at again for each few bytes that come. A text past 64 KiB goes
    by as bulk: both sizes are on one side of it."""
    check(in_small_reads, make, n)


def test_small_reads_of_an_icon() -> None:
    check(lambda veil, data: in_small_reads(veil, data, 8), icon, 4_000)


@pytest.mark.parametrize("make", [elements, deflated])
def test_small_reads_of_the_reader(make: Callable[[int], bytes]) -> None:
    def run(veil: Veil, data: bytes) -> None:
        reader = veil.reader(io.BytesIO(data))
        while reader.read(16):
            pass

    check(run, make, 4_000)
