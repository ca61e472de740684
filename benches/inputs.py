"""Inputs of the benchmarks: headers of real files, grown by code to the size in question.

Nothing is downloaded and nothing is random from run to run.
"""

from __future__ import annotations

import copy
import functools
import io
import random
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
    sequence = []
    for number in range(elements // 4):
        item = Dataset()
        item.ContourGeometricType = "POINT"
        item.NumberOfContourPoints = 1
        item.ContourNumber = number
        item.ContourData = [number % 512, 12.5, -7]
        sequence.append(item)
    dataset.ROIContourSequence[0].ContourSequence = Sequence(sequence)
    return _encoded(dataset)


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


def write_native(path: Path, size: int) -> int:
    """Write a native multi-frame image of about `size` bytes of pixels; the size of the file."""
    dataset = _real("emri_small.dcm")
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


def instance_uid(data: bytes) -> bytes:
    """The SOP Instance UID of an encoded file, without padding."""
    return str(dcmread(io.BytesIO(data), stop_before_pixels=True).SOPInstanceUID).encode()
