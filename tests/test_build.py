"""What build.py makes is what a DICOM library reads back."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence

import pydicom
import pytest

from build import (
    DEFLATED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_BASELINE,
    NUMBER,
    VRS,
    E,
    Fragments,
    Item,
    code,
    encode,
    encoding_of,
    part10,
    sample,
    sample_elements,
)

ENCODINGS = ("explicit-le", "implicit-le", "explicit-be")
SYNTAXES = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED[0])


Path = tuple[int, ...]  # tags, and numbers of items between them


def read(data: bytes) -> pydicom.FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(data))


def built_tree(elements: Sequence[E | bytes], path: Path = ()) -> Iterator[Path]:
    for e in elements:
        assert isinstance(e, E)
        yield (*path, e.tag)
        if e.vr == "SQ":
            assert isinstance(e.value, list)
            for number, item in enumerate(e.value):
                yield from built_tree(item.elements, (*path, e.tag, number))


def read_tree(dataset: pydicom.Dataset, path: Path = ()) -> Iterator[Path]:
    for element in dataset:
        yield (*path, int(element.tag))
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from read_tree(item, (*path, int(element.tag), number))


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_sample_reads_back(encoding: str, undefined: bool) -> None:
    ds = read(sample(encoding, undefined))
    wanted = list(built_tree(sample_elements(undefined)))
    found = list(read_tree(ds))
    if encoding == "implicit-le" and not undefined:  # nothing tells of the private sequence
        wanted = [p for p in wanted if p[0] != 0x00091004 or len(p) == 1]
    assert found == wanted
    assert ds.preamble == b"II*\0" + bytes(124)
    assert ds.PatientName == "DOE^JOHANNA^MARIA"
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    inner = ds.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert inner.PurposeOfReferenceCodeSequence[0].CodeValue == "121320"
    assert (ds.Rows, ds.Columns, ds.SelectorSLValue) == (8, 8, [-5, 5])
    assert ds.WindowCenter == [40, 50]
    order = ">" if encoding == "explicit-be" else "<"
    pixels = struct.unpack(order + "64H", ds.PixelData)
    assert pixels == tuple((i * 40503) & 0xFFF for i in range(64))
    assert ds[0xFFFC, 0xFFFC].value == b"padding of the scanner"
    sequence = ds[0x0008, 0x1115]
    assert sequence.is_undefined_length == undefined
    assert sequence.value[0].is_undefined_length_sequence_item == undefined


def test_sample_is_realistic() -> None:
    assert len(VRS) == 34
    assert len(sample_elements()) >= 60
    assert max(len(p) for p in built_tree(sample_elements())) >= 7  # three sequences deep


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("vr", VRS)
def test_every_vr(vr: str, encoding: str) -> None:
    values: dict[str, object] = {
        "AT": [0x00100010, 0x7FE00010],
        "SQ": [Item(code("A", "B", "C"))],
        "UN": b"\1\2",
        "UI": "1.2.3",
        "OB": b"\1\2",
    }
    usual: object = [1, 2] if vr in NUMBER else "text"
    tag = 0x00720070  # a tag that no dictionary knows
    data = encode([E(tag, vr, values.get(vr, usual))], encoding)  # type: ignore[arg-type]
    raw = pydicom.filereader.read_dataset(
        io.BytesIO(data), encoding == "implicit-le", encoding != "explicit-be"
    ).get_item(tag)
    assert raw.tag == tag
    assert (None if encoding == "implicit-le" else vr) == raw.VR
    assert data.endswith(raw.value)
    if vr in NUMBER:
        order = ">" if encoding == "explicit-be" else "<"
        assert struct.unpack(f"{order}2{NUMBER[vr]}", raw.value) == (1, 2)
    if vr == "AT" and encoding == "explicit-be":
        assert raw.value == bytes.fromhex("001000107fe00010")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_file_meta(syntax: str) -> None:
    data = part10(sample_elements(), syntax)
    ds = read(data)
    assert ds.file_meta.TransferSyntaxUID == syntax
    end = 144 + ds.file_meta.FileMetaInformationGroupLength
    body = encode(sample_elements(), encoding_of(syntax))
    rest = data[end:]
    assert body == (zlib.decompress(rest, -15) if syntax in DEFLATED else rest)
    assert len(rest) % 2 == 0


def test_file_meta_as_told() -> None:
    assert part10([], meta=[], preamble=None) == b""
    assert part10([], meta=[]) == bytes(128) + b"DICM"
    lying = part10([], meta=[E(0x00020000, "UL", [999]), E(0x00020010, "UI", EXPLICIT_LE)])
    assert read(lying).file_meta.FileMetaInformationGroupLength == 999


def test_encapsulated() -> None:
    frames = [b"", b"\xff\xd8frame1\xff\xd9", b"\xff\xd8f2\xff\xd9"]
    ds = read(part10([E(0x7FE00010, "OB", Fragments(frames))], JPEG_BASELINE))
    assert ds["PixelData"].is_undefined_length
    assert list(pydicom.encaps.generate_fragments(ds.PixelData)) == frames


def test_unknown_vr_of_undefined_length_is_implicit_inside() -> None:
    un = E(0x00081115, "UN", [Item([E(0x0020000E, "UI", "1.2.3")])], undefined=True)
    assert encode([un])[20:].startswith(bytes.fromhex("20000e0006000000") + b"1.2.3\0")
    assert read(part10([un])).ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.3"


def test_malformed_on_purpose() -> None:
    assert encode([E(0x00100010, "PN", b"odd")]) == bytes.fromhex("10001000") + b"PN\3\0odd"
    assert encode([E(0x00100010, "PN", b"DOE", length=400)])[6:8] == b"\x90\1"
    assert encode([E(0x00100010, "PN", b"DOE", header=b"??")]) == b"??DOE"
    assert encode([E(0x00100010, "ZZ", b"")])[4:6] == b"ZZ"
    assert encode([b"torn", E(0x00100010, "PN")]).startswith(b"torn\x10\0")
    no_end = encode([E(0x00081115, "SQ", [Item([], length=0xFFFFFFFF)], length=0xFFFFFFFF)])
    assert len(no_end) == 12 + 8
    assert no_end[8:12] == no_end[16:20] == b"\xff" * 4
    stray = encode([E(0x00081115, "SQ", [b"\xfe\xff\x0d\xe0\0\0\0\0"])])
    assert stray[8:12] == b"\x08\0\0\0"
