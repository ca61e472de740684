"""Blank code streams: images that say nothing, of a given transfer syntax, geometry and length.

An encapsulated image that must be blanked without moving a byte of the file around it needs a code
stream that is exactly as long as the old one, that readers decode without complaint, and that shows
a uniform image of the old geometry. Each function here builds the smallest such stream and lets the
rest of the room be padding of a kind that the coding standard provides for.

Nothing here decodes anything, and nothing of the old stream is looked at but its length.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Geometry", "blank_codestream", "blank_fragments"]


@dataclass(frozen=True)
class Geometry:
    """The shape of one frame, as the Image Pixel module tells it (PS3.3 C.7.6.3).

    ``signed`` is Pixel Representation: only JPEG 2000 writes it into the code stream.
    """

    rows: int
    columns: int
    samples: int = 1
    bits_allocated: int = 8
    bits_stored: int = 8
    signed: bool = False

    @property
    def valid(self) -> bool:
        """Whether a code stream can have this shape at all."""
        return (
            1 <= self.rows <= 0xFFFF
            and 1 <= self.columns <= 0xFFFF
            and self.samples in (1, 3)
            and 1 <= self.bits_stored <= self.bits_allocated
        )


def blank_codestream(transfer_syntax: str, geometry: Geometry, length: int) -> bytes | None:
    """A valid code stream of exactly ``length`` bytes that decodes to a uniform frame.

    None when the transfer syntax is not one of those below, when it cannot carry the geometry, or
    when even the smallest blank stream is longer than ``length`` bytes. The geometry may be any
    file's claim: never more than a few times ``length`` bytes of memory are taken, and the caller
    bounds ``length``.

    Sources: JPEG is ISO/IEC 10918-1 (T.81), JPEG-LS ISO/IEC 14495-1 (T.87), JPEG 2000
    ISO/IEC 15444-1 (T.800), HTJ2K ISO/IEC 15444-15 (T.814), RLE PS3.5 Annex G, Deflated Image
    Frame PS3.5 A.4.13 and RFC 1951; what DICOM asks of each beyond that is in PS3.5 sections 8.2
    and 10 and Annex A.4.
    """
    build = _BUILDERS.get(transfer_syntax)
    if build is None or not geometry.valid:
        return None
    return build(geometry, length)


def blank_fragments(
    transfer_syntax: str, geometry: Geometry, frames: int, fragment_lengths: Sequence[int]
) -> list[bytes] | None:
    """New content for existing fragments, each of its old length (PS3.5 A.4).

    ``fragment_lengths`` are those of the fragments after the Basic Offset Table item. One frame may
    lie in any number of fragments; several frames need one fragment each, because which fragment
    starts a frame is not known otherwise. None where that does not hold or nothing fits.
    """
    if frames == 1 and fragment_lengths:
        stream = blank_codestream(transfer_syntax, geometry, sum(fragment_lengths))
        if stream is None:
            return None
        fragments = []
        start = 0
        for size in fragment_lengths:
            fragments.append(stream[start : start + size])
            start += size
        return fragments
    if frames < 1 or frames != len(fragment_lengths) or transfer_syntax in _FRAMES_AS_COMPONENTS:
        return None
    streams = [blank_codestream(transfer_syntax, geometry, size) for size in fragment_lengths]
    made = [stream for stream in streams if stream is not None]
    return made if len(made) == frames else None


# --- JPEG and JPEG-LS ------------------------------------------------------------------------

_SOI = b"\xff\xd8"
_EOI = b"\xff\xd9"
_SOF_BASELINE = 0xC0
_SOF_EXTENDED = 0xC1
_SOF_LOSSLESS = 0xC3
_SOF_JPEG_LS = 0xF7
_DHT = 0xC4
_SOS = 0xDA
_DQT = 0xDB


def _segment(marker: int, body: bytes) -> bytes:
    """A marker segment: marker, length of length and body, body (T.81 B.1.1.4; T.800 A.1.3)."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _frame_header(marker: int, precision: int, geometry: Geometry) -> bytes:
    """SOFn with components 1, 2, ... that are not subsampled (T.81 B.2.2; T.87 C.2.2)."""
    body = struct.pack(">BHHB", precision, geometry.rows, geometry.columns, geometry.samples)
    for component in range(1, geometry.samples + 1):
        body += bytes((component, 0x11, 0))
    return _segment(marker, body)


