"""Tar, member by member as it streams past: ustar, PAX (POSIX.1-2001) and GNU long names.

The reader is our own, because that of the standard library takes a damaged header in the middle or
a missing end for the end of the archive, holds every header that it has seen, and reads extended
headers of any size. Names are bytes throughout. The writer takes headers from `tarfile`.
"""

from __future__ import annotations

import io
import tarfile

from ..errors import ArchiveError
from .members import DIRECTORY, FILE, OTHER, Member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .compression import Sink

BLOCK = 512
# Extended headers hold names and a few attributes; Linux allows paths of 4 KiB and extended
# attributes of 64 KiB each.
EXTENDED_LIMIT = 1 << 20
RECORD = 20 * BLOCK  # what tar fills its last write up to
_ZEROS = bytes(RECORD)
_PIECE = 1 << 16
_USTAR_SIZE_LIMIT = 8**11
_SIZE_LIMIT = 1 << 63

# NUL: before POSIX; 7: in one piece, on some systems
_FILES = frozenset({0, ord("0"), ord("7")})
_WITHOUT_DATA = b"123456"  # links, devices, a folder, a FIFO: their size says nothing
_PASSED_OVER = {
    ord("1"): "a hard link",
    ord("2"): "a symbolic link",
    ord("3"): "a device",
    ord("4"): "a device",
    ord("6"): "a FIFO",
    ord("D"): "a list of a folder",
    ord("V"): "the label of a volume",
}
_REFUSED = {ord("M"): "a member that began on another volume"}
_OLD_SPARSE = ord("S")
_LONG_NAME, _LONG_LINK = ord("L"), ord("K")
_EXTENDED, _GLOBAL, _SOLARIS = ord("x"), ord("g"), ord("X")
_PAX_KEYS = (b"path", b"size")
_SPARSE_KEYS = b"GNU.sparse."


class TarReader:
    """The members of a tar, once, in order. Data that a caller leaves is passed over.

    Raises ArchiveError for an archive that is damaged or cut off, also where only the two blocks
    of zeros are missing that end it: an archive that was cut between two members looks just so.
    `surplus` says whether something other than zeros stood behind that end.
    """

    def __init__(self, src: io.BufferedReader) -> None:
        self._src = src
        self._offset = 0
        self._left = 0  # bytes of data that the member in hand still has
        self._padding = 0
        self._globals: dict[bytes, bytes] = {}
        self.surplus = False

    def __iter__(self) -> Iterator[Member]:
        number = 0
        fields: dict[bytes, bytes] = {}
        while True:
            self._pass_over()
            at = self._offset
            block = self._exactly(BLOCK, at_end=True)
            if not block:
                raise ArchiveError(at, "the input is empty" if at == 0 else _CUT_OFF)
            if block.count(0) == BLOCK:
                if fields:
                    raise ArchiveError(at, "the archive ends behind an extended header")
                self._drain()
                return
            header = _Header(block, at)
            if header.type in (_EXTENDED, _GLOBAL, _SOLARIS, _LONG_NAME, _LONG_LINK):
                self._see_extended(header, fields, at)
                continue
            number += 1
            yield self._member(number, header, {**self._globals, **fields}, at)
            fields = {}

    def readinto(self, buffer: memoryview) -> int:
        """Data of the member in hand, 0 at its end."""
        size = min(len(buffer), self._left)
        if not size:
            return 0
        n = self._src.readinto(buffer[:size])
        if not n:
            raise ArchiveError(self._offset, _CUT_OFF)
        self._offset += n
        self._left -= n
        return n

    # -- headers -----------------------------------------------------------------------------

    def _see_extended(self, header: _Header, fields: dict[bytes, bytes], at: int) -> None:
        if header.size > EXTENDED_LIMIT:
            raise ArchiveError(at, "an extended header of more bytes than are held")
        content = self._exactly(header.size)
        self._exactly(-header.size % BLOCK)
        if header.type == _LONG_NAME:
            fields[b"long name"] = content.partition(b"\0")[0]
        elif header.type == _GLOBAL:
            self._globals.update(_pax(content, at))
        elif header.type != _LONG_LINK:
            fields.update(_pax(content, at))

    def _member(self, number: int, header: _Header, fields: dict[bytes, bytes], at: int) -> Member:
        name = fields.get(b"path") or fields.get(b"long name") or header.name
        size = header.size
        if b"size" in fields:
            size = _decimal(fields[b"size"], at)
        kind, skip, refuse = OTHER, "", ""
        # before POSIX, only the slash told a folder from a file
        if header.type == ord("5") or (header.type == 0 and name.endswith(b"/")):
            kind = DIRECTORY
        elif header.type == _OLD_SPARSE or any(key.startswith(_SPARSE_KEYS) for key in fields):
            refuse = _SPARSE
        elif header.type in _FILES:
            kind = FILE
        elif header.type in _PASSED_OVER:
            skip = _PASSED_OVER[header.type]
        else:
            refuse = _REFUSED.get(header.type, "a member of an unknown kind")
        member = Member(number, name, kind, skip=skip, refuse=refuse)
        if header.type == _OLD_SPARSE:
            more = header.more
            while more:
                more = self._exactly(BLOCK)[504] != 0
        if header.type in _WITHOUT_DATA or kind is DIRECTORY:
            size = 0
        self._left, self._padding = size, -size % BLOCK
        return member

    # -- bytes -------------------------------------------------------------------------------

    def _exactly(self, size: int, *, at_end: bool = False) -> bytes:
        data = self._src.read(size) if size else b""
        self._offset += len(data)
        if len(data) < size and (data or not at_end):
            if self._offset < BLOCK:
                raise ArchiveError(0, NO_ARCHIVE)
            raise ArchiveError(self._offset, _CUT_OFF)
        return data

    def _pass_over(self) -> None:
        """What is left of the member in hand."""
        with memoryview(bytearray(min(_PIECE, self._left))) as room:
            while self._left:
                self.readinto(room)
        self._exactly(self._padding)
        self._padding = 0

    def _drain(self) -> None:
        """To the end of the input: a writer on the other side of a pipe would fail otherwise, and
        the checksum of the compression comes last."""
        while data := self._src.read(_PIECE):
            if data.count(0) != len(data):
                self.surplus = True


