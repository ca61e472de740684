"""What archives of every kind have in common: their members, and where one is held."""

from __future__ import annotations

from hashlib import blake2b

from ..errors import DcmveilError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO, Protocol

    class Reader(Protocol):
        """Members in order; the data is of the one that was yielded last."""

        surplus: bool

        def __iter__(self) -> Iterator[Member]: ...
        def readinto(self, buffer: memoryview, /) -> int: ...

    class Writer(Protocol):
        def check(self, name: bytes) -> str: ...
        def add(self, name: bytes, size: int, pieces: Iterable[bytes | memoryview]) -> None: ...
        def add_directory(self, name: bytes) -> None: ...
        def close(self) -> None: ...
        def abandon(self) -> None: ...


FILE, DIRECTORY, OTHER = "file", "directory", "other"
# Bytes of a rewritten member held in memory: nearly all images, and no more than a pipe that holds
# a file back. What is larger goes to a temporary file.
SPOOL_LIMIT = 16 << 20
_PIECE = 1 << 20


class Member:
    """One member: its number from 1, its name as it stands there, what it is.

    skip    why it is passed over: it is nothing that could be DICOM
    refuse  why it cannot be read, though it might be
    """

    __slots__ = ("kind", "name", "number", "refuse", "skip")

    def __init__(
        self, number: int, name: bytes, kind: str, *, skip: str = "", refuse: str = ""
    ) -> None:
        self.number, self.name, self.kind = number, name, kind
        self.skip, self.refuse = skip, refuse


class MemberError(DcmveilError):
    """The data of one member cannot be read; the next ones can. Its argument is the reason."""


class Spool:
    """Where a member is held until it is known to be good: in memory, then in a temporary file
    without a name. The memory is used again for the next member."""

    def __init__(self, limit: int = SPOOL_LIMIT) -> None:
        self._limit = limit
        self._memory = bytearray()
        self._file: BinaryIO | None = None
        self._spilled = False
        self.size = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()

    def clear(self) -> None:
        self.size = 0
        if self._spilled and self._file is not None:
            self._file.seek(0)
            self._file.truncate()
        self._spilled = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._spilled and self.size + len(data) > self._limit:
            self._spill()
        if self._spilled and self._file is not None:
            self._file.write(data)
        else:
            self._memory[self.size : self.size + len(data)] = data
        self.size += len(data)

    def pieces(self) -> Iterator[memoryview]:
        """All that was written, from its start; each is good until the next."""
        if not self._spilled or self._file is None:
            with memoryview(self._memory) as view:
                yield view[: self.size]
            return
        self._file.seek(0)
        with memoryview(bytearray(_PIECE)) as room:
            left = self.size
            while left:
                n = self._file.readinto(room[: min(left, _PIECE)])  # type: ignore[attr-defined]
                if not n:
                    raise OSError("a temporary file became shorter")
                yield room[:n]
                left -= n

    def _spill(self) -> None:
        if self._file is None:
            import tempfile

            self._file = tempfile.TemporaryFile()
        self._file.write(memoryview(self._memory)[: self.size])
        self._spilled = True


class Seen:
    """Names that were used, as digests of 60 bits: an integer of 32 bytes in a set. 10^7 names
    take some 700 MB, and give 0.00004 expected collisions (a good member would then be refused)."""

    def __init__(self) -> None:
        self._digests: set[int] = set()

    def add(self, name: bytes) -> bool:
        """Whether it is new."""
        digest = int.from_bytes(blake2b(name, digest_size=8).digest(), "big") >> 4
        before = len(self._digests)
        self._digests.add(digest)
        return len(self._digests) > before
