"""However an input is cut into reads, and through whatever face it goes, the output is the same.

The inputs that once were not, or still are not, stand here too.
"""

from __future__ import annotations

import io
import random

import pytest

from build import (
    DEFLATED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_BASELINE,
    E,
    Fragments,
    Item,
    encode,
    part10,
    sample,
    sample_elements,
)
from cases import KEY, Pieces, Refusal, check_case, run_bytes, run_session, veil
from dcmveil import Session, Veil
from dcmveil.session import WINDOW

MODALITY = E(0x00080060, "CS", "MR")
PATIENT = E(0x00100020, "LO", "HOSP-4711")


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("encoding", ["explicit-le", "implicit-le", "explicit-be"])
def test_samples(encoding: str, undefined: bool) -> None:
    data = sample(encoding, undefined)
    new = check_case(data, splits=len(data))
    assert isinstance(new, bytes)
    assert len(new) == len(data)
    assert b"DOE" not in new


@pytest.mark.parametrize("syntax", [*DEFLATED, JPEG_BASELINE, "1.2.3.4.5", ""])
def test_transfer_syntaxes(syntax: str) -> None:
    check_case(part10(sample_elements(), syntax))


@pytest.mark.parametrize("encoding", ["explicit-le", "implicit-le", "explicit-be"])
def test_raw_data_sets(encoding: str) -> None:
    check_case(encode(sample_elements(), encoding))


def test_command_before_the_data_set() -> None:
    command = [E(0x00000002, "UI", "1.2.840.10008.1.1"), E(0x00000100, "US", [1])]
    head = encode(command, "implicit-le")
    head = encode([E(0x00000000, "UL", [len(head)])], "implicit-le") + head
    for encoding in ("explicit-le", "implicit-le"):
        check_case(head + encode([MODALITY, PATIENT], encoding))
    check_case(head)


def test_directory() -> None:
    record = Item([E(0x00041430, "CS", "PATIENT"), PATIENT, E(0x00041500, "CS", "A\\B")])
    meta = [E(0x00020002, "UI", "1.2.840.10008.1.3.10"), E(0x00020010, "UI", EXPLICIT_LE)]
    elements = [E(0x00041130, "CS", "DISK1"), E(0x00041220, "SQ", [record])]
    new = check_case(part10(elements, meta=meta))
    assert isinstance(new, bytes)
    assert b"PATIENT" in new
    assert b"HOSP" not in new
    check_case(part10(elements))  # group 0004 where it does not belong


@pytest.mark.parametrize("size", [4095, 4096, 4097, 70_000, WINDOW - 300, WINDOW + 1])
def test_bulk(size: int) -> None:
    """Around the sizes at which a value is skipped, held or rewritten in pieces."""
    pixels = random.Random(size).randbytes(size)
    for last in (E(0x7FE00010, "OW", pixels), E(0x60003000, "OW", pixels),
                 E(0x7FE00010, "OB", Fragments([b"", pixels, pixels[:10]])),
                 E(0x00420011, "OB", b"%PDF-1.4" + pixels)):  # fmt: skip
        data = part10([PATIENT, last, E(0xFFFCFFFC, "OB", b"the end ")])
        new = check_case(data, splits=4)
        assert isinstance(new, bytes)
        kept = last.tag == 0x7FE00010
        assert (pixels in new) == kept
        assert b"the end" not in new


def test_window_that_grows() -> None:
    """A Patient ID that stands behind more than a window of other things."""
    items = [Item([E(0x00081155, "UI", f"1.2.3.4.{i}")]) for i in range(10_000)]
    data = part10([E(0x00081115, "SQ", items), PATIENT])
    assert len(data) > WINDOW
    check_case(data, splits=2)


# -- what still depends on the reads -------------------------------------------------------------


def test_identity_after_the_barrier() -> None:
    late = E(0x00080018, "UI", "1.2.3.4.5.6.7")
    data = part10([E(0x00080016, "UI", "1.2.3"), E(0x0020000D, "UI", "1.2.3"), late])
    once = check_case(data)
    assert isinstance(once, bytes)
    assert run_bytes(veil(), once).result == once


def test_unknown_vr_at_the_end_of_an_item() -> None:
    last = b"\x18\0\x15\0ZZ\x08\0HEADHEAD"
    check_case(part10([E(0x00081115, "SQ", [Item([last])])]))


