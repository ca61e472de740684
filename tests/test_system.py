"""The system calls of the compiled faces: what they refuse, and that they touch nothing else."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcmveil import FileError
from dcmveil.faces.files import publish
from dcmveil.faces.records import carry_out
from dcmveil.faces.system import open_regular, rename_new
from faces import environment
from preloaded import library


@pytest.fixture(autouse=True)
def no_descriptor_stays_open() -> Iterator[None]:
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before


# -- opening ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.dcm", "\u00e4 b", "\udcff\udc80"], ids=ascii)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
def test_open_a_file(tmp_path: Path, name: str, flags: int) -> None:
    path = tmp_path / name
    path.write_bytes(b"content")
    for given in (str(path), os.fsencode(path)):
        for follow in (False, True):
            file = open_regular(given, flags, follow=follow)
            assert os.read(file, 100) == b"content"
            assert fcntl.fcntl(file, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
            assert fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == flags
            os.close(file)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR, os.O_WRONLY])
@pytest.mark.parametrize("kind", ["fifo", "folder", "socket", "device", "null"])
def test_open_what_is_no_file(tmp_path: Path, kind: str, flags: int) -> None:
    """A FIFO would wait for its other end, a device may do anything."""
    path = tmp_path / kind
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "socket":
            server.bind(str(path))
        else:
            path = Path("/dev/zero" if kind == "device" else "/dev/null")
        for follow in (False, True):
            with pytest.raises(FileError, match="not a regular file"):
                open_regular(os.fsencode(path), flags, follow=follow)


def test_open_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "folder").mkdir()
    for name, to in (("link", "file"), ("away", "missing"), ("circle", "circle"), ("f", "folder")):
        (tmp_path / name).symlink_to(to)
        with pytest.raises(FileError, match="a symbolic link"):
            open_regular(str(tmp_path / name))
    file = open_regular(str(tmp_path / "link"), follow=True)
    assert os.read(file, 100) == b"content"
    os.close(file)
    with pytest.raises(FileNotFoundError):
        open_regular(str(tmp_path / "away"), follow=True)
    with pytest.raises(FileError, match="not a regular file"):
        open_regular(str(tmp_path / "f"), follow=True)
    with pytest.raises(OSError, match="symbolic links") as caught:
        open_regular(str(tmp_path / "circle"), follow=True)
    assert caught.value.errno == errno.ELOOP


def test_open_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name, error in (("missing", FileNotFoundError), ("file/a", NotADirectoryError)):
        with pytest.raises(error) as caught:
            open_regular(os.fsencode(tmp_path / name))
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(OSError, match="too long") as caught:
        open_regular(os.fsencode(tmp_path / ("n" * 300)))
    assert caught.value.errno == errno.ENAMETOOLONG
    for wrong in (None, 3):
        with pytest.raises(TypeError):
            open_regular(wrong)  # type: ignore[arg-type]


def test_no_path_is_read_up_to_a_nul(tmp_path: Path) -> None:
    """The system would, and then it is the path of another file."""
    path = tmp_path / "a"
    path.write_bytes(b"content")
    encoded = os.fsencode(path)
    with pytest.raises(ValueError, match="null byte"):
        open_regular(encoded + b"\0b")
    with pytest.raises(ValueError, match="null byte"):
        open_regular(f"{path}\0b")
    for old, new in ((encoded + b"\0b", encoded + b"c"), (encoded, encoded + b"c\0d")):
        with pytest.raises(ValueError, match="null byte"):
            rename_new(old, new)
    file = os.open(path, os.O_RDWR)
    with pytest.raises(ValueError, match="null byte"):
        carry_out(os.fsencode(tmp_path), journal((b"a\0b", file, [(0, b"C")])), [file], False)
    os.close(file)
    assert os.listdir(tmp_path) == ["a"]
    assert path.read_bytes() == b"content"


# -- a name for a finished file --------------------------------------------------------------------

KINDS = ["file", "empty folder", "link", "link to nowhere", "the same file"]


def take(path: Path, kind: str, finished: Path) -> None:
    """Something stands where the finished file should go."""
    if kind == "file":
        path.write_bytes(b"precious")
    elif kind == "empty folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(finished)
    elif kind == "link to nowhere":
        path.symlink_to("nowhere")
    else:
        os.link(finished, path)


def look(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = ((path.name, path.lstat()) for path in folder.iterdir())
    return {name: (status.st_ino, status.st_mode, status.st_nlink) for name, status in found}


def test_rename(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"finished")
    inode = old.stat().st_ino
    if not rename_new(os.fsencode(old), os.fsencode(new)):
        pytest.skip("not on this file system")
    assert os.listdir(tmp_path) == ["new"]
    assert (new.read_bytes(), new.stat().st_ino) == (b"finished", inode)


@pytest.mark.parametrize("kind", KINDS)
def test_rename_to_a_name_that_is_taken(tmp_path: Path, kind: str) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"finished")
    take(new, kind, old)
    before = look(tmp_path)
    try:
        assert not rename_new(os.fsencode(old), os.fsencode(new))
    except FileExistsError:
        pass
    assert look(tmp_path) == before
    assert not publish(os.fsencode(old), os.fsencode(new))
    assert look(tmp_path) == before
    assert old.read_bytes() == b"finished"


def test_rename_that_cannot_be(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    (tmp_path / "old").write_bytes(b"finished")
    before = look(tmp_path)
    for old, new in ((b"/missing", b"/new"), (b"/old", b"/no/folder")):
        with pytest.raises(FileNotFoundError):
            assert not rename_new(folder + old, folder + new)
    for old, new in (("old", "new"), (b"old", None), (None, b"new")):
        with pytest.raises(TypeError):
            rename_new(old, new)  # type: ignore[arg-type]
    assert look(tmp_path) == before


def test_rename_to_another_file_system(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system only")
    (tmp_path / "old").write_bytes(b"finished")
    name = other / f"dcmveil-test-{os.getpid()}"
    for call in (rename_new, publish):
        with pytest.raises(OSError, match="cross-device") as caught:
            call(os.fsencode(tmp_path / "old"), os.fsencode(name))
        assert caught.value.errno == errno.EXDEV
    assert (tmp_path / "old").read_bytes() == b"finished"
    assert not name.exists()


# A system or file system that lacks one or both of the calls.
_LACKS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>

static int lacks(const char *name) {
    const char *number = getenv(name);
    if (number == NULL)
        return 0;
    errno = atoi(number);
    return 1;
}

long syscall(long number, ...) {
    long (*real)(long, ...) = dlsym(RTLD_NEXT, "syscall");
    long a[6];
    va_list list;
    if (number == SYS_renameat2 && lacks("LACKS_RENAME"))
        return -1;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int renameat2(int a, const char *b, int c, const char *d, unsigned int flags) {
    int (*real)(int, const char *, int, const char *, unsigned int) = dlsym(RTLD_NEXT, "renameat2");
    return lacks("LACKS_RENAME") ? -1 : real(a, b, c, d, flags);
}

int linkat(int a, const char *b, int c, const char *d, int flags) {
    int (*real)(int, const char *, int, const char *, int) = dlsym(RTLD_NEXT, "linkat");
    return lacks("LACKS_LINK") ? -1 : real(a, b, c, d, flags);
}

int link(const char *a, const char *b) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "link");
    return lacks("LACKS_LINK") ? -1 : real(a, b);
}
"""
_PUBLISH = """
import os, sys
from dcmveil.faces.files import publish
from dcmveil.faces.system import rename_new
old, new, answer = map(os.fsencode, sys.argv[1:4])
if answer == b"False":
    assert rename_new(old, new) is False
elif answer == b"OSError":
    try:
        rename_new(old, new)
    except OSError:
        pass
    else:
        raise AssertionError
print(publish(old, new))
"""


