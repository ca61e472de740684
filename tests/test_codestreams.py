"""Blank code streams, opened by the decoders that people use."""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Iterator
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from dcmveil import codestreams
from dcmveil.codestreams import Geometry, blank_codestream, blank_fragments

UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
BASELINE = "1.2.840.10008.1.2.4.50"
EXTENDED = "1.2.840.10008.1.2.4.51"
LOSSLESS = "1.2.840.10008.1.2.4.57"
LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR = "1.2.840.10008.1.2.4.81"
J2K_LOSSLESS = "1.2.840.10008.1.2.4.90"
J2K = "1.2.840.10008.1.2.4.91"
J2K_MC_LOSSLESS = "1.2.840.10008.1.2.4.92"
J2K_MC = "1.2.840.10008.1.2.4.93"
HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
HTJ2K_RPCL = "1.2.840.10008.1.2.4.202"
HTJ2K = "1.2.840.10008.1.2.4.203"
RLE = "1.2.840.10008.1.2.5"
DEFLATED = "1.2.840.10008.1.2.8.1"

SUPPORTED = [
    *(UNCOMPRESSED, BASELINE, EXTENDED, LOSSLESS, LOSSLESS_SV1, JPEG_LS, JPEG_LS_NEAR),
    *(J2K_LOSSLESS, J2K, J2K_MC_LOSSLESS, J2K_MC, HTJ2K_LOSSLESS, HTJ2K_RPCL, HTJ2K),
    *(RLE, DEFLATED),
]
JPEGS = [BASELINE, EXTENDED, LOSSLESS, LOSSLESS_SV1, JPEG_LS, JPEG_LS_NEAR]

# What pydicom calls its plugins. Those that do not know a depth at all are left out in `cases`.
DECODERS = {
    BASELINE: ["pylibjpeg", "pillow", "gdcm"],
    EXTENDED: ["pylibjpeg"],
    LOSSLESS: ["pylibjpeg", "gdcm"],
    LOSSLESS_SV1: ["pylibjpeg", "gdcm"],
    JPEG_LS: ["pylibjpeg", "gdcm"],
    JPEG_LS_NEAR: ["pylibjpeg", "gdcm"],
    J2K_LOSSLESS: ["pylibjpeg", "pillow", "gdcm"],
    J2K: ["pylibjpeg", "pillow", "gdcm"],
    HTJ2K_LOSSLESS: ["pylibjpeg"],
    HTJ2K_RPCL: ["pylibjpeg"],
    HTJ2K: ["pylibjpeg"],
    RLE: ["pydicom", "pylibjpeg"],
}
SHAPES = [(1, 1), (64, 64), (13, 7), (96, 128)]
# Samples, bits allocated, bits stored, signed.
PIXELS = [
    (1, 8, 8, False),
    (3, 8, 8, False),
    (1, 8, 6, False),
    (1, 16, 10, False),
    (1, 16, 12, False),
    (1, 16, 16, False),
    (3, 16, 16, False),
    (1, 16, 12, True),
]
SPARE = [0, 1, 2, 3, 4, 6, 7, 100, 100_000]


def shortest(transfer_syntax: str, geometry: Geometry) -> int:
    """The length of the smallest blank stream; 0 where there is none of any length."""
    low, high = 0, 1 << 20
    if blank_codestream(transfer_syntax, geometry, high) is None:
        return 0
    while low < high:
        middle = (low + high) // 2
        if blank_codestream(transfer_syntax, geometry, middle) is None:
            low = middle + 1
        else:
            high = middle
    return low


