"""Inputs of the benchmarks: headers of real files, grown by code to the size in question.

Nothing is downloaded and nothing is random from run to run.
"""

from __future__ import annotations

import copy
import functools
import io
import random
import struct
from collections.abc import Iterator
from pathlib import Path

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

NOISE = random.Random(1).randbytes(1 << 20)  # no tool gains from pixels that are all alike
LONGEST = 0xFFFFFFFE  # bytes of a value of defined length (PS3.5 section 7.1.1)


def _real(name: str) -> FileDataset:
    return dcmread(str(get_testdata_file(name)), force=True)


def _encoded(dataset: Dataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def mr() -> bytes:
    """A whole MR image of 10 KB, as it came."""
    return Path(str(get_testdata_file("MR_small.dcm"))).read_bytes()


@functools.cache
def ct() -> bytes:
    """A CT image of 512 x 512 x 16 bits with a private header of 1998: 0.5 MB."""
    dataset = _real("CT_small.dcm")
    dataset.Rows = dataset.Columns = 512
    dataset.PixelData = NOISE[: 512 * 512 * 2]
    return _encoded(dataset)


@functools.cache
def enhanced(items: int = 20_000) -> bytes:
    """An enhanced CT header: functional groups of so many nested items, no pixels to speak of."""
    dataset = _real("eCT_Supplemental.dcm")
    frames = dataset.PerFrameFunctionalGroupsSequence
    each = _items_in(frames[0]) + 1
    count = items // each
    dataset.NumberOfFrames = count
    dataset.PerFrameFunctionalGroupsSequence = Sequence(
        [copy.deepcopy(frames[i % len(frames)]) for i in range(count)]
    )
    dataset.PixelData = b"\0\0"
    return _encoded(dataset)


def _items_in(dataset: Dataset) -> int:
    return sum(
        1 + _items_in(item) for element in dataset if element.VR == "SQ" for item in element.value
    )


@functools.cache
def contours(elements: int = 100_000) -> bytes:
    """An RT structure set of so many elements of a few bytes each, four to a contour."""
    dataset = _real("rtstruct.dcm")  # has no file meta information; implicit VR
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.ROIContourSequence[0].ContourSequence = Sequence()
    encoded = bytearray(_encoded(dataset))
    # pydicom would take seconds for the items
    items = bytearray()
    for number in range(elements // 4):
        item = bytearray()
        for element, value in (
            (0x0042, "POINT"), (0x0046, "1"), (0x0048, f"{number}"),
            (0x0050, rf"{number % 512}.0\12.5\-7.0"),
        ):  # fmt: skip
            text = value.encode() + b" " * (len(value) % 2)
            item += struct.pack("<HHL", 0x3006, element, len(text)) + text
        items += struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item
    # of undefined length, as those around it are
    at = encoded.index(struct.pack("<HHL", 0x3006, 0x0040, 0xFFFFFFFF)) + 8
    encoded[at:at] = items
    return bytes(encoded)


@functools.cache
def fragments(count: int = 10_000, size: int = 2048) -> bytes:
    """An encapsulated multi-frame image: so many fragments of `size` bytes, one a frame."""
    dataset = _real("color3d_jpeg_baseline.dcm")
    dataset.NumberOfFrames = count
    start = range(0, len(NOISE) - size, size)
    parts = [b"\xff\xd8" + NOISE[start[i % len(start)] :][: size - 4] + b"\xff\xd9"
             for i in range(count)]  # fmt: skip
    dataset.PixelData = encapsulate(parts)
    dataset["PixelData"].is_undefined_length = True
    return _encoded(dataset)


def ct_small() -> bytes:
    """A whole CT image of 39 KB with a private header of 1998, as it came."""
    return Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()


def headers() -> Iterator[tuple[str, bytes, int]]:
    """Headers without pixels to speak of: name, bytes, number of elements."""
    for name, vr, tag, value in (
        ("kept-number", b"US", 0x00280010, b"\0\2"),
        ("kept-text", b"CS", 0x00080060, b"MR"),
        ("blanked", b"LO", 0x00101000, b"DOE^JOHN"),
        ("dummied", b"LO", 0x00181000, b"SN-12345"),
    ):
        yield name, _repeated(tag, vr, value, 10_000), 10_001
    yield "items", _repeated_item(10_000), 50_002
    yield "contours", contours(20_000), 20_101
    yield "enhanced", enhanced(), 46_813


@functools.cache
def ct_header() -> bytes:
    """The header of the CT image alone."""
    dataset = _real("CT_small.dcm")
    del dataset.PixelData
    return _encoded(dataset)


@functools.cache
def hits(count: int, elements: int = 2000) -> bytes:
    """A raw data set of so many elements, of which a rule blanks `count`, spread evenly."""
    kept = _plain(0x00280010, b"US", b"\0\2")
    blanked = _plain(0x00101000, b"LO", b"DOE^JOHN")
    body = [
        blanked if (i + 1) * count // elements > i * count // elements else kept
        for i in range(elements)
    ]
    return _plain(0x00080060, b"CS", b"MR") + b"".join(body)


@functools.cache
def deep(depth: int = 100, times: int = 200) -> bytes:
    """Sequences in sequences, of undefined length, one element in the innermost: nothing is plain
    but that one."""
    opened = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    opened += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    closed = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    one = opened * depth + _plain(0x00280010, b"US", b"\0\2") + closed * depth
    return _plain(0x00080060, b"CS", b"MR") + one * times


@functools.cache
def blocks(count: int = 200) -> bytes:
    """So many private blocks, each with ten elements: their creators are searched for each."""
    parts = [_plain(0x00080060, b"CS", b"MR")]
    for low in range(0x10, 0x10 + count):
        parts.append(_plain(0x00090000 | low, b"LO", b"GEMS_IDEN_%02d" % (low % 50)))
    for low in range(0x10, 0x10 + count):
        for element in range(10):
            parts.append(_plain(0x00090000 | low << 8 | element, b"LO", b"PRIVATE "))
    return b"".join(parts)


@functools.cache
def unknown(times: int = 2000) -> bytes:
    """UN values that tile into items: each is looked through before it is walked."""
    elements = _plain(0x00080060, b"CS", b"MR") + _plain(0x00101000, b"LO", b"DOE ")
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(elements)) + elements
    one = struct.pack("<HH2sHI", 0x0029, 0x2000, b"UN", 0, 4 * len(item)) + item * 4
    return _plain(0x00080060, b"CS", b"MR") + one * times


@functools.cache
def other_uids(times: int = 2000) -> bytes:
    """UIDs that are all different, so that no cache helps."""
    return _plain(0x00080060, b"CS", b"MR") + b"".join(
        _plain(0x0020000D, b"UI", b"1.2.826.0.1.3680043.9.%020d" % i) for i in range(times)
    )


def _plain(tag: int, vr: bytes, value: bytes) -> bytes:
    """One element in explicit VR little endian, of a VR with a short header."""
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def _repeated(tag: int, vr: bytes, value: bytes, times: int) -> bytes:
    """A raw data set, one element over and over."""
    return _plain(0x00080060, b"CS", b"MR") + _plain(tag, vr, value) * times


def _repeated_item(times: int) -> bytes:
    """A raw data set with a sequence of items of undefined length, four elements in each."""
    elements = (
        _plain(0x00080060, b"CS", b"MR")
        + _plain(0x00101000, b"LO", b"DOE ")
        + _plain(0x00180050, b"DS", b"1.25")
        + _plain(0x00280010, b"US", b"\0\2")
    )
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    item += elements + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    sequence = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, len(item) * times)
    return _plain(0x00080060, b"CS", b"MR") + sequence + item * times


