"""Deflated data sets (PS3.5 section A.5): inflated before the window, deflated again behind it."""

from __future__ import annotations

import zlib

from .errors import DicomError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 1 << 16  # bytes inflated at a time, however well they were packed
BLOCK = 1 << 16  # the compressor sees blocks of this size, so the output knows nothing of reads


class Inflater:
    """Raw deflate in, bounded pieces out, `limit` bytes of them at most. It starts at absolute
    offset `start` of the input."""

    def __init__(self, start: int, limit: int = 1 << 63) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._start = self._offset = start
        self._left = limit
        self.surplus = 0  # bytes behind the deflated data set; one NUL of padding is legal

    def pieces(self, raw: bytes, last: bool) -> Iterator[bytes]:
        """Inflated bytes. Raises DicomError for a broken stream, one that ends too early, or one
        that inflates to more than the limit."""
        stream = self._stream
        self._offset += len(raw)
        if stream.eof:
            self.surplus += len(raw)
            return
        full = True
        while full and not stream.eof:
            try:
                piece = stream.decompress(raw, PIECE)
            except zlib.error:
                reason = "the deflated data set that starts here cannot be inflated"
                raise DicomError(self._start, None, reason) from None
            raw = stream.unconsumed_tail
            full = len(piece) == PIECE or bool(raw)
            self._left -= len(piece)
            if self._left < 0:
                reason = "the deflated data set that starts here inflates to more than the limit"
                raise DicomError(self._start, None, reason)
            if piece:
                yield piece
        if stream.eof:
            self.surplus = len(stream.unused_data)
        elif last:
            raise DicomError(self._offset, None, "the deflated data set ends too early")


class Deflater:
    """Bytes in, raw deflate out, padded with a NUL to an even length."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        self._block = bytearray()
        self._length = 0

    def write(self, data: bytes | memoryview) -> Iterator[bytes]:
        self._block += data
        whole = len(self._block) // BLOCK * BLOCK
        for start in range(0, whole, BLOCK):
            yield from self._counted(self._stream.compress(self._block[start : start + BLOCK]))
        del self._block[:whole]

    def close(self) -> Iterator[bytes]:
        last = self._stream.compress(self._block) + self._stream.flush()
        yield from self._counted(last)
        if self._length % 2:
            yield b"\0"

    def _counted(self, data: bytes) -> Iterator[bytes]:
        self._length += len(data)
        if data:
            yield data
