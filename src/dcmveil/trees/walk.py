"""Which files a run takes: a folder walked without holding a listing, or a list that is read."""

from __future__ import annotations

import os
import stat
from itertools import chain

from ..errors import UsageError
from ..faces import journal
from ..faces.files import TEMPORARY
from ..faces.system import FOLDER, LINK, OTHER, PLAIN, UNKNOWN, Listing

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
AGAIN = "a second name of a file that was taken"
OUTSIDE = "it lies outside the source folder"
PENDING = "a folder whose run was cut off while it patched: repeat that run first"


def walk(root: bytes, leave_out: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Found]:
    """Every file under root, folder by folder in the order of the file system. No symbolic link is
    followed. `leave_out` holds (device, inode) of folders and files that are passed over. Raises
    OSError for a root that cannot be listed; of other folders that is the reason."""
    return chain.from_iterable(_walk_root(root, leave_out))  # no frame of ours for each file


def _walk_root(root: bytes, leave_out: frozenset[tuple[int, int]]) -> Iterator[list[Found]]:
    yield from _walk(Listing(root), root, b"", leave_out, 0)


def _walk(
    listing: Listing,
    folder: bytes,
    prefix: bytes,
    leave_out: frozenset[tuple[int, int]],
    depth: int,
) -> Iterator[list[Found]]:
    inodes = frozenset(inode for _, inode in leave_out)
    try:
        while True:
            plain = listing.some(prefix, TEMPORARY, inodes)
            if plain:
                yield plain
            if listing.odd is not None:
                yield from _one(*listing.odd, folder, prefix, leave_out, depth)
            elif not plain:
                return
    except OSError as error:
        yield [(prefix[:-1], f"cannot be listed: {error.strerror}")]
    finally:
        listing.close()


def _one(
    name: bytes, inode: int, kind: int,
    folder: bytes, prefix: bytes, leave_out: frozenset[tuple[int, int]], depth: int,
) -> Iterator[list[Found]]:  # fmt: skip
    """An entry that may be something else than a file to be taken."""
    path, relative = os.path.join(folder, name), prefix + name
    if name.startswith(TEMPORARY):
        return
    if kind == UNKNOWN:
        kind = _kind_of(path)
    # where a file system is mounted, the entry has the number of what it hides
    may_be = kind == FOLDER or any(inode == other for _, other in leave_out)
    if may_be and leave_out and _is_left_out(path, leave_out):
        return
    if kind != FOLDER:
        yield [(relative, {PLAIN: "", LINK: SYMLINK}.get(kind, SPECIAL))]
    elif depth < DEPTH_LIMIT:
        yield from _enter(path, relative, leave_out, depth + 1)
    else:
        yield [(relative, TOO_DEEP)]


def _kind_of(path: bytes) -> int:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return PLAIN  # gone, or out of reach: whoever opens it is told
    for is_one, kind in ((stat.S_ISREG, PLAIN), (stat.S_ISDIR, FOLDER), (stat.S_ISLNK, LINK)):
        if is_one(mode):
            return kind
    return OTHER


def _is_left_out(path: bytes, leave_out: frozenset[tuple[int, int]]) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) in leave_out


def _enter(
    folder: bytes, relative: bytes, leave_out: frozenset[tuple[int, int]], depth: int
) -> Iterator[list[Found]]:
    try:
        # files that are half patched may look as if an earlier run had finished them
        if journal.is_pending(folder):
            yield [(relative, PENDING)]
            return
        listing = Listing(folder)
    except OSError as error:
        yield [(relative, f"cannot be listed: {error.strerror}")]
        return
    yield from _walk(listing, folder, relative + b"/", leave_out, depth)


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
