"""Icons and encapsulated documents through the whole tool: blank, and still opened by readers."""

from __future__ import annotations

import io
import random

import numpy as np
import pydicom
import pypdf
import pytest

import dcmveil
from build import EXPLICIT_LE, IMPLICIT_LE, E, Fragments, Item, part10
from dcmveil.codestreams import Geometry
from test_codestreams import DECODERS, SUPPORTED, decode, image

VEIL = dcmveil.Veil("basic", key=bytes(range(32)))
SECRET = bytes(random.Random(7).randrange(256) for _ in range(16384))
SOP = [E(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.4"), E(0x00100020, "LO", "12345678")]


def icon(pixels: bytes | Fragments, vr: str, samples: int = 1, undefined: bool = False) -> E:
    """An Icon Image Sequence of 64 x 64 (PS3.3 section C.7.6.1.1.6)."""
    elements = [
        E(0x00280002, "US", [samples]),
        E(0x00280004, "CS", "MONOCHROME2" if samples == 1 else "RGB"),
        E(0x00280010, "US", [64]),
        E(0x00280011, "US", [64]),
        E(0x00280100, "US", [8]),
        E(0x00280101, "US", [8]),
        E(0x00280102, "US", [7]),
        E(0x00280103, "US", [0]),
        E(0x7FE00010, vr, pixels),
    ]
    return E(0x00880200, "SQ", [Item(elements, undefined=undefined)], undefined=undefined)


def rewritten(elements: list[E], syntax: str) -> pydicom.Dataset:
    data = part10([*SOP, *elements], syntax)
    new = VEIL.bytes(data)
    assert len(new) == len(data)
    assert SECRET[:16] not in new
    assert VEIL.bytes(new) == new
    return pydicom.dcmread(io.BytesIO(new))


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
@pytest.mark.parametrize("undefined", [False, True])
def test_native_icons_keep_their_geometry(syntax: str, undefined: bool) -> None:
    dataset = rewritten([icon(SECRET[:4096], "OW", undefined=undefined)], syntax)
    item = dataset.IconImageSequence[0]
    assert (item.Rows, item.Columns, item.BitsStored, item.HighBit) == (64, 64, 8, 7)
    assert item.PhotometricInterpretation == "MONOCHROME2"
    assert item.PixelData == bytes(4096)


@pytest.mark.parametrize("syntax", SUPPORTED)
@pytest.mark.parametrize("samples", [1, 3])
def test_encapsulated_icons_become_blank_images(syntax: str, samples: int) -> None:
    length = 4096 * samples
    fragments = Fragments([b"", SECRET[:length]])
    dataset = rewritten([icon(fragments, "OB", samples)], syntax)
    value = dataset.IconImageSequence[0].PixelData
    stream = value[16:]  # after the empty offset table and the header of the fragment
    assert len(stream) == length
    shown = image(syntax, Geometry(64, 64, samples), [stream], 1)
    for plugin in DECODERS.get(syntax, [])[:1]:
        assert len(np.unique(decode(shown, plugin))) == 1


def test_an_icon_in_several_fragments() -> None:
    syntax = "1.2.840.10008.1.2.4.50"
    dataset = rewritten([icon(Fragments([b"", SECRET[:100], SECRET[100:400]]), "OB")], syntax)
    value = dataset.IconImageSequence[0].PixelData
    assert value[16:18] == b"\xff\xd8"
    assert value[-2:] == b"\xff\xd9"


@pytest.mark.parametrize(
    ("syntax", "fragments"),
    [
        ("1.2.840.10008.1.2.4.50", [b"", SECRET[:60]]),
        ("1.2.840.10008.1.2.4.102", [b"", SECRET[:4000]]),
        (EXPLICIT_LE, [b"", SECRET[:4000]]),
    ],
)
def test_an_icon_that_no_blank_one_fits_is_refused(syntax: str, fragments: list[bytes]) -> None:
    with pytest.raises(dcmveil.DicomError, match="icon") as error:
        VEIL.bytes(part10([*SOP, icon(Fragments(fragments), "OB")], syntax))
    assert error.value.path.endswith("(7FE0,0010)")


def test_a_pdf_becomes_a_blank_pdf() -> None:
    for length in (400, 5000, 100_001):
        old = (b"%PDF-1.7\n" + SECRET[:300]).ljust(length, b"J")
        dataset = rewritten([E(0x00420011, "OB", old)], EXPLICIT_LE)
        new = dataset.EncapsulatedDocument
        assert b"JJ" not in new
        reader = pypdf.PdfReader(io.BytesIO(new))
        assert len(reader.pages) == 1


def test_an_unknown_document_becomes_zeros_and_is_noted() -> None:
    data = part10([*SOP, E(0x00420011, "OB", SECRET[:1000])], EXPLICIT_LE)
    out = io.BytesIO()
    report = VEIL.stream(io.BytesIO(data), out)
    assert pydicom.dcmread(io.BytesIO(out.getvalue())).EncapsulatedDocument == bytes(1000)
    assert "encapsulated document of no known format set to zeros" in report.notes


@pytest.mark.parametrize(
    ("table", "after"),
    [
        (b"", b""),
        (bytes(4), bytes(4)),
        (SECRET[:16], bytes(16)),
        (b"\1\0\0\0", bytes(4)),
        (b"\0\0\0\0\x77", bytes(5)),
        (bytes(4) + b"\x08\x04\0\0", bytes(4) + b"\x08\x04\0\0"),
    ],
)
def test_the_offset_table_of_an_icon_holds_offsets_and_nothing_else(
    table: bytes, after: bytes
) -> None:
    parts = Fragments([table, SECRET[:1024], SECRET[:1024]])
    data = part10([*SOP, icon(parts, "OB", undefined=True)], "1.2.840.10008.1.2.4.50")
    item = b"\xfe\xff\x00\xe0"
    start = data.index(item + len(table).to_bytes(4, "little") + table + item)
    assert VEIL.bytes(data)[start + 8 : start + 8 + len(table)] == after