@pytest.fixture(scope="module")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("lacking"), _LACKS)


@pytest.mark.parametrize("kind", ["free", *KINDS])
@pytest.mark.parametrize(
    ("rename", "link", "answer"),
    [
        (errno.ENOSYS, None, "False"),
        (errno.EINVAL, None, "False"),
        (errno.ENOSYS, errno.EPERM, "False"),
        (errno.EINVAL, errno.EOPNOTSUPP, "False"),
        (errno.EPERM, None, "OSError"),  # old sandboxes say so of calls that they do not know
    ],
    ids=["no rename", "not here", "nor links", "nor links here", "forbidden"],
)
def test_publish_where_calls_are_missing(
    tmp_path: Path, lacking: Path, kind: str, rename: int, link: int | None, answer: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    old, new = folder / "old", folder / "new"
    old.write_bytes(b"finished")
    if kind != "free":
        take(new, kind, old)
    before = look(folder)
    lacks = {"LACKS_RENAME": str(rename)} | ({"LACKS_LINK": str(link)} if link else {})
    done = subprocess.run(
        [sys.executable, "-c", _PUBLISH, old, new, answer],
        env=environment(LD_PRELOAD=str(lacking), **lacks),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{kind == 'free'}\n"
    if kind == "free":
        assert os.listdir(folder) == ["new"]
        assert new.read_bytes() == b"finished"
    else:
        assert look(folder) == before


# -- the edits of a journal ------------------------------------------------------------------------

Edits = list[tuple[int, bytes]]
LINE = b'{"outcome":"rewritten"}'


def journal(*files: tuple[bytes, int, Edits], over: bool = True) -> bytearray:
    """Whole records, by docs/crash-safety.md and faces/journal.py: (path, open file, edits)."""
    made = bytearray()
    for relative, file, edits in files:
        status = os.fstat(file)
        made += b"FILE" + struct.pack("<H", len(relative)) + relative
        made += struct.pack("<QQ", status.st_ino, status.st_size)
        for offset, new in edits:
            made += b"EDIT" + struct.pack("<QI", offset, len(new)) + new
        made += b"DONE" + struct.pack("<I", len(LINE)) + LINE
    return made + b"OVER" + struct.pack("<I", len(files)) + bytes(16) if over else made


class Folder:
    """Files of some bytes each, open for writing."""

    def __init__(self, root: Path, *names: str, size: int = 100) -> None:
        self.path = root
        root.mkdir(exist_ok=True)
        self.root = os.fsencode(root)
        self.files: dict[bytes, int] = {}
        for name in names:
            (root / name).write_bytes(bytes(size))
            self.files[name.encode()] = os.open(root / name, os.O_RDWR)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files.values():
            os.close(file)

    def records(self, edits: dict[bytes, Edits]) -> bytearray:
        return journal(*((name, self.files[name], edits[name]) for name in self.files))

    def carry_out(self, records: bytearray, durable: bool = False) -> set[bytes]:
        return carry_out(self.root, records, list(self.files.values()), durable)

    def content(self) -> dict[bytes, bytes]:
        """What the open files hold, wherever their names lead now."""
        return {name: os.pread(file, 1 << 16, 0) for name, file in self.files.items()}


@pytest.mark.parametrize("durable", [False, True])
def test_edits_are_written_in_their_order(tmp_path: Path, durable: bool) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    with Folder(tmp_path / "in", "a", "deep/b", "c") as folder:
        edits: dict[bytes, Edits] = {
            b"a": [(0, b"first"), (3, b"over it"), (98, b"zz")], b"deep/b": [], b"c": [(50, b"c")]
        }  # fmt: skip
        records = folder.records(edits)
        for _ in range(2):  # twice is once
            before = bytes(records)
            assert folder.carry_out(records, durable) == set()
            assert records == before
            assert folder.content() == {
                b"a": b"firover it".ljust(98, b"\0") + b"zz",
                b"deep/b": bytes(100),
                b"c": (bytes(50) + b"c").ljust(100, b"\0"),
            }


def test_no_files(tmp_path: Path) -> None:
    assert carry_out(os.fsencode(tmp_path), journal(), [], False) == set()
    assert carry_out(os.fsencode(tmp_path), bytearray(), [], True) == set()


@pytest.mark.parametrize(
    "what", ["gone", "longer", "shorter", "another file", "a link", "a folder", "no folder"]
)
@pytest.mark.parametrize("durable", [False, True])
def test_a_file_that_was_moved_or_changed(tmp_path: Path, what: str, durable: bool) -> None:
    """Neither it is touched, nor what stands in its place; others are written."""
    (tmp_path / "in" / "d").mkdir(parents=True)
    with Folder(tmp_path / "in", "a", "d/b", "c") as folder:
        path = tmp_path / "in" / "d" / "b"
        records = folder.records({name: [(7, b"new")] for name in folder.files})
        if what in ("longer", "shorter"):
            os.truncate(path, 101 if what == "longer" else 99)
        elif what == "no folder":
            path.parent.rename(tmp_path / "moved")
        else:
            path.rename(tmp_path / "moved")
        if what == "another file":
            path.write_bytes(bytes(100))
        elif what == "a link":
            path.symlink_to(tmp_path / "moved")
        elif what == "a folder":
            path.mkdir()
        sizes = {name: os.fstat(file).st_size for name, file in folder.files.items()}
        assert folder.carry_out(records, durable) == {b"d/b"}
        for name, data in folder.content().items():
            new = bytes(sizes[name]) if name == b"d/b" else bytes(7) + b"new" + bytes(90)
            assert data == new
        if what == "another file":
            assert path.read_bytes() == bytes(100)


def test_another_number_of_files(tmp_path: Path) -> None:
    with Folder(tmp_path, "a", "b") as folder:
        edits: Edits = [(7, b"new")]
        records = folder.records({b"a": edits, b"b": edits})
        a, b = folder.files.values()
        for files in ([], [a], [a, b, b]):
            with pytest.raises(ValueError, match="record"):
                carry_out(folder.root, records, files, False)
        with pytest.raises(TypeError):
            carry_out(folder.root, records, [a, None], False)  # type: ignore[list-item]


@pytest.mark.parametrize("how", ["closed", "read-only"])
def test_a_file_that_cannot_be_written(tmp_path: Path, how: str) -> None:
    with Folder(tmp_path, "a", "b") as folder:
        records = folder.records({name: [(7, b"new")] for name in folder.files})
        a = folder.files[b"a"]
        wrong = os.open(tmp_path / "b", os.O_RDONLY)
        if how == "closed":
            os.close(wrong)
        with pytest.raises(OSError, match="Bad file") as caught:
            carry_out(folder.root, records, [a, wrong], False)
        assert caught.value.errno == errno.EBADF
        if how != "closed":
            os.close(wrong)
        assert folder.content() == {b"a": bytes(7) + b"new" + bytes(90), b"b": bytes(100)}


def test_offsets_that_no_file_has(tmp_path: Path) -> None:
    with Folder(tmp_path, "a") as folder:
        for offset in (1 << 63, (1 << 64) - 1, (1 << 63) - 1):
            with pytest.raises(OSError, match=r"Invalid argument|too large") as caught:
                folder.carry_out(folder.records({b"a": [(offset, b"x")]}))
            assert caught.value.errno in (errno.EINVAL, errno.EFBIG)
        assert folder.content() == {b"a": bytes(100)}


def test_a_full_disk() -> None:
    """A device that is always full."""
    file = os.open("/dev/full", os.O_RDWR)
    records = journal((b"full", file, [(0, b"new")]))
    with pytest.raises(OSError, match="No space left") as caught:
        carry_out(b"/dev", records, [file], False)
    assert caught.value.errno == errno.ENOSPC
    os.close(file)


# Two files with edits of several lengths, none of which touch.
EDITS: dict[bytes, Edits] = {
    b"a": [(0, b"A"), (10, b"BCDEFG"), (99, b"H")],
    b"long name": [(40, b"IJKLM" * 10)],
}


def carried_out(records: bytes, identities: dict[bytes, bytes]) -> tuple[dict[bytes, bytes], bool]:
    """What the two files hold afterwards, and whether the records were whole. Of a file only those
    edits that are whole are written, in their order."""
    files = {name: bytearray(100) for name in EDITS}
    at = 0

    def take(n: int) -> bytes:
        nonlocal at
        if len(records) - at < n:
            raise ValueError
        at += n
        return records[at - n : at]

    try:
        for name in EDITS:
            if take(4) != b"FILE":
                raise ValueError
            relative = take(int.from_bytes(take(2), "little"))
            target = files[name] if take(16) == identities.get(relative) else None
            while records[at : at + 4] == b"EDIT":
                take(4)
                offset, n = struct.unpack("<QI", take(12))
                data = take(n)
                if target is not None:
                    target[offset : offset + n] = data
            if take(4) != b"DONE":
                raise ValueError
            take(int.from_bytes(take(4), "little"))
        if at != len(records) and take(4) != b"OVER":
            raise ValueError
    except ValueError:
        return {name: bytes(data) for name, data in files.items()}, False
    return {name: bytes(data) for name, data in files.items()}, True


def check(folder: Folder, records: bytearray) -> None:
    identities = {}
    for name, file in folder.files.items():
        os.ftruncate(file, 0)
        os.ftruncate(file, 100)
        identities[name] = struct.pack("<QQ", os.fstat(file).st_ino, 100)
    files, whole = carried_out(bytes(records), identities)
    if whole:
        folder.carry_out(records)
    else:
        with pytest.raises((ValueError, OSError)):
            folder.carry_out(records)
    assert folder.content() == files


def test_records_that_are_cut_off(tmp_path: Path) -> None:
    with Folder(tmp_path, *map(bytes.decode, EDITS)) as folder:
        records = folder.records(EDITS)
        for at in range(len(records) + 1):
            check(folder, records[:at])


@pytest.mark.parametrize("change", [0x01, 0x04, 0x80, 0xFF], ids=hex)
def test_records_that_are_damaged(tmp_path: Path, change: int) -> None:
    """At any byte but of an offset, where nothing could tell."""
    with Folder(tmp_path, *map(bytes.decode, EDITS)) as folder:
        records = folder.records(EDITS)
        offsets = {
            at + 4 + i
            for at in range(len(records))
            if records[at : at + 4] == b"EDIT"
            for i in range(8)
        }
        assert len(offsets) == 8 * sum(map(len, EDITS.values()))
        for at in range(len(records)):
            if at not in offsets:
                torn = bytearray(records)
                torn[at] ^= change
                check(folder, torn)