def image(transfer_syntax: str, geometry: Geometry, fragments: list[bytes], frames: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    dataset.Rows = geometry.rows
    dataset.Columns = geometry.columns
    dataset.SamplesPerPixel = geometry.samples
    dataset.PhotometricInterpretation = "MONOCHROME2" if geometry.samples == 1 else "RGB"
    if geometry.samples > 1:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = geometry.bits_allocated
    dataset.BitsStored = geometry.bits_stored
    dataset.HighBit = geometry.bits_stored - 1
    dataset.PixelRepresentation = int(geometry.signed)
    dataset.NumberOfFrames = frames
    dataset.PixelData = encapsulate(fragments)
    dataset["PixelData"].VR = "OB"
    return dataset


def decode(dataset: Dataset, plugin: str) -> np.ndarray:
    """The pixels, and any warning of the decoder as an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Said of any stream that happens to be as long as the pixels are.
        warnings.filterwarnings("ignore", "The number of bytes of compressed pixel data matches")
        decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
        pixels, _ = decoder.as_array(dataset, decoding_plugin=plugin, raw=True)
    return pixels


def level(transfer_syntax: str, geometry: Geometry) -> int:
    zero = geometry.signed or transfer_syntax in (JPEG_LS, JPEG_LS_NEAR, RLE)
    return 0 if zero else 1 << (geometry.bits_stored - 1)


def cases() -> Iterator[tuple[str, str, Geometry]]:
    for transfer_syntax, plugins in DECODERS.items():
        for plugin, shape, pixel in product(plugins, SHAPES, PIXELS):
            samples, allocated, stored, signed = pixel
            if signed and not transfer_syntax.startswith("1.2.840.10008.1.2.4.9"):
                continue
            if transfer_syntax == BASELINE and stored > 8:
                continue
            if transfer_syntax == EXTENDED and stored > 12:
                continue
            if plugin == "pillow" and samples == 3 and stored == 16:
                continue
            # GDCM ends the process where bits stored are fewer than a whole byte of JPEG.
            if plugin == "gdcm" and stored == 6:
                continue
            yield (
                transfer_syntax,
                plugin,
                Geometry(*shape, samples, allocated, stored, signed),
            )


@pytest.mark.parametrize(
    ("transfer_syntax", "plugin", "geometry"),
    [
        pytest.param(
            *case, id=f"{case[0][18:]}-{case[1]}-{'-'.join(map(str, vars(case[2]).values()))}"
        )
        for case in cases()
    ],
)
def test_decoders_show_a_uniform_image(
    transfer_syntax: str, plugin: str, geometry: Geometry
) -> None:
    least = shortest(transfer_syntax, geometry)
    assert least
    assert blank_codestream(transfer_syntax, geometry, least - 1) is None
    shape = (geometry.rows, geometry.columns) + ((3,) if geometry.samples == 3 else ())
    for spare in SPARE:
        stream = blank_codestream(transfer_syntax, geometry, least + spare)
        assert stream is not None
        assert len(stream) == least + spare
        pixels = decode(image(transfer_syntax, geometry, [stream], 1), plugin)
        assert pixels.shape == shape
        assert (pixels == level(transfer_syntax, geometry)).all()


@pytest.mark.parametrize("bits", [17, 20, 24])
@pytest.mark.parametrize("transfer_syntax", [J2K_LOSSLESS, J2K, HTJ2K_LOSSLESS, HTJ2K_RPCL])
def test_jpeg_2000_of_more_than_16_bits(transfer_syntax: str, bits: int) -> None:
    geometry = Geometry(13, 70, 1, 32, bits)
    stream = blank_codestream(transfer_syntax, geometry, 500)
    assert stream is not None
    pixels = decode(image(transfer_syntax, geometry, [stream], 1), "pylibjpeg")
    assert pixels.shape == (13, 70)
    assert (pixels == 1 << (bits - 1)).all()


@pytest.mark.parametrize("transfer_syntax", [J2K_MC_LOSSLESS, J2K_MC])
def test_part_2_is_the_part_1_stream(transfer_syntax: str) -> None:
    geometry = Geometry(64, 64)
    assert blank_codestream(transfer_syntax, geometry, 500) == blank_codestream(J2K, geometry, 500)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spare", SPARE)
def test_pillow_opens_jpeg_by_itself(shape: tuple[int, int], spare: int) -> None:
    geometry = Geometry(*shape)
    stream = blank_codestream(BASELINE, geometry, shortest(BASELINE, geometry) + spare)
    assert stream is not None
    with Image.open(io.BytesIO(stream)) as opened:
        assert opened.size == shape[::-1]
        assert opened.getextrema() == (128, 128)


@pytest.mark.parametrize("pixel", [(1, 1, 1), (1, 8, 8), (3, 8, 8), (1, 16, 12), (3, 16, 16)])
@pytest.mark.parametrize("shape", [*SHAPES, (1, 2), (1, 3), (1, 259), (1, 260), (1, 261), (1, 515)])
def test_deflated_frames_inflate_to_zeros(
    shape: tuple[int, int], pixel: tuple[int, int, int]
) -> None:
    geometry = Geometry(*shape, *pixel)
    size = -(-shape[0] * shape[1] * pixel[0] * pixel[1] // 8)
    least = shortest(DEFLATED, geometry)
    assert blank_codestream(DEFLATED, geometry, least - 1) is None
    for spare in SPARE:
        stream = blank_codestream(DEFLATED, geometry, least + spare)
        assert stream is not None
        assert len(stream) == least + spare
        inflater = zlib.decompressobj(-15)
        assert inflater.decompress(stream) == bytes(size)
        assert inflater.eof
        assert inflater.unused_data == bytes(spare % 5)


@pytest.mark.parametrize("count", [*range(1, 600), 1 << 16, 1 << 20])
def test_every_number_of_zeros_deflates(count: int) -> None:
    assert zlib.decompress(codestreams._deflate_zeros(count), -15) == bytes(count)


def test_uncompressed_frames_are_zeros() -> None:
    geometry = Geometry(13, 7, 1, 1, 1)
    assert blank_codestream(UNCOMPRESSED, geometry, 11) is None
    assert blank_codestream(UNCOMPRESSED, geometry, 12) == bytes(12)


# Bytes that an icon of 64 x 64 needs: one sample of 8 bits, three of 8, one of 12.
LEAST = {
    UNCOMPRESSED: (4096, 12288, 8192),
    BASELINE: (156, 198, 0),
    EXTENDED: (156, 198, 156),
    LOSSLESS: (561, 1595, 561),
    LOSSLESS_SV1: (561, 1595, 561),
    JPEG_LS: (39, 49, 39),
    JPEG_LS_NEAR: (39, 49, 39),
    J2K_LOSSLESS: (82, 90, 82),
    J2K: (82, 90, 82),
    J2K_MC_LOSSLESS: (82, 90, 82),
    J2K_MC: (82, 90, 82),
    HTJ2K_LOSSLESS: (92, 100, 92),
    HTJ2K_RPCL: (103, 111, 103),
    HTJ2K: (92, 100, 92),
    RLE: (192, 448, 320),
    DEFLATED: (21, 29, 25),
}


@pytest.mark.parametrize("transfer_syntax", SUPPORTED)
def test_least_lengths(transfer_syntax: str) -> None:
    icons = Geometry(64, 64), Geometry(64, 64, 3), Geometry(64, 64, 1, 16, 12)
    assert tuple(shortest(transfer_syntax, icon) for icon in icons) == LEAST[transfer_syntax]


@pytest.mark.parametrize("transfer_syntax", JPEGS)
def test_jpeg_padding_is_fill_bytes_before_the_last_marker(transfer_syntax: str) -> None:
    geometry = Geometry(64, 64)
    least = shortest(transfer_syntax, geometry)
    tight = blank_codestream(transfer_syntax, geometry, least)
    assert tight is not None
    assert tight.startswith(b"\xff\xd8")
    assert tight.endswith(b"\xff\xd9")
    padded = blank_codestream(transfer_syntax, geometry, least + 999)
    assert padded == tight[:-2] + b"\xff" * 999 + b"\xff\xd9"


@pytest.mark.parametrize(
    ("transfer_syntax", "bits", "marker", "precision"),
    [
        (BASELINE, 8, b"\xff\xc0", 8),
        (BASELINE, 6, b"\xff\xc0", 8),
        (EXTENDED, 8, b"\xff\xc1", 8),
        (EXTENDED, 10, b"\xff\xc1", 12),
        (LOSSLESS, 10, b"\xff\xc3", 10),
        (LOSSLESS_SV1, 16, b"\xff\xc3", 16),
        (JPEG_LS, 10, b"\xff\xf7", 10),
        (JPEG_LS_NEAR, 1, b"\xff\xf7", 2),
    ],
)
def test_jpeg_process_and_precision(
    transfer_syntax: str, bits: int, marker: bytes, precision: int
) -> None:
    stream = blank_codestream(transfer_syntax, Geometry(9, 5, 1, 16, bits), 1000)
    assert stream is not None
    header = stream.index(marker)
    assert stream[header + 4] == precision
    assert stream[header + 5 : header + 9] == bytes((0, 9, 0, 5))


def segments(stream: bytes) -> dict[int, list[bytes]]:
    """The marker segments of a JPEG 2000 main header, and SOT."""
    found: dict[int, list[bytes]] = {}
    at = 2
    while stream[at : at + 2] != b"\xff\x93":
        size = int.from_bytes(stream[at + 2 : at + 4], "big")
        found.setdefault(stream[at + 1], []).append(stream[at + 4 : at + 2 + size])
        at += 2 + size
    return found


@pytest.mark.parametrize("transfer_syntax", [J2K, HTJ2K_LOSSLESS, HTJ2K_RPCL])
@pytest.mark.parametrize("spare", [0, 6, 7, 8, 65_537, 65_538, 65_543, 65_544, 65_545, 131_074])
def test_jpeg_2000_padding_is_comments_of_zeros(transfer_syntax: str, spare: int) -> None:
    geometry = Geometry(64, 64)
    least = shortest(transfer_syntax, geometry)
    stream = blank_codestream(transfer_syntax, geometry, least + spare)
    assert stream is not None
    assert len(stream) == least + spare
    comments = segments(stream).get(0x64, [])
    assert all(len(comment) >= 3 and not any(comment) for comment in comments)
    after = spare if spare < 7 else 0
    assert sum(len(comment) + 4 for comment in comments) == spare - after
    assert stream.endswith(b"\xff\xd9" + bytes(after))


@pytest.mark.parametrize("shape", [(64, 64), (65, 65), (512, 2048), (13, 65535), (65535, 65535)])
def test_htj2k_rpcl_keeps_the_rules_of_dicom(shape: tuple[int, int]) -> None:
    stream = blank_codestream(HTJ2K_RPCL, Geometry(*shape, 3), 500)
    assert stream is not None
    found = segments(stream)
    (style,) = found[0x52]
    assert style[1] == 2
    levels = style[5]
    assert -(-max(shape) >> levels) <= 64
    assert levels == 0 or -(-max(shape) >> (levels - 1)) > 64
    assert style[8] == 0x40
    (capabilities,) = found[0x50]
    assert capabilities[:4] == b"\0\2\0\0"
    assert found[0x51][0][:2] == b"\x40\0"
    (lengths,) = found[0x55]
    start = stream.index(b"\xff\x90")
    part = len(stream) - 2 - start
    assert lengths == b"\0\x50\0" + part.to_bytes(4, "big")
    assert found[0x90][0][2:6] == part.to_bytes(4, "big")
    assert len(found[0x5C][0]) == 2 + 3 * levels


@pytest.mark.parametrize("shape", [(3, 40_000), (40_000, 3)])
@pytest.mark.parametrize("transfer_syntax", [J2K, HTJ2K, HTJ2K_RPCL])
def test_more_precincts_than_one(transfer_syntax: str, shape: tuple[int, int]) -> None:
    geometry = Geometry(*shape)
    stream = blank_codestream(transfer_syntax, geometry, 1000)
    assert stream is not None
    pixels = decode(image(transfer_syntax, geometry, [stream], 1), "pylibjpeg")
    assert pixels.shape == shape
    assert (pixels == 128).all()


def test_rle_segments_are_even_and_in_order() -> None:
    stream = blank_codestream(RLE, Geometry(13, 129, 3, 16, 16), 5000)
    assert stream is not None
    header = np.frombuffer(stream[:64], "<u4")
    assert header[0] == 6
    assert header[1] == 64
    assert {after - before for before, after in pairwise(header[1:7].tolist())} == {13 * 4}
    assert not header[7:].any()
    assert stream[64:68] == b"\x81\0\0\0"
    assert set(stream[64 + 6 * 13 * 4 :]) == {0x80}


@pytest.mark.parametrize(
    "transfer_syntax",
    [
        *("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"),
        *(f"1.2.840.10008.1.2.4.{last}" for last in (53, 55, 94, 100, 102, 107, 110, 111, 112)),
        *("1.2.840.10008.1.2.7.1", "1.2.840.113619.5.2", "1.2.3"),
    ],
)
def test_other_transfer_syntaxes_are_refused(transfer_syntax: str) -> None:
    assert blank_codestream(transfer_syntax, Geometry(64, 64), 100_000) is None
    assert blank_fragments(transfer_syntax, Geometry(64, 64), 1, [100_000]) is None


@pytest.mark.parametrize("transfer_syntax", SUPPORTED)
@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(0, 64),
        Geometry(64, 0),
        Geometry(65536, 1),
        Geometry(1, 65536),
        Geometry(-1, -1),
        Geometry(8, 8, 0),
        Geometry(8, 8, 2),
        Geometry(8, 8, 4),
        Geometry(8, 8, 1, 8, 9),
        Geometry(8, 8, 1, 8, 0),
    ],
)
def test_shapes_that_no_image_has_are_refused(transfer_syntax: str, geometry: Geometry) -> None:
    assert blank_codestream(transfer_syntax, geometry, 1_000_000) is None


@pytest.mark.parametrize(
    ("transfer_syntax", "geometry"),
    [
        (BASELINE, Geometry(8, 8, 1, 16, 12)),
        (EXTENDED, Geometry(8, 8, 1, 16, 13)),
        (LOSSLESS, Geometry(8, 8, 1, 8, 1)),
        (LOSSLESS, Geometry(8, 8, 1, 32, 17)),
        (JPEG_LS, Geometry(8, 8, 1, 32, 17)),
        (J2K, Geometry(8, 8, 1, 32, 25)),
        (RLE, Geometry(8, 8, 1, 1, 1)),
        (RLE, Geometry(8, 8, 3, 64, 64)),
    ],
)
def test_depths_beyond_the_coding_are_refused(transfer_syntax: str, geometry: Geometry) -> None:
    assert blank_codestream(transfer_syntax, geometry, 1_000_000) is None


@given(
    transfer_syntax=st.sampled_from(SUPPORTED),
    geometry=st.builds(
        Geometry,
        rows=st.integers(0, 65536),
        columns=st.integers(0, 65536),
        samples=st.integers(0, 5),
        bits_allocated=st.sampled_from([1, 8, 12, 16, 24, 32, 64]),
        bits_stored=st.integers(0, 64),
        signed=st.booleans(),
    ),
    length=st.integers(0, 300_000),
)
def test_any_claim_of_a_file_gives_the_length_or_nothing(
    transfer_syntax: str, geometry: Geometry, length: int
) -> None:
    stream = blank_codestream(transfer_syntax, geometry, length)
    assert stream is None or len(stream) == length


@pytest.mark.parametrize("transfer_syntax", list(DECODERS))
def test_one_frame_in_several_fragments(transfer_syntax: str) -> None:
    geometry = Geometry(13, 7)
    lengths = [2, 100, 0, 40, 300]
    fragments = blank_fragments(transfer_syntax, geometry, 1, lengths)
    assert fragments is not None
    assert [len(fragment) for fragment in fragments] == lengths
    whole = b"".join(fragments)
    assert whole == blank_codestream(transfer_syntax, geometry, sum(lengths))


@pytest.mark.parametrize("transfer_syntax", list(DECODERS))
def test_several_frames_with_a_fragment_each(transfer_syntax: str) -> None:
    geometry = Geometry(13, 7)
    lengths = [400, 200, 1000]
    fragments = blank_fragments(transfer_syntax, geometry, 3, lengths)
    assert fragments is not None
    assert [len(fragment) for fragment in fragments] == lengths
    plugin = DECODERS[transfer_syntax][0]
    pixels = decode(image(transfer_syntax, geometry, fragments, 3), plugin)
    assert pixels.shape == (3, 13, 7)
    assert (pixels == level(transfer_syntax, geometry)).all()


@pytest.mark.parametrize(
    ("transfer_syntax", "frames", "lengths"),
    [
        (BASELINE, 1, []),
        (BASELINE, 1, [50, 50]),
        (BASELINE, 0, []),
        (BASELINE, 0, [500]),
        (BASELINE, -1, [500]),
        (BASELINE, 2, [500]),
        (BASELINE, 2, [500, 500, 500]),
        (BASELINE, 2, [500, 50]),
        (J2K_MC, 2, [500, 500]),
        (J2K_MC_LOSSLESS, 2, [500, 500]),
    ],
)
def test_fragments_that_cannot_be_filled(
    transfer_syntax: str, frames: int, lengths: list[int]
) -> None:
    assert blank_fragments(transfer_syntax, Geometry(64, 64), frames, lengths) is None