_CUT_OFF = "the archive is cut off"
NO_ARCHIVE = "the input is no archive: neither tar, tar.gz, tar.zst nor zip"
_DAMAGED = "a damaged header"
_SPARSE = "a sparse member; pack it without the option --sparse of tar"


class _Header:
    """One block of a header. Raises ArchiveError where its checksum or its numbers are wrong."""

    __slots__ = ("more", "name", "size", "type")

    def __init__(self, block: bytes, at: int) -> None:
        total = sum(block) - sum(block[148:156]) + 8 * ord(" ")
        stated = _number(block[148:156])
        if stated != total:
            # some old systems added the bytes up as signed ones
            high = [byte for byte in block[:148] + block[156:] if byte > 127]
            if stated != total - 256 * len(high):
                raise ArchiveError(at, NO_ARCHIVE if at == 0 else _DAMAGED)
        size = _number(block[124:136])
        if size is None or size >= _SIZE_LIMIT:
            raise ArchiveError(at, _DAMAGED)
        self.size = size
        self.type = block[156]
        self.name = block[:100].partition(b"\0")[0]
        self.more = block[482] != 0  # of an old sparse member: more blocks of its map follow
        if block[257:263] == b"ustar\0":
            prefix = block[345:500].partition(b"\0")[0]
            if prefix:
                self.name = prefix + b"/" + self.name


def _number(field: bytes) -> int | None:
    """An octal number, or the big-endian one of GNU tar. None: it is neither, or negative."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip(b" ")
    if digits.strip(b"01234567"):
        return None
    return int(digits or b"0", 8)


def _decimal(digits: bytes, at: int) -> int:
    if not digits.isdigit() or len(digits) > 20 or int(digits) >= _SIZE_LIMIT:
        raise ArchiveError(at, _DAMAGED)
    return int(digits)


def _pax(content: bytes, at: int) -> dict[bytes, bytes]:
    """The records of an extended header that matter here: `length key=value\\n` each."""
    found = {}
    start = 0
    while start < len(content):
        space = content.find(b" ", start, start + 10)
        digits = content[start:space] if space > start else b""
        end = start + int(digits) if digits.isdigit() else start
        if not start < space < end <= len(content) or content[end - 1] != ord("\n"):
            raise ArchiveError(at, "a damaged extended header")
        key, equals, value = content[space + 1 : end - 1].partition(b"=")
        if not equals:
            raise ArchiveError(at, "a damaged extended header")
        if key in _PAX_KEYS:
            found[key] = value
        elif key.startswith(_SPARSE_KEYS):
            found[key] = b""
        start = end
    return found


class TarWriter:
    """Members with nothing in their headers but name, size, kind and mode. No owner, and the time
    is 0: the first second of 1970."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._written = 0

    def check(self, name: bytes) -> str:
        """Why a name cannot stand in this archive, or an empty string."""
        return ""

    def add(self, name: bytes, size: int, pieces: Iterable[bytes | memoryview]) -> None:
        self._put(_header(name, size, tarfile.REGTYPE, 0o644))
        for piece in pieces:
            self._put(piece)
        self._put(_ZEROS[: -size % BLOCK])

    def add_directory(self, name: bytes) -> None:
        self._put(_header(name + b"/", 0, tarfile.DIRTYPE, 0o755))

    def abandon(self) -> None:
        """Without the end, nobody takes what is there for a whole archive."""

    def close(self) -> None:
        self._put(_ZEROS[: 2 * BLOCK])
        self._put(_ZEROS[: -self._written % RECORD])
        self._sink.close()

    def _put(self, data: bytes | memoryview) -> None:
        self._sink.write(data)
        self._written += len(data)


def _header(name: bytes, size: int, kind: bytes, mode: int) -> bytes:
    """A header of ustar where all fits into it, else one of PAX before it."""
    info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
    info.size, info.type, info.mode = size, kind, mode
    if name.isascii() and size < _USTAR_SIZE_LIMIT:
        try:
            return info.tobuf(tarfile.USTAR_FORMAT)
        except ValueError:
            pass  # the name is too long
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