def test_deflated_bulk() -> None:
    pixels = random.Random(1).randbytes(3 * WINDOW)
    check_case(part10([PATIENT, E(0x7FE00010, "OW", pixels)], DEFLATED[0]), splits=2)


@pytest.mark.parametrize("raw", [False, True])
def test_big_endian_that_begins_with_the_name(raw: bool) -> None:
    elements = [E(0x00100010, "PN", "DOE^JOHN"), PATIENT]
    data = encode(elements, "explicit-be") if raw else part10(elements, EXPLICIT_BE)
    new = run_bytes(veil(), data).result
    assert isinstance(new, bytes)
    assert b"DOE" not in new


@pytest.mark.parametrize("cut", [1, 7])
def test_cut_in_the_header_of_a_fragment(cut: int) -> None:
    data = part10([MODALITY, E(0x7FE00010, "OB", Fragments([b"", bytes(200)]))], JPEG_BASELINE)
    assert len(run_bytes(veil(True), data[:-cut]).result) == len(data) - cut  # type: ignore[arg-type]


@pytest.mark.parametrize("pixels", [E(0x7FE00010, "OW"), E(0x7FE00010, "UR", "ABCD")])
def test_tail_after_pixels_that_are_not_kept(pixels: E) -> None:
    new = run_bytes(veil(), encode([MODALITY, pixels, bytes(8), b"x" * 20])).result
    assert isinstance(new, bytes)
    assert new.endswith(bytes(28))


def test_transfer_syntax_stays() -> None:
    """A transfer syntax of a later edition: without its name nobody can decode the pixels."""
    syntax = "1.2.840.10008.1.2.4.999"
    new = run_bytes(veil(), part10([MODALITY, PATIENT], syntax)).result
    assert isinstance(new, Refusal) or syntax.encode() in new


def test_transfer_syntax_with_an_unknown_vr() -> None:
    """Either refused, or there for who reads the output."""
    data = part10([MODALITY, PATIENT], IMPLICIT_LE)
    data = data.replace(b"\x02\0\x10\0UI", b"\x02\0\x10\0ZZ")
    new = run_bytes(veil(), data).result
    assert isinstance(new, Refusal) or IMPLICIT_LE.encode() in new


def test_deflated_data_set_that_begins_with_group_0002() -> None:
    """The file meta information ends where the deflated bytes begin, whatever they inflate to."""
    strange = E(0x00020016, "AE", "CANARYQX")
    once = check_case(part10([strange, E(0x00180015, "CS", "HEAD")], DEFLATED[0]))
    assert isinstance(once, bytes)


def test_counts_of_a_tail() -> None:
    data = encode([MODALITY, E(0x7FE00010, "OW", b"ab")]) + bytes(8) + b"x" * 400
    reports = [run_counts(data, step) for step in (1000, 1)]
    assert reports[0] == reports[1]


def test_counts_of_a_long_text() -> None:
    text = b"a" * 69_999 + b"\0" + b"b" * 100
    data = encode([MODALITY, E(0x00189423, "LT", text)], "implicit-le")
    reports = [run_counts(data, step) for step in (1 << 20, 18 + 70_000)]
    assert reports[0] == reports[1]


def test_padded_deflate_is_nothing_to_note() -> None:
    for n in range(20):  # some of them need the NUL
        data = part10([E(0x00080008, "CS", "A" * n), PATIENT], DEFLATED[0])
        assert run_counts(data, 1 << 20)[1] == {}


def run_counts(data: bytes, step: int) -> tuple[dict[str, int], dict[str, int]]:
    session = Session(veil()._engine)
    run_session(session, Pieces(data, range(step, len(data), step)))
    return session.report.actions, session.report.notes


def test_unknown_vr_twice() -> None:
    data = part10([MODALITY, b"\x18\0\x15\0ZZ\4\0HEAD"])
    once = run_bytes(veil(), data).result
    assert isinstance(once, bytes)
    assert run_bytes(veil(), once).result == once


def test_ignoring_a_mark() -> None:
    once = Veil(key=bytes(reversed(KEY))).bytes(sample())
    again = Veil(key=KEY, ignore_mark=True).bytes(once)
    assert again != once
    out = io.BytesIO()
    Veil(key=KEY, ignore_mark=True).stream(io.BytesIO(again), out)
    assert out.getvalue() == again
