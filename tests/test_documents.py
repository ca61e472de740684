"""Blank encapsulated documents, opened by readers of their kind."""

from __future__ import annotations

import io
import struct
from xml.etree import ElementTree

import pypdf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from build import PDF
from dcmveil.documents import FIRST_BYTES, Fill, blank_document

CDA = b'<?xml version="1.0"?>\n<ClinicalDocument xmlns="urn:hl7-org:v3"><id/>'
ASCII_STL = b"solid DOE_JANE_femur\n  facet normal 0 0 1\n"
OBJ = b"# DOE^JANE\n\nmtllib doe.mtl\nv 1 2 3\n"
MTL = b"# DOE^JANE\nnewmtl skin\nKa 1 1 1\n"
ZEROS = Fill(b"", 0, b"")
SPARE = [0, 1, 2, 3, 7, 100, 100_000]


def written(fill: Fill, length: int) -> bytes:
    room = length - len(fill.head) - len(fill.tail)
    assert room >= 0
    return fill.head + bytes((fill.fill,)) * room + fill.tail


def blank(first_bytes: bytes, length: int) -> bytes:
    fill, valid = blank_document(first_bytes, length)
    assert valid
    value = written(fill, length)
    assert len(value) == length
    return value


def shortest(first_bytes: bytes) -> int:
    return next(size for size in range(2000) if blank_document(first_bytes, size)[1])


def readings(value: bytes) -> list[bytes]:
    """The value as readers see it: whole, and without the byte that might be padding."""
    return [value, value[:-1]]


def binary_stl(count: int, header: bytes = b"DOE^JANE") -> bytes:
    return header.ljust(80) + struct.pack("<I", count) + b"\x11" * 50 * count


@pytest.mark.parametrize(
    ("first_bytes", "least"),
    [(PDF, 332), (CDA, 100), (ASCII_STL, 101), (OBJ, 33), (MTL, 3)],
    ids=["pdf", "cda", "stl", "obj", "mtl"],
)
def test_least_lengths(first_bytes: bytes, least: int) -> None:
    assert shortest(first_bytes) == least
    assert blank_document(first_bytes, least - 1) == (ZEROS, False)


@pytest.mark.parametrize("spare", [*SPARE, *range(640, 700), *range(9640, 9700), 3_000_000])
def test_pdf(spare: int) -> None:
    value = blank(PDF, shortest(PDF) + spare)
    for reading in readings(value):
        reader = pypdf.PdfReader(io.BytesIO(reading), strict=True)
        assert len(reader.pages) == 1
        assert reader.pages[0].extract_text() == ""
        assert not reader.metadata
    table = int(value.split(b"startxref\n")[1].split(b"\n")[0])
    assert value[table:].startswith(b"xref\n0 4\n")
    for number in range(1, 4):
        at = int(value[table + 9 + 20 * number :][:10])
        assert value[at:].startswith(b"%d 0 obj\n" % number)


@pytest.mark.parametrize("length", [(1 << 31) + 1, (1 << 32) - 1, (1 << 32) - 2, 9_999_999_999])
def test_pdf_of_gigabytes(length: int) -> None:
    fill, valid = blank_document(PDF, length)
    assert valid
    table = int(fill.tail.split(b"startxref\n")[1].split(b"\n")[0])
    assert table == length - len(fill.tail) + fill.tail.index(b"xref")
    assert len(fill.head) + len(fill.tail) < 1000


@pytest.mark.parametrize("spare", SPARE)
@pytest.mark.parametrize(
    "first_bytes",
    [
        CDA,
        b"\xef\xbb\xbf" + CDA,
        b"\r\n \t" + CDA,
        CDA.decode().encode("utf-16"),
        CDA.decode().encode("utf-16-le"),
        CDA.decode().encode("utf-16-be"),
        b"<ClinicalDocument>",
        b'<n1:ClinicalDocument xmlns:n1="urn:hl7-org:v3">',
        b"<!-- DOE^JANE --><ClinicalDocument>",
    ],
)
def test_xml(first_bytes: bytes, spare: int) -> None:
    value = blank(first_bytes, shortest(first_bytes) + spare)
    for reading in readings(value):
        root = ElementTree.fromstring(reading)
        assert root.tag == "{urn:hl7-org:v3}ClinicalDocument"
        assert len(root) == 0
        assert (root.text or "").strip() == ""


