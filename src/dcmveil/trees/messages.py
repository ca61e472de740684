"""Plain values on their way through a pipe: their length, then what marshal makes of them. A pipe
takes and gives a message in pieces, or some at a time."""

from __future__ import annotations

import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LENGTH = 8  # bytes of it
PIECE = 1 << 16  # read at one time: what a pipe holds


def message(value: Any) -> bytes:
    """The whole of it. Raises ValueError for what is no plain value."""
    data = marshal.dumps(value)
    return len(data).to_bytes(_LENGTH, "little") + data


class Inbox:
    """The end of a pipe that messages come out of."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe
        self._part = bytearray()  # of a message that is not whole yet
        self._wanted = _LENGTH  # bytes of it that are
        self._lost = False  # what was read may not be here: an exception came in between

    def read(self) -> list[Any] | None:
        """Wait for more, which may be no whole message yet, or some. None: there will be none."""
        if self._lost:
            return None
        self._lost = True
        data = os.read(self.pipe, PIECE)
        part = self._part
        part += data
        self._lost = False
        if not data:
            return None
        if len(part) < self._wanted:
            return []
        values = []
        at = 0
        with memoryview(part) as view:
            while True:
                start = at + _LENGTH
                self._wanted = _LENGTH
                if start > len(view):
                    break
                end = start + int.from_bytes(view[at:start], "little")
                if end > len(view):
                    self._wanted = end - at
                    break
                values.append(marshal.loads(view[start:end]))
                at = end
        del part[:at]
        return values


class Outbox:
    """The end of a pipe that messages go into. If it does not block, what finds no room is kept."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe
        self._rest = b""

    def send(self, value: Any) -> bool:
        """Whether nothing is left to be sent."""
        self._rest += message(value)
        return self.flush()

    def flush(self) -> bool:
        """The same, of what was kept. Whoever should read is gone: nothing is left."""
        rest = memoryview(self._rest)
        try:
            while rest:
                rest = rest[os.write(self.pipe, rest) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            rest = rest[:0]
        self._rest = bytes(rest)
        return not rest