def _scan_header(samples: int, parameters: bytes) -> bytes:
    """SOS of one scan that holds all components, with table 0 each (T.81 B.2.3; T.87 C.2.3)."""
    body = bytes((samples,))
    for component in range(1, samples + 1):
        body += bytes((component, 0))
    return _segment(_SOS, body + parameters)


def _jpeg_stream(tables: bytes, scan: bytes, length: int) -> bytes | None:
    """SOI, tables, scan, fill bytes, EOI.

    Fill bytes before EOI are how DICOM itself pads (PS3.5 A.4; T.81 B.1.1.2). Before other markers
    they confuse readers that step from segment to segment, and application segments are refused
    by older readers of JPEG-LS.
    """
    room = length - len(_SOI) - len(tables) - len(scan) - len(_EOI)
    if room < 0:
        return None
    return _SOI + tables + scan + b"\xff" * room + _EOI


def _code_table(table_class: int, *symbols: int) -> bytes:
    """DHT of table 0 with the codes 0, 10, 110, ... for ``symbols`` (T.81 B.2.4.2, C.2)."""
    counts = bytes(1 if size < len(symbols) else 0 for size in range(16))
    return _segment(_DHT, bytes((table_class << 4,)) + counts + bytes(symbols))


def _entropy_coded(first: str, zeros: int) -> bytes:
    """The bits ``first``, then ``zeros`` zero bits, then ones up to a whole byte (T.81 F.1.2.3).

    A zero byte is stuffed after each FF.
    """
    start = first + "0" * min(zeros, -len(first) % 8)
    zeros -= len(start) - len(first)
    if len(start) % 8:
        start += "1" * (-len(start) % 8)
    coded = int(start or "0", 2).to_bytes(len(start) // 8, "big").replace(b"\xff", b"\xff\x00")
    coded += bytes(zeros // 8)
    if zeros % 8:
        coded += bytes((0xFF >> zeros % 8,))
    return coded


def _dct(marker: int, geometry: Geometry, precision: int, length: int) -> bytes | None:
    """Sequential DCT: every block is flat and like the one before (T.81 Annex F).

    A difference of zero and an end of block are one zero bit each. The level is the middle of
    the range of Bits Stored: grey, whether the three components are read as RGB or as YBR. With a
    quantiser of 8 the DC coefficient is the level itself, counted from the middle of the range.
    """
    level = (1 << (geometry.bits_stored - 1)) - (1 << (precision - 1))
    size = (-level).bit_length()
    first_blocks = ""
    differences = [0]
    if level:
        # Category `size` has the code 10; a negative value is sent less one (T.81 F.1.2.1.1).
        first_blocks = geometry.samples * (
            "10" + format(level - 1 + (1 << size), f"0{size}b") + "0"
        )
        differences.append(size)
    blocks = geometry.samples * -(-geometry.rows // 8) * -(-geometry.columns // 8)
    if blocks // 4 > length:
        return None
    coded_first = geometry.samples if level else 0
    tables = (
        _segment(_DQT, b"\0" + b"\x08" * 64)
        + _frame_header(marker, precision, geometry)
        + _code_table(0, *differences)
        + _code_table(1, 0)
    )
    scan = _scan_header(geometry.samples, b"\x00\x3f\x00")
    scan += _entropy_coded(first_blocks, 2 * (blocks - coded_first))
    return _jpeg_stream(tables, scan, length)


def _jpeg_baseline(geometry: Geometry, length: int) -> bytes | None:
    if geometry.bits_stored > 8:
        return None
    return _dct(_SOF_BASELINE, geometry, 8, length)


def _jpeg_extended(geometry: Geometry, length: int) -> bytes | None:
    if geometry.bits_stored > 12:
        return None
    return _dct(_SOF_EXTENDED, geometry, 8 if geometry.bits_stored <= 8 else 12, length)


def _jpeg_lossless(geometry: Geometry, length: int) -> bytes | None:
    """Lossless, predictor 1: every difference is zero, one bit a sample (T.81 Annex H).

    The first sample is predicted as the middle of the range (H.1.2.1), which it then is. A
    precision of 1 does not exist (T.81 table B.2).
    """
    if not 2 <= geometry.bits_stored <= 16:
        return None
    samples = geometry.samples * geometry.rows * geometry.columns
    if samples // 8 > length:
        return None
    tables = _frame_header(_SOF_LOSSLESS, geometry.bits_stored, geometry) + _code_table(0, 0)
    scan = _scan_header(geometry.samples, b"\x01\x00\x00") + _entropy_coded("", samples)
    return _jpeg_stream(tables, scan, length)


# The table J of T.87 A.7.1.1: a run segment at index i has 1 << J[i] samples.
_RUN_LENGTHS = (0,) * 4 + (1,) * 4 + (2,) * 4 + (3,) * 4 + (4, 4, 5, 5, 6, 6, 7, 7, *range(8, 16))


def _jpeg_ls(geometry: Geometry, length: int) -> bytes | None:
    """JPEG-LS without loss, interleaved by sample: zeros, all of them in run mode (T.87 A.7.1).

    Each segment of a run, and each run that the end of a line cuts, is a one bit. The
    near-lossless transfer syntax allows an error of zero too (PS3.5 A.4.3).
    """
    if geometry.bits_stored > 16:
        return None
    ones = 0
    index = 0
    for _ in range(geometry.rows):
        left = geometry.columns
        while left > 0:
            left -= 1 << _RUN_LENGTHS[index]
            ones += 1
            if left >= 0 and index < 31:
                index += 1
    # After a byte of ones comes a stuffed zero bit (T.87 A.1), so two bytes hold fifteen bits.
    pairs, rest = divmod(ones, 15)
    coded = b"\xff\x7f" * pairs
    if rest >= 8:
        coded += bytes((0xFF, 0x7F << (15 - rest) & 0x7F))
    elif rest:
        coded += bytes((0xFF << (8 - rest) & 0xFF,))
    # A precision of 1 does not exist (T.87 C.2.2), and zero is zero at any precision.
    tables = _frame_header(_SOF_JPEG_LS, max(geometry.bits_stored, 2), geometry)
    interleave = 0 if geometry.samples == 1 else 2
    scan = _scan_header(geometry.samples, bytes((0, interleave, 0))) + coded
    return _jpeg_stream(tables, scan, length)


# --- JPEG 2000 and HTJ2K ---------------------------------------------------------------------

_SOC = b"\xff\x4f"
_EOC = b"\xff\xd9"
_SOD = b"\xff\x93"
_CAP = 0x50
_SIZ = 0x51
_COD = 0x52
_TLM = 0x55
_QCD = 0x5C
_COM = 0x64
_SOT = 0x90
_LEAST_COMMENT = 7
_LONGEST_COMMENT = 2 + 0xFFFF
_LRCP = 0
_RPCL = 2
_GUARD_BITS = 2


def _j2k(geometry: Geometry, length: int) -> bytes | None:
    return _jpeg_2000(geometry, length, high_throughput=False, by_resolution=False)


def _htj2k(geometry: Geometry, length: int) -> bytes | None:
    return _jpeg_2000(geometry, length, high_throughput=True, by_resolution=False)


def _htj2k_rpcl(geometry: Geometry, length: int) -> bytes | None:
    """RPCL, a TLM segment, and a lowest resolution of at most 64 x 64 (PS3.5 10.18)."""
    return _jpeg_2000(geometry, length, high_throughput=True, by_resolution=True)


def _jpeg_2000(
    geometry: Geometry, length: int, *, high_throughput: bool, by_resolution: bool
) -> bytes | None:
    """One tile whose packets are all empty: every coefficient is zero (T.800 B.10.3).

    Zero coefficients are the middle of the range of unsigned samples, or the zero of signed ones.
    Reversible throughout, so it fits the lossless transfer syntaxes; a Part 1 stream is a Part 2
    stream too. Padding is comment segments of zeros in the main header; one to six bytes are too
    few for one and stand after EOC, where DICOM lets padding stand (PS3.5 A.4).
    """
    if geometry.bits_stored > 24:
        return None
    levels = 0
    if by_resolution:
        levels = ((max(geometry.rows, geometry.columns) - 1) >> 6).bit_length()
    packets = bytes(geometry.samples * _precincts(geometry, levels))
    tile_part = 12 + len(_SOD) + len(packets)
    header = _SOC + _siz(geometry, 0x4000 if high_throughput else 0)
    if high_throughput:
        header += _cap(geometry, levels)
    header += _cod(_RPCL if by_resolution else _LRCP, levels, 0x40 if high_throughput else 0)
    header += _qcd(geometry, levels)
    if by_resolution:
        # Ztlm, Stlm (an index of one byte, a length of four), then the one tile-part.
        header += _segment(_TLM, struct.pack(">BBBI", 0, 0x50, 0, tile_part))
    tile = _segment(_SOT, struct.pack(">HIBB", 0, tile_part, 0, 1)) + _SOD + packets
    room = length - len(header) - len(tile) - len(_EOC)
    if room < 0:
        return None
    if room < _LEAST_COMMENT:
        return header + tile + _EOC + bytes(room)
    return header + _comments(room) + tile + _EOC


def _comments(size: int) -> bytes:
    """Comment segments of zeros that fill exactly ``size`` bytes (T.800 A.9.2)."""
    comments = []
    while size:
        part = min(size, _LONGEST_COMMENT)
        if 0 < size - part < _LEAST_COMMENT:
            part -= _LEAST_COMMENT
        # The first two bytes are Rcom, where zero means binary.
        comments.append(_segment(_COM, bytes(part - 4)))
        size -= part
    return b"".join(comments)


def _precincts(geometry: Geometry, levels: int) -> int:
    """How many precincts of the greatest size all resolutions have together (T.800 B.6)."""
    total = 0
    for shrink in range(levels + 1):
        wide = -(-geometry.columns >> shrink)
        high = -(-geometry.rows >> shrink)
        total += -(-wide >> 15) * -(-high >> 15)
    return total


def _siz(geometry: Geometry, capabilities: int) -> bytes:
    """Image and tile size: one tile, components not subsampled (T.800 A.5.1)."""
    size = geometry.columns, geometry.rows
    body = struct.pack(">H8IH", capabilities, *size, 0, 0, *size, 0, 0, geometry.samples)
    depth = geometry.bits_stored - 1 | (0x80 if geometry.signed else 0)
    return _segment(_SIZ, body + bytes((depth, 1, 1)) * geometry.samples)


def _cap(geometry: Geometry, levels: int) -> bytes:
    """Part 15 is used: HT blocks only, reversible, and a bound of magnitudes (T.814 A.3)."""
    gain = 2 if levels else 0
    magnitude_bits = _GUARD_BITS + geometry.bits_stored + gain - 1
    return _segment(_CAP, struct.pack(">IH", 1 << 17, max(0, magnitude_bits - 8)))


def _cod(progression: int, levels: int, block_style: int) -> bytes:
    """One layer, no component transform, 64 x 64 blocks, the 5/3 filter (T.800 A.6.1)."""
    body = struct.pack(">BBHB", 0, progression, 1, 0) + bytes((levels, 4, 4, block_style, 1))
    return _segment(_COD, body)


def _qcd(geometry: Geometry, levels: int) -> bytes:
    """No quantisation: an exponent for each sub-band, LL then HL, LH, HH (T.800 A.6.4, E.1)."""
    depth = geometry.bits_stored
    exponents = [depth] + [depth + 1, depth + 1, depth + 2] * levels
    return _segment(_QCD, bytes((_GUARD_BITS << 5, *(exponent << 3 for exponent in exponents))))


# --- RLE, deflated and uncompressed frames ---------------------------------------------------


def _rle(geometry: Geometry, length: int) -> bytes | None:
    """PS3.5 Annex G: a segment for each byte of a pixel, each row a few runs of zeros.

    The padding is the byte 80, of which a decoder makes nothing (G.3.2). Zeros would be one more
    run of a byte that belongs to no row.
    """
    segments = geometry.samples * (geometry.bits_allocated // 8)
    if geometry.bits_allocated % 8 or not 1 <= segments <= 15:
        return None
    full, rest = divmod(geometry.columns, 128)
    row = b"\x81\0" * full
    if rest:
        # A run of n bytes starts with 257 - n; one byte alone is a literal run.
        row += bytes((257 - rest if rest > 1 else 0, 0))
    if segments * len(row) * geometry.rows > length:
        return None
    segment = row * geometry.rows
    offsets = [64 + len(segment) * number for number in range(segments)]
    offsets += [0] * (15 - segments)
    header = struct.pack("<16I", segments, *offsets)
    room = length - len(header) - segments * len(segment)
    if room < 0:
        return None
    return header + segment * segments + b"\x80" * room


def _frame_bytes(geometry: Geometry) -> int:
    bits = geometry.rows * geometry.columns * geometry.samples * geometry.bits_allocated
    return -(-bits // 8)


def _deflated(geometry: Geometry, length: int) -> bytes | None:
    """PS3.5 A.4.13: a raw deflate stream of a frame of zeros.

    Empty stored blocks before it are the padding (RFC 1951 3.2.4), five bytes each; what is left
    stands behind the stream as zeros. Written here rather than by zlib, whose output differs
    from version to version.
    """
    size = _frame_bytes(geometry)
    if size // 258 // 4 > length:
        return None
    stream = _deflate_zeros(size)
    if len(stream) > length:
        return None
    blocks, rest = divmod(length - len(stream), 5)
    return b"\x00\x00\x00\xff\xff" * blocks + stream + bytes(rest)


def _deflate_zeros(count: int) -> bytes:
    """``count`` zeros (one at least) as RFC 1951 blocks, each match as long as can be."""
    matches, rest = divmod(count - 1, 258)
    bits = _Bits()
    bits.put(0 if matches else 1, 1)
    bits.put(1, 2)  # fixed codes (3.2.6)
    bits.put_code(0x30, 8)
    if rest < 3:
        for _ in range(rest):
            bits.put_code(0x30, 8)
    else:
        extra = max(0, (rest - 3).bit_length() - 3)
        symbol = 257 + 4 * extra + (rest - 3 >> extra)
        if symbol < 280:
            bits.put_code(symbol - 256, 7)
        else:
            bits.put_code(symbol - 280 + 0xC0, 8)
        bits.put(rest - 3 & (1 << extra) - 1, extra)
        bits.put_code(0, 5)  # distance 1
    bits.put_code(0, 7)  # end of block
    if matches:
        # Only end of block (0), the match of 258 (1) and distance 1 (0) have codes, one bit each,
        # so that a match takes two bits. Code lengths are sent with 18 (11 zeros or more) and 1.
        bits.put(1, 1)
        bits.put(2, 2)  # dynamic codes (3.2.7)
        bits.put(29, 5)
        bits.put(0, 5)
        bits.put(14, 4)
        # Sizes of the codes of 16, 17, 18, 0, 8, ... up to 1, which comes 18th.
        for place in range(18):
            bits.put(1 if place in (2, 17) else 0, 3)
        for zeros in (138, 118, 0, 28, 0, 0):
            bits.put(1 if zeros else 0, 1)
            if zeros:
                bits.put(zeros - 11, 7)
        bits.put_repeated(0b01, 2, matches)
        bits.put(0, 1)
    return bits.to_bytes()


class _Bits:
    """Bits in the order of RFC 1951 3.1.1: the first is the lowest of its byte."""

    def __init__(self) -> None:
        self._value = 0
        self._size = 0

    def put(self, value: int, size: int) -> None:
        self._value |= value << self._size
        self._size += size

    def put_code(self, code: int, size: int) -> None:
        """A Huffman code, which is packed from its highest bit on."""
        for shift in reversed(range(size)):
            self.put(code >> shift & 1, 1)

    def put_repeated(self, value: int, size: int, times: int) -> None:
        # The sum of value << size * i over i, without a loop over a number of the file's choice.
        self.put(value * (((1 << size * times) - 1) // ((1 << size) - 1)), size * times)

    def to_bytes(self) -> bytes:
        return self._value.to_bytes(-(-self._size // 8), "little")


def _uncompressed(geometry: Geometry, length: int) -> bytes | None:
    """Encapsulated Uncompressed (PS3.5 A.4): the native frame as it is, of zeros."""
    return bytes(length) if length >= _frame_bytes(geometry) else None


# PS3.6 Annex A. Not here: MPEG-2, H.264, HEVC and JPEG XL, whose blank streams are not so simple,
# SMPTE ST 2110, which no file has, and the retired processes of JPEG.
_BUILDERS: dict[str, Callable[[Geometry, int], bytes | None]] = {
    "1.2.840.10008.1.2.1.98": _uncompressed,
    "1.2.840.10008.1.2.4.50": _jpeg_baseline,
    "1.2.840.10008.1.2.4.51": _jpeg_extended,
    "1.2.840.10008.1.2.4.57": _jpeg_lossless,
    "1.2.840.10008.1.2.4.70": _jpeg_lossless,
    "1.2.840.10008.1.2.4.80": _jpeg_ls,
    "1.2.840.10008.1.2.4.81": _jpeg_ls,
    "1.2.840.10008.1.2.4.90": _j2k,
    "1.2.840.10008.1.2.4.91": _j2k,
    "1.2.840.10008.1.2.4.92": _j2k,
    "1.2.840.10008.1.2.4.93": _j2k,
    "1.2.840.10008.1.2.4.201": _htj2k,
    "1.2.840.10008.1.2.4.202": _htj2k_rpcl,
    "1.2.840.10008.1.2.4.203": _htj2k,
    "1.2.840.10008.1.2.5": _rle,
    "1.2.840.10008.1.2.8.1": _deflated,
}

# JPEG 2000 Part 2 codes the frames as components, several to a fragment (PS3.5 A.4.4).
_FRAMES_AS_COMPONENTS = frozenset({"1.2.840.10008.1.2.4.92", "1.2.840.10008.1.2.4.93"})
