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


def read_text(name: str) -> str:
    """A table's text, comments included."""
    with open(os.path.join(_FOLDER, name), encoding="utf-8", newline="") as file:
        return file.read()


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row: comment lines and the line of column names are left out."""
    lines = iter(text.splitlines())
    for line in lines:
        if not line.startswith("#"):
            break
    for line in lines:
        yield line.split("\t")
