"""Zip, member by member, through `zipfile`: its directory stands at the end, so the input must be
one that can be sought in."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib

from ..errors import ArchiveError, UsageError
from .members import DIRECTORY, FILE, OTHER, Member, MemberError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO, BinaryIO, cast

    from .compression import Sink
    from .stream import Readable

# All that zip archives of images hold; for the others the standard library inflates without bound.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_UNIX = 3
_NAME_LIMIT = 65535
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that zip can tell
# What zipfile raises for bytes that are no zip.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OverflowError, RuntimeError,
    LookupError,
)  # fmt: skip


class ZipReader:
    """The members of a zip, in the order of its directory. Raises UsageError for an input that
    cannot be sought in, ArchiveError for one whose directory is damaged."""

    def __init__(self, src: Readable) -> None:
        seekable = getattr(src, "seekable", None)
        if seekable is None or not seekable():
            raise UsageError("a zip cannot be read from a pipe: its directory stands at the end")
        if TYPE_CHECKING:
            src = cast(BinaryIO, src)
        try:
            self._zip = zipfile.ZipFile(src)
        except (*_DAMAGE, NotImplementedError):
            reason = "the directory of the zip is missing, cut off or damaged"
            raise ArchiveError(None, reason) from None
        self._data: IO[bytes] | None = None
        self.surplus = False

    def __iter__(self) -> Iterator[Member]:
        for number, info in enumerate(self._zip.infolist(), 1):
            self._data = None
            name = info.filename.encode("utf-8", "surrogateescape")
            mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
            if info.is_dir():
                yield Member(number, name, DIRECTORY)
            elif stat.S_ISLNK(mode):
                yield Member(number, name, OTHER, skip="a symbolic link")
            elif info.flag_bits & _ENCRYPTED:
                yield Member(number, name, OTHER, refuse="the member is encrypted")
            elif info.compress_type not in _METHODS:
                yield Member(
                    number, name, OTHER, refuse="the member is neither stored nor deflated"
                )
            else:
                reason = self._open(info)
                yield Member(number, name, OTHER if reason else FILE, refuse=reason)
            if self._data is not None:
                self._data.close()

    def readinto(self, buffer: memoryview) -> int:
        """Data of the member in hand, 0 at its end."""
        assert self._data is not None
        try:
            return self._data.readinto(buffer)  # type: ignore[attr-defined, no-any-return]
        except _DAMAGE:
            raise MemberError(_BROKEN) from None

    def _open(self, info: zipfile.ZipInfo) -> str:
        """Why it cannot be opened, or an empty string."""
        try:
            self._data = self._zip.open(info)
        except (*_DAMAGE, NotImplementedError):
            return _BROKEN
        return ""


_BROKEN = "the member is damaged or cut off"


class ZipWriter:
    """Members with a fixed date, no extra field but the one of large sizes, no comment. The zip
    is written as to a pipe, so that its bytes do not depend on where it goes. Its directory is
    held in memory until the end: about 1 KB a member."""

    def __init__(self, sink: Sink, *, stored: bool = False) -> None:
        self._sink = sink
        self._method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
        self._out = _Forward(sink)
        self._zip = zipfile.ZipFile(self._out, "w")

    def check(self, name: bytes) -> str:
        """Why a name cannot stand in this archive, or an empty string."""
        try:
            name.decode()
        except UnicodeDecodeError:
            return "its name is not UTF-8, and cannot be kept in a zip"
        return "" if len(name) < _NAME_LIMIT else "its name is too long for a zip"

    def add(self, name: bytes, size: int, pieces: Iterable[bytes | memoryview]) -> None:
        info = self._info(name, stat.S_IFREG | 0o644)
        info.compress_type = self._method
        info.file_size = size  # so zipfile knows whether it is a large one
        with self._zip.open(info, "w") as member:
            for piece in pieces:
                member.write(piece)

    def add_directory(self, name: bytes) -> None:
        info = self._info(name + b"/", stat.S_IFDIR | 0o755)
        info.external_attr |= 0x10  # a folder, for those who read the attributes of MS-DOS
        self._zip.writestr(info, b"")

    def close(self) -> None:
        self._zip.close()
        self._sink.close()

    def abandon(self) -> None:
        """No directory is written, so nobody takes what is there for an archive."""
        self._out.abandoned = True
        self._zip.close()

    @staticmethod
    def _info(name: bytes, mode: int) -> zipfile.ZipInfo:
        info = zipfile.ZipInfo(name.decode(), _DATE)
        info.create_system = _UNIX
        info.external_attr = mode << 16
        return info


class _Forward(io.RawIOBase):
    """A file to zipfile that can only be written to."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.abandoned = False

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        if not self.abandoned:
            self._sink.write(data)
        return len(data)