@pytest.mark.parametrize("header", [b"", b"DOE^JANE", b"solid DOE^JANE", b"<DOE>", b"%PDF-1.4"])
@pytest.mark.parametrize("pad", [b"", b"\0"])
@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_binary_stl(count: int, pad: bytes, header: bytes) -> None:
    old = binary_stl(count, header) + pad
    value = blank(old[:FIRST_BYTES], len(old))
    assert value[:80] == bytes(80)
    assert struct.unpack_from("<I", value, 80) == (count,)
    triangles = list(struct.iter_unpack("<12fH", value[84 : 84 + 50 * count]))
    assert len(triangles) == count
    assert triangles[:1] == [(0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0)][:count]
    assert all(not any(triangle) for triangle in triangles[1:])
    assert value[84 + 50 * count :] == bytes(len(pad))


def test_a_count_that_does_not_fit_is_no_binary_stl() -> None:
    old = binary_stl(5)
    for length in (len(old) - 1, len(old) + 2, 84):
        assert blank_document(old, length) == (ZEROS, False)
    assert blank_document(old[:83], len(old)) == (ZEROS, False)


@pytest.mark.parametrize("spare", SPARE)
@pytest.mark.parametrize("first_bytes", [ASCII_STL, b"solid\r\n", b"\n solid x"])
def test_ascii_stl(first_bytes: bytes, spare: int) -> None:
    value = blank(first_bytes, shortest(first_bytes) + spare)
    for reading in readings(value):
        lines = [line for line in reading.decode("ascii").splitlines() if line]
        assert lines == [
            *("solid", "facet normal 0 0 1", "outer loop"),
            *("vertex 0 0 0", "vertex 1 0 0", "vertex 0 1 0"),
            *("endloop", "endfacet", "endsolid"),
        ]


@pytest.mark.parametrize("spare", SPARE)
@pytest.mark.parametrize("first_bytes", [OBJ, b"v 1 2 3\n", b"g DOE\n", b"\xef\xbb\xbfo DOE\n"])
def test_obj(first_bytes: bytes, spare: int) -> None:
    value = blank(first_bytes, shortest(first_bytes) + spare)
    assert value.rstrip(b"\n") == b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3"


@pytest.mark.parametrize("spare", SPARE)
@pytest.mark.parametrize("first_bytes", [MTL, b"newmtl DOE\n", b"# only comments\n# so far"])
def test_mtl(first_bytes: bytes, spare: int) -> None:
    value = blank(first_bytes, shortest(first_bytes) + spare)
    assert value.rstrip(b"\n") == b"#"


@pytest.mark.parametrize(
    "first_bytes",
    [
        b"",
        bytes(1000),
        b"PK\x03\x04 a zip",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"solidus",
        b"DOE^JANE was seen today",
        b"\x1f\x8b\x08",
    ],
)
@pytest.mark.parametrize("length", [0, 1, 1000, 1001, 1 << 32])
def test_anything_else_is_zeros(first_bytes: bytes, length: int) -> None:
    assert blank_document(first_bytes, length) == (ZEROS, False)


KINDS = [PDF, CDA, ASCII_STL, OBJ, MTL, binary_stl(20), b""]


@given(
    start=st.sampled_from(KINDS),
    rest=st.binary(max_size=100),
    length=st.integers(0, 5000),
)
def test_fits_and_a_second_run_changes_nothing(start: bytes, rest: bytes, length: int) -> None:
    fill, _ = blank_document((start + rest)[: min(length, FIRST_BYTES)], length)
    value = written(fill, length)
    assert b"DOE" not in value
    again, _ = blank_document(value[:FIRST_BYTES], length)
    assert written(again, length) == value
