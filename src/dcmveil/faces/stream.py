"""The stream face: from a readable to a writable, in bounded memory."""

from __future__ import annotations

import io
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from ..report import Report
    from ..session import Session

    class Readable(Protocol):
        def read(self, size: int, /) -> bytes | None: ...

    class Writable(Protocol):
        def write(self, data: bytes | memoryview, /) -> int | None: ...


PIPE = 1 << 20  # bytes that a pipe is asked to hold: the most that a user may have on Linux
_NOTHING_TO_READ = "the input is in non-blocking mode and has nothing to read"
_S_IFMT, _S_IFIFO = 0o170000, 0o010000  # importing stat takes as long as a small run's reading


def stream(session: Session, src: Readable, dst: Writable) -> Report:
    """Rewrite all of src into dst. Raises DicomError; what was written until then was rewritten.

    Where one of them is a pipe and both are raw files, bulk goes through the kernel (splice).
    """
    for data in pieces(session, src, _bulk_between(session, src, dst)):
        write_all(dst, data)
    return session.report


def pieces(
    session: Session, src: Readable, bulk: Callable[[int], int] | None = None
) -> Iterator[bytes | memoryview]:
    """All output but what `bulk` passes, in pieces that are good until the next one is asked
    for."""
    while not session.done:
        if session.skip and bulk is not None:
            session.passed(bulk(session.skip))
            continue
        with session.room() as room:
            if session.skip:
                n = read_into(src, room[: session.skip])
                if n:
                    with room[:n] as piece:
                        yield piece
        if session.skip:
            session.passed(n)
            continue
        with session.room() as room:
            n = read_into(src, room)
        yield from session.push(n)


def _bulk_between(session: Session, src: Readable, dst: Writable) -> Callable[[int], int] | None:
    """Passes n bytes and says how many, fewer where the input has ended. None: they are not both
    raw files; only of those it is known that they keep no view of what they were given."""
    if not (isinstance(src, io.FileIO) and isinstance(dst, io.FileIO)):
        return None
    reader, writer = src, dst
    one, other = src.fileno(), dst.fileno()
    pipes = [file for file in (one, other) if os.fstat(file).st_mode & _S_IFMT == _S_IFIFO]
    splices = bool(pipes) and hasattr(os, "splice")
    widened = False

    def bulk(n: int) -> int:
        nonlocal splices, widened
        if not widened:  # at the first skip: a small file has none
            widened = True
            for pipe in pipes:
                _widen(pipe)
        done = 0
        while splices and done < n:
            try:
                got = os.splice(one, other, min(n - done, PIPE))
            except BrokenPipeError:
                raise
            except OSError:
                # an output that is appended to, or files in non-blocking mode: reading says which
                splices = False
                break
            if not got:
                return done
            done += got
        if done < n:
            done += _read_and_write(session, reader, writer, n - done)
        return done

    return bulk


def _read_and_write(session: Session, src: io.FileIO, dst: io.FileIO, n: int) -> int:
    """The same where the kernel cannot, through the room of the session.

    On one processor the other end of the pipe runs between any two pieces, and the interpreter
    comes back to cold caches, where all that it does takes longer. So this is one loop without
    calls of our own, with one view for all pieces of a length.
    """
    readinto, write = src.readinto, dst.write
    done = 0
    with session.room() as room:
        free = piece = room
        while done < n:
            if n - done < len(free):
                free = room[: n - done]
            got = readinto(free)
            if not got:
                if got is None:
                    raise BlockingIOError(_NOTHING_TO_READ)
                break
            if got != len(piece):
                piece = room[:got]
            written = write(piece)
            if written != got:
                write_all(dst, piece[written or 0 :])  # it also says why nothing was taken
            done += got
    return done


def _widen(pipe: int) -> None:
    import fcntl

    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)
    except (OSError, AttributeError):
        pass  # the user has used up what he may have


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
        raise BlockingIOError(_NOTHING_TO_READ)
    return int(n)


def write_all(dst: Writable, data: bytes | memoryview) -> None:
    """All of data: a raw file or a pipe may take less at a time."""
    while len(data):
        n = dst.write(data)
        if n is None:
            if isinstance(dst, io.RawIOBase):
                raise BlockingIOError("the output is in non-blocking mode and takes no more")
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
