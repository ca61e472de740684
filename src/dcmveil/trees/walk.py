"""Which files a run takes: a folder walked without holding a listing, or a list that is read."""

from __future__ import annotations

import os

from ..errors import UsageError
from ..faces.files import TEMPORARY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    Found = tuple[bytes, str]  # path relative to the root; why it is not taken, "" if it is

# Open folders at one time, each a file descriptor. Real trees have under 20 levels.
DEPTH_LIMIT = 200
PATH_LIMIT = 1 << 16  # bytes of one line of a list; no system has longer paths

SYMLINK = "a symbolic link"
SPECIAL = "not a regular file"
TOO_DEEP = "folders nested too deep"


def walk(root: bytes, leave_out: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Found]:
    """Every file under root, folder by folder in the order of the file system. No symbolic link is
    followed. `leave_out` holds (device, inode) of folders that are passed over."""
    yield from _walk(root, b"", leave_out, 0)


def _walk(
    folder: bytes, prefix: bytes, leave_out: frozenset[tuple[int, int]], depth: int
) -> Iterator[Found]:
    try:
        entries = os.scandir(folder)
    except OSError as error:
        if depth == 0:
            raise
        yield prefix[:-1], f"cannot be listed: {error.strerror}"
        return
    with entries:
        for entry in entries:
            relative = prefix + entry.name
            if entry.name.startswith(TEMPORARY):
                continue
            if entry.is_symlink():
                yield relative, SYMLINK
            elif entry.is_dir(follow_symlinks=False):
                if leave_out:
                    status = entry.stat(follow_symlinks=False)
                    if (status.st_dev, status.st_ino) in leave_out:
                        continue
                if depth == DEPTH_LIMIT:
                    yield relative, TOO_DEEP
                else:
                    yield from _walk(entry.path, relative + b"/", leave_out, depth + 1)
            elif entry.is_file(follow_symlinks=False):
                yield relative, ""
            else:
                yield relative, SPECIAL


def listed(source: BinaryIO, root: bytes, null: bool) -> Iterator[Found]:
    """The files of a list, one path a line, or ended by NULs: relative to root, or absolute and
    inside it. Raises UsageError for a path outside of it."""
    inside = os.path.join(os.path.realpath(root), b"")
    for path in _lines(source, b"\0" if null else b"\n"):
        relative = os.path.normpath(path)
        if os.path.isabs(relative):
            # of the folder alone: a link in place of the file itself is met when it is opened
            folder, name = os.path.split(relative)
            relative = os.path.join(os.path.realpath(folder), name)
            if not relative.startswith(inside):
                raise UsageError("a path of the list lies outside the source folder")
            relative = relative[len(inside) :]
        if relative.split(b"/", 1)[0] == b"..":
            raise UsageError("a path of the list lies outside the source folder")
        folder = os.path.realpath(os.path.dirname(os.path.join(inside, relative)))
        if not os.path.join(folder, b"").startswith(inside):
            yield relative, SYMLINK
        else:
            yield relative, ""


def _lines(source: BinaryIO, end: bytes) -> Iterator[bytes]:
    rest = b""
    while data := source.read(1 << 16):
        *whole, rest = (rest + data).split(end)
        yield from filter(None, whole)
        if len(rest) > PATH_LIMIT:
            raise UsageError("a line of the list is too long to be a path; is it of NULs (-0)?")
    if rest:
        yield rest