def write_native(path: Path, size: int, number: int = 0) -> int:
    """Write a native multi-frame image of about `size` bytes of pixels; the size of the file. Each
    number has a SOP Instance UID of its own."""
    dataset = _real("emri_small.dcm")
    dataset.PatientName, dataset.PatientID = "DOE^JOHN", "12345678"  # it has none
    uid = f"{dataset.SOPInstanceUID[:-7]}{1_000_000 + number}"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    frame = dataset.Rows * dataset.Columns * 2
    dataset.NumberOfFrames = min(size, LONGEST) // frame
    length = dataset.NumberOfFrames * frame
    dataset.PixelData = b"\0\0"
    head = _encoded(dataset)[:-2]
    with path.open("wb") as file:
        file.write(head[:-4] + length.to_bytes(4, "little"))
        for start in range(0, length, len(NOISE)):
            file.write(NOISE[: min(len(NOISE), length - start)])
    return len(head) + length


def write_encapsulated(path: Path, count: int = 10_000, size: int = 50_000) -> int:
    """Write an encapsulated multi-frame image: so many fragments of `size` bytes, one a frame; the
    size of the file."""
    dataset = _real("color3d_jpeg_baseline.dcm")
    dataset.NumberOfFrames = count
    value = encapsulate([b"\0\0"])
    dataset.PixelData = value
    dataset["PixelData"].is_undefined_length = True
    head = _encoded(dataset)[: -len(value) - 8]  # without its delimiter
    offsets = struct.pack(f"<{count}L", *(i * (8 + size) for i in range(count)))
    item = struct.Struct("<HHI")
    with path.open("wb") as file:
        file.write(head + item.pack(0xFFFE, 0xE000, len(offsets)) + offsets)
        for i in range(count):
            start = i * 997 % (len(NOISE) - size)
            file.write(item.pack(0xFFFE, 0xE000, size) + b"\xff\xd8")
            file.write(NOISE[start : start + size - 4] + b"\xff\xd9")
        file.write(item.pack(0xFFFE, 0xE0DD, 0))
        return file.tell()


def instance_uid(data: bytes) -> bytes:
    """The SOP Instance UID of an encoded file, without padding."""
    return str(dcmread(io.BytesIO(data), stop_before_pixels=True).SOPInstanceUID).encode()
