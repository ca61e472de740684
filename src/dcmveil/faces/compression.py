"""What stands around an archive: its kind by the first bytes, and gzip or zstd, read and written.

All reading is bounded: however well the input was packed, one step inflates one piece. A compressed
stream that ends before its end is an error, as is a wrong checksum.
"""

from __future__ import annotations

import io
import zlib

from ..errors import ArchiveError, UsageError
from .stream import read_into, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from _typeshed import WriteableBuffer

    from .stream import Readable, Writable

    class Decompressor(Protocol):
        eof: bool
        needs_input: bool
        unused_data: bytes

        def decompress(self, data: bytes, max_length: int, /) -> bytes: ...

    class Compressor(Protocol):
        def compress(self, data: bytes | memoryview, /) -> bytes: ...
        def flush(self) -> bytes: ...

    class Sink(Protocol):
        def write(self, data: bytes | memoryview, /) -> None: ...
        def close(self) -> None: ...


NONE, GZIP, ZSTD = "none", "gzip", "zstd"
COMPRESSIONS = (NONE, GZIP, ZSTD)
TAR, ZIP = "tar", "zip"
PIECE = 1 << 17  # bytes read, inflated or gathered at a time

# The 8 MiB that a decoder must support (RFC 8878) and what `zstd --long` makes; more is refused.
_ZSTD_WINDOW_LOG = 27
_GZIP_LEVEL = 6  # the usual one of gzip
_MAGIC = {b"\x1f\x8b": GZIP, b"\x28\xb5\x2f\xfd": ZSTD, b"PK\3\4": ZIP, b"PK\5\6": ZIP}
_OTHERS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
    b"LZIP": "lzip",
}
_NO_ZSTD = "zstd needs Python 3.14, or the package backports.zstd: pip install 'dcmveil[zstd]'"


class Input(io.RawIOBase):
    """A source whose first bytes were looked at; they are read again."""

    def __init__(self, src: Readable) -> None:
        self._src = src
        start = bytearray(8)
        n = 0
        with memoryview(start) as view:
            while n < len(view) and (got := read_into(src, view[n:])):
                n += got
        self.start = self._rest = bytes(start[:n])

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        with memoryview(buffer) as view:
            n = min(len(self._rest), len(view))
            if n:
                view[:n] = self._rest[:n]
                self._rest = self._rest[n:]
                return n
            return read_into(self._src, view)


def kind_of(start: bytes) -> str:
    """gzip, zstd or zip by the first bytes, else none. Raises ArchiveError where they are those of
    another kind."""
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            return kind
    if start[1:4] == b"\x2a\x4d\x18" and start[0] >> 4 == 5:  # a frame to be skipped comes first
        return ZSTD
    for magic, name in _OTHERS.items():
        if start.startswith(magic):
            reason = f"an archive of the kind {name} is not read: only tar, tar.gz, tar.zst and zip"
            raise ArchiveError(0, reason)
    return NONE


# -- reading -------------------------------------------------------------------------------------


def decompressed(src: Input, kind: str) -> io.BufferedReader:
    """The bytes behind that compression. Its reads raise ArchiveError."""
    if kind == NONE:
        return io.BufferedReader(src, PIECE)
    return io.BufferedReader(_Inflated(src, kind), PIECE)


class _Inflated(io.RawIOBase):
    """One compressed stream or several, one behind the other, as both formats allow."""

    def __init__(self, src: Input, kind: str) -> None:
        self._src = src
        self._new = _Gunzip if kind == GZIP else _unzstd
        self._stream: Decompressor | None = self._new()
        self._raw = b""
        self._ended = False
        self._inflated = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        with memoryview(buffer) as view:
            piece = self._next(len(view))
            view[: len(piece)] = piece
            return len(piece)

    def _next(self, size: int) -> bytes:
        while True:
            if self._stream is None and not self._find_next():
                return b""
            stream = self._stream
            assert stream is not None
            if stream.needs_input and not self._raw:
                self._read()
            try:
                piece = stream.decompress(self._raw, size)
            except Exception as error:  # each library has its own kind
                if isinstance(error, MemoryError):
                    raise
                raise self._fault("the compressed data is damaged") from None
            self._raw = b""
            if stream.eof:
                self._raw = stream.unused_data
                self._stream = None
            elif not piece and self._ended and stream.needs_input:
                raise self._fault("the compressed data is cut off")
            if piece:
                self._inflated += len(piece)
                return piece

    def _find_next(self) -> bool:
        """Whether another stream follows; zeros behind the last one are padding of a tape."""
        while True:
            self._raw = self._raw.lstrip(b"\0")
            if self._raw:
                self._stream = self._new()
                return True
            if self._ended:
                return False
            self._read()

    def _read(self) -> None:
        if not self._ended:
            self._raw = self._src.read(PIECE) or b""
            self._ended = not self._raw

    def _fault(self, reason: str) -> ArchiveError:
        return ArchiveError(self._inflated, reason)


class _Gunzip:
    """zlib with the face that zstd has."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._rest = b""
        self.unused_data = b""
        self.eof = False
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._stream.decompress(self._rest + data if self._rest else data, max_length)
        self._rest = self._stream.unconsumed_tail
        self.eof = self._stream.eof
        self.unused_data = self._stream.unused_data
        # a full piece: zlib may hold more without any input
        self.needs_input = not self._rest and len(piece) < max_length
        return piece


def _unzstd() -> Decompressor:
    zstd = _zstd()
    limit = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    stream: Decompressor = zstd.ZstdDecompressor(options=limit)
    return stream


def _zstd() -> Any:
    from importlib import import_module

    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise UsageError(_NO_ZSTD)


# -- writing -------------------------------------------------------------------------------------


def compressed(dst: Writable, kind: str) -> Sink:
    """Where to write what is to be compressed so. The header of gzip has no name and no time.
    Nothing is finished without close()."""
    gathered = _Gathered(dst)
    if kind == GZIP:
        return _Compressed(gathered, zlib.compressobj(_GZIP_LEVEL, wbits=16 + zlib.MAX_WBITS))
    if kind == ZSTD:
        zstd = _zstd()
        checked = {zstd.CompressionParameter.checksum_flag: 1}
        return _Compressed(gathered, zstd.ZstdCompressor(options=checked))
    return gathered


class _Gathered:
    """Small writes become larger ones; large ones pass."""

    def __init__(self, dst: Writable) -> None:
        self._dst = dst
        self._held = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        if len(self._held) + len(data) < PIECE:
            self._held += data
            return
        self._flush()
        write_all(self._dst, data)

    def close(self) -> None:
        self._flush()
        flush = getattr(self._dst, "flush", None)
        if flush is not None:
            flush()

    def _flush(self) -> None:
        if self._held:
            write_all(self._dst, bytes(self._held))
            self._held.clear()


class _Compressed:
    def __init__(self, dst: _Gathered, stream: Compressor) -> None:
        self._dst = dst
        self._stream = stream

    def write(self, data: bytes | memoryview) -> None:
        self._dst.write(self._stream.compress(data))

    def close(self) -> None:
        self._dst.write(self._stream.flush())
        self._dst.close()
