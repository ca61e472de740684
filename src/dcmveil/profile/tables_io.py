"""Reading the tables beside this file.

Not importlib.resources: importing it takes longer than de-identifying a small file, and a pipe
runs the program once for each.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER = os.path.join(os.path.dirname(__file__), "tables")


def read_bytes(name: str) -> bytes:
    """A table as it is, comments included."""
    with open(os.path.join(_FOLDER, name), "rb", buffering=0) as file:
        return file.read()


def read_text(name: str) -> str:
    return read_bytes(name).decode()


def read_lines(name: str) -> list[bytes]:
    """The lines of a list, without the comments at its head."""
    data = read_bytes(name)
    start = 0
    while data.startswith(b"#", start):
        start = data.index(b"\n", start) + 1
    return data[start:].split()


def rows(text: str, cuts: int = -1) -> Iterator[list[str]]:
    """The cells of each row: comment lines and the line of column names are left out. What stands
    after so many cuts is one cell."""
    lines = iter(text.splitlines())
    for line in lines:
        if not line.startswith("#"):
            break
    for line in lines:
        yield line.split("\t", cuts)
