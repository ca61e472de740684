"""Blank documents: minimal valid files of the kind and length of an encapsulated document.

The value of Encapsulated Document (PS3.3 C.24.2) must be blanked at its old length, yet still open
in readers. What kind it is has to be told from its first bytes: the MIME type stands behind the
value in the file, and one pass never goes back. A value may be gigabytes long, so only the ends are
made here and the middle is one byte repeated.

Each text ends in a line feed that it can lose: where Encapsulated Document Length says that the
last byte of the value is padding, what remains is a document still.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["FIRST_BYTES", "Fill", "blank_document"]

# Enough for the mark of every kind; more helps to tell OBJ from MTL behind long comments.
FIRST_BYTES = 1024

_SPACE = 0x20
_LINE_FEED = 0x0A
_BLANKS = b"\t\n\f\r "
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe")


@dataclass(frozen=True)
class Fill:
    """New bytes of a value: ``head``, the byte ``fill`` as often as there is room, ``tail``."""

    head: bytes
    fill: int
    tail: bytes


def blank_document(first_bytes: bytes, length: int) -> tuple[Fill, bool]:
    """What to write over an encapsulated document, and whether it is a valid document.

    ``first_bytes`` is the start of the old value, ``FIRST_BYTES`` of it or all where it is shorter;
    ``length`` is that of the whole value in bytes. Known kinds are PDF (ISO 32000-1), XML, for
    which a CDA document is made (HL7 CDA R2), STL in both forms, OBJ and MTL. Of any other kind, or
    where the smallest document does not fit, the value is zeros and the answer False.
    """
    fill = _document(first_bytes, length)
    if fill is None or len(fill.head) + len(fill.tail) > length:
        return Fill(b"", 0, b""), False
    return fill, True


def _document(first_bytes: bytes, length: int) -> Fill | None:
    # The header of a binary STL may be any text, so its count, which must fit, is asked first.
    if _is_binary_stl(first_bytes, length):
        return _binary_stl(first_bytes)
    text = _as_text(first_bytes)
    if text.startswith(b"%PDF"):
        return _pdf(length)
    if text.startswith(b"<"):
        return _CDA
    word = _first_word(text)
    if word == b"solid":
        return _ASCII_STL
    if word in _OBJ_WORDS:
        return _OBJ
    if word in _MTL_WORDS or text.startswith(b"#"):
        return _MTL
    return None


def _as_text(first_bytes: bytes) -> bytes:
    """Without byte order mark, the zero bytes of UTF-16, and leading white space."""
    for mark in _BYTE_ORDER_MARKS:
        first_bytes = first_bytes.removeprefix(mark)
    return first_bytes.replace(b"\0", b"").lstrip(_BLANKS)


def _first_word(text: bytes) -> bytes:
    """The word that starts the first line that is neither empty nor a comment of OBJ or MTL."""
    for line in text.splitlines():
        words = line.split(maxsplit=1)
        if words and not words[0].startswith(b"#"):
            return words[0]
    return b""


# --- PDF ---------------------------------------------------------------------------------------

_PDF_OBJECTS = (
    b"<</Type/Catalog/Pages 2 0 R>>",
    b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
    b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<<>>>>",
)


def _pdf(length: int) -> Fill:
    """One empty page (ISO 32000-1 7.5); white space between the last object and the xref table."""
    head = b"%PDF-1.4\n"
    table = b"xref\n0 %d\n0000000000 65535 f \n" % (len(_PDF_OBJECTS) + 1)
    for number, body in enumerate(_PDF_OBJECTS, 1):
        table += b"%010d 00000 n \n" % len(head)
        head += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table += b"trailer\n<</Size %d/Root 1 0 R>>" % (len(_PDF_OBJECTS) + 1)
    end = b"\n%%EOF\n"
    # The offset of the table is counted from the end; spaces before keep its width the same.
    place = b"\nstartxref\n"
    width = 10
    offset = length - len(end) - width - len(place) - len(table)
    digits = b"%d" % offset
    tail = b"\n" + table + b" " * (width - len(digits)) + place + digits + end
    return Fill(head, _SPACE, tail)


# --- XML ---------------------------------------------------------------------------------------

_CDA = Fill(
    b'<?xml version="1.0" encoding="UTF-8"?>\n<ClinicalDocument xmlns="urn:hl7-org:v3">',
    _SPACE,
    b"</ClinicalDocument>\n",
)


# --- STL, OBJ and MTL --------------------------------------------------------------------------

# Each shape is one triangle, because some readers take a shape without any for an error.
_STL_HEADER = 80
_STL_TRIANGLE = struct.pack("<12fH", 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0)


def _is_binary_stl(first_bytes: bytes, length: int) -> bool:
    """A header of 80 bytes, a count, and so many triangles of 50 bytes; one pad byte may follow."""
    if len(first_bytes) < _STL_HEADER + 4:
        return False
    (count,) = struct.unpack_from("<I", first_bytes, _STL_HEADER)
    return length - (_STL_HEADER + 4 + len(_STL_TRIANGLE) * count) in (0, 1)


def _binary_stl(first_bytes: bytes) -> Fill:
    """The count stays: readers compare it with the length. All triangles but one are points."""
    count = first_bytes[_STL_HEADER : _STL_HEADER + 4]
    return Fill(bytes(_STL_HEADER) + count + (_STL_TRIANGLE if any(count) else b""), 0, b"")


_ASCII_STL = Fill(
    b"solid\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\n"
    b"endloop\nendfacet\n",
    _LINE_FEED,
    b"endsolid\n",
)

_OBJ_WORDS = frozenset(b"v vt vn vp f l p o g s usemtl mtllib".split())
_OBJ = Fill(b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", _LINE_FEED, b"\n")

_MTL_WORDS = frozenset(b"newmtl Ka Kd Ks Ke Ns Ni d Tr Tf illum".split())
# Only a comment, which serves too where comments are all that is seen of an OBJ.
_MTL = Fill(b"#\n", _LINE_FEED, b"\n")
