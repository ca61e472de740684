"""The stream face: from a readable to a writable, in bounded memory."""

from __future__ import annotations

import io

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from ..report import Report
    from ..session import Session
    from .pipes import Passage

    class Readable(Protocol):
        def read(self, size: int, /) -> bytes | None: ...

    class Writable(Protocol):
        def write(self, data: bytes | memoryview, /) -> int | None: ...


# Bytes of bulk that go by on their own: fewer are read into the window with what follows them, so
# that there is one read and one write instead of two of each.
BULK_LEAST = 1 << 18
NOTHING_TO_READ = "the input is in non-blocking mode and has nothing to read"
TAKES_NO_MORE = "the output is in non-blocking mode and takes no more"


def stream(session: Session, src: Readable, dst: Writable) -> Report:
    """Rewrite all of src into dst. Raises DicomError; what was written until then was rewritten.

    Where one of them is a pipe and both are raw files, bulk goes through the kernel (splice).
    """
    for data in pieces(session, src, _bulk_between(session, src, dst)):
        write_all(dst, data)
    return session.report


def pieces(
    session: Session, src: Readable, bulk: Callable[[], bool] | None = None
) -> Iterator[bytes | memoryview]:
    """All output but what `bulk` passes, in pieces that are good until the next one is asked for.

    bulk: asked where bytes are to be skipped; True: some of them were passed.
    """
    while not session.done:
        if session.skip and bulk is not None and bulk():
            continue
        with session.room() as room:
            n = read_into(src, room)
        yield from session.push(n)


def _bulk_between(session: Session, src: Readable, dst: Writable) -> Callable[[], bool] | None:
    """None: they are not both raw files. One of a class of its own may want to see all of it."""
    if not (type(src) is io.FileIO and type(dst) is io.FileIO):
        return None
    passage: Passage | None = None

    def bulk() -> bool:
        nonlocal passage
        if passage is None:  # at the first skip: a small file has none
            from .pipes import Passage

            passage = Passage(src.fileno(), dst.fileno())
        if session.skip < BULK_LEAST:
            return False
        with session.room() as room:
            n = passage.carry(session.skip, room)
        session.passed(n)
        return True

    return bulk


def read_into(src: Readable, room: memoryview) -> int:
    """Read into room; how many bytes, 0 at the end of the input."""
    readinto = getattr(src, "readinto", None)
    if readinto is not None:
        n = readinto(room)
    else:
        data = src.read(len(room))
        n = None if data is None else len(data)
        if data:
            room[:n] = data
    if n is None:
        raise BlockingIOError(NOTHING_TO_READ)
    return int(n)


def write_all(dst: Writable, data: bytes | memoryview) -> None:
    """All of data: a raw file or a pipe may take less at a time."""
    while len(data):
        n = dst.write(data)
        if n is None:
            if isinstance(dst, io.RawIOBase):
                raise BlockingIOError(TAKES_NO_MORE)
            return  # a writer that counts nothing has taken all
        data = data[n:]


class Reader:
    """A readable that rewrites as it is read (`io.RawIOBase` in all but inheritance, so that
    importing it costs nothing; wrap it in `io.BufferedReader` where one is asked for).

    `report` is complete once read() has returned b"".
    """

    def __init__(self, session: Session, src: Readable) -> None:
        self._session = session
        self._pieces = pieces(session, src)
        self._rest: bytes | memoryview = b""
        self.closed = False

    @property
    def report(self) -> Report:
        return self._session.report

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """At least one byte, unless the output has ended: then 0. Raises DicomError."""
        if self.closed:
            raise ValueError("read from a closed reader")
        if not len(buffer):
            return 0
        while not len(self._rest):
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        n = min(len(buffer), len(self._rest))
        buffer[:n] = self._rest[:n]
        self._rest = self._rest[n:] if n < len(self._rest) else b""
        return n

    def read(self, size: int | None = -1) -> bytes:
        """At most size bytes, all that is left for None or a negative size; b"" at the end."""
        if size is None or size < 0:
            parts = []
            while part := self.read(1 << 16):
                parts.append(part)
            return b"".join(parts)
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(buffer)])

    def close(self) -> None:
        """Stop early; the source stays open."""
        self._rest = b""
        self._pieces.close()  # type: ignore[attr-defined]
        self.closed = True

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        while part := self.read(1 << 16):
            yield part
