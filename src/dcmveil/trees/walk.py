"""Which files a run takes: a folder walked without holding a listing, or a list that is read."""

from __future__ import annotations

import os
from itertools import chain, islice

from ..errors import UsageError
from ..faces import journal
from ..faces.files import TEMPORARY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    Found = tuple[bytes, str]  # path relative to the root; why it is not taken, "" if it is

# Open folders at one time, each a file descriptor. Real trees have under 20 levels.
DEPTH_LIMIT = 200
AT_ONCE = 128  # entries of a folder: most are plain files, looked at with no call for each
PATH_LIMIT = 1 << 16  # bytes of one line of a list; no system has longer paths

SYMLINK = "a symbolic link"
SPECIAL = "not a regular file"
TOO_DEEP = "folders nested too deep"
AGAIN = "a second name of a file that was taken"
OUTSIDE = "it lies outside the source folder"
PENDING = "a folder whose run was cut off while it patched: repeat that run first"


def walk(root: bytes, leave_out: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Found]:
    """Every file under root, folder by folder in the order of the file system. No symbolic link is
    followed. `leave_out` holds (device, inode) of folders and files that are passed over. Raises
    OSError for a root that cannot be listed; of other folders that is the reason."""
    return chain.from_iterable(_walk_root(root, leave_out))  # no frame of ours for each file


def _walk_root(root: bytes, leave_out: frozenset[tuple[int, int]]) -> Iterator[list[Found]]:
    entries = os.scandir(root)
    yield from _walk(entries, b"", leave_out, 0)


def _walk(
    entries: os._ScandirIterator[bytes],
    prefix: bytes,
    leave_out: frozenset[tuple[int, int]],
    depth: int,
) -> Iterator[list[Found]]:
    inodes = {inode for _, inode in leave_out}
    try:
        with entries:
            fault = None
            while fault is None:
                some: list[os.DirEntry[bytes]] = []
                try:
                    some.extend(islice(entries, AT_ONCE))
                except OSError as error:
                    fault = error  # what came before it stays in the list
                if not some:
                    break
                plain = _plain(some, prefix, inodes)
                if plain is not None:
                    yield plain
                else:
                    yield from _each(some, prefix, leave_out, depth)
        if fault is not None:
            raise fault
    except OSError as error:
        yield [(prefix[:-1], f"cannot be listed: {error.strerror}")]


def _plain(
    entries: list[os.DirEntry[bytes]], prefix: bytes, inodes: set[int]
) -> list[Found] | None:
    """All of them, None: one may be something else than a file to be taken."""
    try:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    except OSError:
        return None
    if len(names) < len(entries) or _TEMPORARY_AMONG in b"\0".join([b"", *names]):
        return None
    if inodes and not inodes.isdisjoint([entry.inode() for entry in entries]):
        return None
    return [(prefix + name, "") for name in names]


def _each(
    entries: list[os.DirEntry[bytes]],
    prefix: bytes,
    leave_out: frozenset[tuple[int, int]],
    depth: int,
) -> Iterator[list[Found]]:
    for entry in entries:
        kind = _kind(entry, leave_out)
        relative = prefix + entry.name
        if kind == _FOLDER and depth < DEPTH_LIMIT:
            yield from _enter(entry.path, relative, leave_out, depth + 1)
        elif kind == _FOLDER:
            yield [(relative, TOO_DEEP)]
        elif kind is not None:
            yield [(relative, kind)]


_FOLDER = "a folder"
_TEMPORARY_AMONG = b"\0" + TEMPORARY  # names, each with a NUL before it


def _kind(entry: os.DirEntry[bytes], leave_out: frozenset[tuple[int, int]]) -> str | None:
    """Why an entry is not taken, "" if it is, None if nothing is to be said of it."""
    if entry.name.startswith(TEMPORARY):
        return None
    if leave_out and _is_left_out(entry, leave_out):
        return None
    if entry.is_file(follow_symlinks=False):
        return ""
    if entry.is_symlink():
        return SYMLINK
    return _FOLDER if entry.is_dir(follow_symlinks=False) else SPECIAL


def _is_left_out(entry: os.DirEntry[bytes], leave_out: frozenset[tuple[int, int]]) -> bool:
    inode = entry.inode()
    if not any(inode == other for _, other in leave_out):
        return False
    status = entry.stat(follow_symlinks=False)
    return (status.st_dev, status.st_ino) in leave_out


def _enter(
    folder: bytes, relative: bytes, leave_out: frozenset[tuple[int, int]], depth: int
) -> Iterator[list[Found]]:
    try:
        # files that are half patched may look as if an earlier run had finished them
        if journal.is_pending(folder):
            yield [(relative, PENDING)]
            return
        entries = os.scandir(folder)
    except OSError as error:
        yield [(relative, f"cannot be listed: {error.strerror}")]
        return
    yield from _walk(entries, relative + b"/", leave_out, depth)


def listed(source: BinaryIO, root: bytes, null: bool) -> Iterator[Found]:
    """The files of a list, one path a line, or ended by NULs: relative to root, or absolute and
    inside it. Raises UsageError for lines that can be no paths."""
    inside = os.path.join(os.path.realpath(root), b"")
    for path in _lines(source, b"\0" if null else b"\n"):
        if b"\0" in path:
            raise UsageError("a path of the list has a NUL; are they ended by NULs (-0)?")
        relative = os.path.normpath(path)
        if os.path.isabs(relative):
            # of the folder alone: a link in place of the file itself is met when it is opened
            folder, name = os.path.split(relative)
            relative = os.path.join(os.path.realpath(folder), name)
            if not relative.startswith(inside):
                yield relative, OUTSIDE
                continue
            relative = relative[len(inside) :]
        if relative.split(b"/", 1)[0] == b"..":
            yield relative, OUTSIDE
            continue
        folder = os.path.realpath(os.path.dirname(os.path.join(inside, relative)))
        if not os.path.join(folder, b"").startswith(inside):
            yield relative, SYMLINK
        elif _pending_between(folder, inside):
            yield relative, PENDING
        else:
            yield relative, ""


def _pending_between(folder: bytes, inside: bytes) -> bool:
    """Whether a folder, or one above it up to the root without it, waits for a run to be
    repeated."""
    while len(folder) >= len(inside):
        if journal.is_pending(folder):
            return True
        folder = os.path.dirname(folder)
    return False


def _lines(source: BinaryIO, end: bytes) -> Iterator[bytes]:
    rest = b""
    while data := source.read(1 << 16):
        *whole, rest = (rest + data).split(end)
        yield from filter(None, whole)
        if len(rest) > PATH_LIMIT:
            raise UsageError("a line of the list is too long to be a path; is it of NULs (-0)?")
    if rest:
        yield rest
