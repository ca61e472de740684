"""The system calls of the compiled faces: what they refuse, and that they touch nothing else."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from dcmveil import FileError
from dcmveil.faces.files import publish
from dcmveil.faces.system import (
    OpenFiles,
    TemporaryPaths,
    open_regular,
    rename_batch,
    rename_new,
)
from faces import environment
from preloaded import library

pytestmark = pytest.mark.usefixtures("no_descriptor_stays_open")


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
    if (number == SYS_close_range && lacks("LACKS_CLOSE"))
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


# -- the files of a batch --------------------------------------------------------------------------


def batch_of(root: Path, names: list[str]) -> list[tuple[bytes, str]]:
    root.mkdir(exist_ok=True)
    for name in names:
        (root / name).write_bytes(name.encode())
    return [(name.encode(), "") for name in names]


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
def test_open_a_batch(tmp_path: Path, flags: int) -> None:
    """One bad file spoils no other, wherever in the batch it stands."""
    first, *others = batch_of(tmp_path, ["a", "b", "c"])
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("a")
    os.mkfifo(tmp_path / "fifo")
    bad = [
        (b"missing", ""), (b"a/below", ""), (b"folder", ""), (b"link", ""), (b"fifo", ""),
        (b"a\0b", ""), (b"n" * 300, ""), (b"", ""), (b"a", "a reason why it is not taken"),
    ]  # fmt: skip
    batch = [bad[0], first, *bad[1:], *others, *bad]
    inside = os.fsencode(tmp_path) + b"/"
    before = len(os.listdir("/proc/self/fd"))
    files = OpenFiles(inside, batch, flags, 1 << 20)
    assert len(os.listdir("/proc/self/fd")) == before + 3
    assert len(files) == len(batch)
    for number, (name, reason) in enumerate(batch):
        if (name, reason) in (first, *others):
            assert os.read(files[number], 100) == name
            assert fcntl.fcntl(files[number], fcntl.F_GETFD) & fcntl.FD_CLOEXEC
            assert fcntl.fcntl(files[number], fcntl.F_GETFL) & os.O_ACCMODE == flags
        else:
            assert files[number] == -1
    files.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert [files[number] for number in range(len(batch))] == [-1] * len(batch)


def test_close_a_batch(tmp_path: Path) -> None:
    """What was given away in between is not closed, what was opened later is."""
    batch = batch_of(tmp_path, ["a", "b", "c"])
    files = OpenFiles(os.fsencode(tmp_path) + b"/", [*batch, (b"d", "")], os.O_RDONLY, 0)
    given, files[1] = files[1], -1
    files[3] = os.open(tmp_path / "a", os.O_RDONLY)
    closed = [files[0], files[2], files[3]]
    for _ in range(2):
        files.close()
    assert os.read(given, 100) == b"b"
    os.close(given)
    for file in closed:
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(file)


_ADVICE = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

int posix_fadvise(int file, off_t offset, off_t n, int advice) {
    return write(1, "advised\\n", 8) == 8 ? 0 : -1;
}

int posix_fadvise64(int file, off64_t offset, off64_t n, int advice) {
    return posix_fadvise(file, offset, n, advice);
}
"""
_OPEN = """
import os, sys
from dcmveil.faces.system import OpenFiles
folder = os.fsencode(sys.argv[1])
ahead = int(sys.argv[2])
OpenFiles(folder, [(name, "") for name in os.listdir(folder)], os.O_RDONLY, ahead).close()
"""
IN_MEMORY = {"tmpfs", "ramfs"}


def kind_of(folder: Path) -> str:
    """Of its file system."""
    command = ["stat", "-f", "-c", "%T", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("place", ["/dev/shm", "/var/tmp", "."])
def test_advice_is_for_disks(tmp_path: Path, place: str) -> None:
    """Each file that is opened is read ahead, unless it lies in memory anyway."""
    if not os.access(place, os.W_OK):
        pytest.skip(f"{place} is not for us")
    advice = library(tmp_path, _ADVICE)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        batch_of(Path(folder), ["a", "b", "c"])
        in_memory = kind_of(Path(folder)) in IN_MEMORY
        assert times_advised(advice, folder, 100) == (0 if in_memory else 3)


def times_advised(advice: Path, folder: str, ahead: int) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, folder, f"{ahead}"],
        env=environment(LD_PRELOAD=str(advice)),
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout.count("advised")


@pytest.mark.parametrize("ahead", [1 << 16, (1 << 16) + 1, 200_000, 1 << 20])
def test_advice_of_long_stretches(tmp_path: Path, ahead: int) -> None:
    """It is not given where the last page of them is in memory: the kernel would look at each."""
    advice = library(tmp_path, _ADVICE)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        if kind_of(Path(folder)) != "ext2/ext3":
            pytest.skip("needs a disk of which one can ask what is in memory")
        path = Path(folder) / "a"
        path.write_bytes(bytes(300_000))
        assert times_advised(advice, folder, ahead) == (ahead <= 1 << 16)
        # the kernel keeps a page that somebody still holds, whatever it is told
        assert any(advised_once_dropped(path, advice, ahead) for _ in range(50))


def advised_once_dropped(path: Path, advice: Path, ahead: int) -> bool:
    """Whether one file was, when its pages were to be dropped from memory right before."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return times_advised(advice, str(path.parent), ahead) == 1


_CLOSE = """
import itertools, os, sys
from dcmveil.faces.records import Targets
from dcmveil.faces.system import OpenFiles

def is_open(file):
    return os.path.exists(f"/proc/self/fd/{file}")

def targets(files):
    made = Targets()
    for file in files:
        made.add(file, 0, 0)
    return made.let_go

def batch(files):
    made = OpenFiles(b"/", [(b"missing", "")] * len(files), os.O_RDONLY, 0)
    for number, file in enumerate(files):
        made[number] = file
    return made.close

for close in (targets, batch):
    for n in range(5):
        for given in itertools.permutations(range(4), n):
            files = [os.open("/", os.O_RDONLY) for _ in range(4)]
            assert files == [*range(files[0], files[0] + 4)]
            close([files[number] for number in given])()
            assert [is_open(file) for file in files] == [i not in given for i in range(4)], given
            for number in {*range(4)} - {*given}:
                os.close(files[number])
print("done")
"""


@pytest.mark.parametrize("lacks", [None, errno.ENOSYS, errno.EPERM])
def test_files_are_closed_in_any_order(lacking: Path, lacks: int | None) -> None:
    """Each, and none that stands between them: also where no call closes several."""
    missing = {"LD_PRELOAD": str(lacking), "LACKS_CLOSE": str(lacks)} if lacks else {}
    done = subprocess.run(
        [sys.executable, "-c", _CLOSE],
        env=environment(**missing),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == "done\n", done.stderr


def test_files_that_a_batch_does_not_have(tmp_path: Path) -> None:
    files = OpenFiles(os.fsencode(tmp_path), batch_of(tmp_path, ["a"]), os.O_RDONLY, 0)
    for number in (-1, 1, 1 << 40):
        with pytest.raises(IndexError):
            files[number]
        with pytest.raises(IndexError):
            files[number] = -1
    before = len(os.listdir("/proc/self/fd"))
    del files  # a batch that nobody closed
    assert len(os.listdir("/proc/self/fd")) == before - 1


@pytest.mark.parametrize("folder", ["missing", "a", ""])
def test_a_folder_that_cannot_be_opened(tmp_path: Path, folder: str) -> None:
    batch = batch_of(tmp_path, ["a"])
    files = OpenFiles(os.fsencode(tmp_path / folder) if folder else b"", batch, os.O_RDONLY, 0)
    assert files[0] == -1


def test_no_files_at_all(tmp_path: Path) -> None:
    assert len(OpenFiles(os.fsencode(tmp_path) + b"/", [], os.O_RDONLY, 1 << 20)) == 0
    assert renamed(tmp_path, []) == []


def renamed(target: Path, batch: list[tuple[bytes, bytes, bytes]]) -> list[int]:
    """By way of the folder of the temporary files, which is not that of the outputs."""
    temporaries = TemporaryPaths(os.fsencode(target.parent if target.name == "out" else target))
    try:
        return rename_batch(os.fsencode(target) + b"/", batch, temporaries)
    finally:
        temporaries.close()


def test_temporary_paths(tmp_path: Path) -> None:
    """In a folder that is kept open: it may be moved."""
    (tmp_path / "place").mkdir()
    paths = TemporaryPaths(os.fsencode(tmp_path / "place"))
    made = [paths.next(), paths.next()]
    assert made == [os.fsencode(tmp_path / "place" / f"{n}.tmp") for n in (1, 2)]
    (tmp_path / "place").rename(tmp_path / "moved")
    (tmp_path / "moved" / "2.tmp").write_bytes(b"two")
    (tmp_path / "other").write_bytes(b"other")
    batch = [(b"", made[1], b"b"), (b"", os.fsencode(tmp_path / "other"), b"c")]
    assert rename_batch(os.fsencode(tmp_path) + b"/", batch, paths) == []
    assert (tmp_path / "b").read_bytes() == b"two"
    assert (tmp_path / "c").read_bytes() == b"other"
    paths.close()
    paths.close()
    (tmp_path / "moved" / "2.tmp").write_bytes(b"again")
    assert rename_batch(os.fsencode(tmp_path) + b"/", [(b"", made[1], b"d")], paths) == [0]


@pytest.mark.parametrize("wrong", [b"a\0b", b"none", "text", None])
def test_temporary_paths_without_a_folder(wrong: Any) -> None:
    """And no other descriptor is closed for it."""
    held = os.open(os.devnull, os.O_RDONLY)  # it is 0, if nothing else is
    with pytest.raises((ValueError, OSError, TypeError)):
        TemporaryPaths(wrong)
    os.fstat(0)
    os.close(held)


def finished(root: Path, names: list[str]) -> list[tuple[bytes, bytes, bytes]]:
    """(input, path of a finished file, its name) of each."""
    for number, name in enumerate(names):
        (root / f"{number}.tmp").write_bytes(f"{number} {name}".encode())
    folder = os.fsencode(root)
    return [(b"", folder + b"/%d.tmp" % i, name.encode()) for i, name in enumerate(names)]


def test_rename_a_batch(tmp_path: Path) -> None:
    """In order, so that the first of two with one name has it; nothing is replaced, what cannot be
    is told by its number and left as it is, and what follows one in a missing folder waits."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "taken").write_bytes(b"precious")
    (target / "folder").mkdir()
    (target / "link").symlink_to("nowhere")
    names = ["taken", "one", "two", "folder", "one", "link", "n" * 300, "three", "no/such", "four"]
    batch = finished(tmp_path, names)
    probe = [(b"", os.fsencode(tmp_path / "probe.tmp"), b"probe")]
    (tmp_path / "probe.tmp").write_bytes(b"")
    if renamed(target, probe):
        pytest.skip("not on this file system")
    assert renamed(target, batch) == [0, 3, 4, 5, 6, 8, 9]
    assert sorted(os.listdir(target)) == [
        "folder", "link", "one", "probe", "taken", "three", "two"
    ]  # fmt: skip
    assert (target / "taken").read_bytes() == b"precious"
    assert (target / "one").read_bytes() == b"1 one"
    assert (target / "two").read_bytes() == b"2 two"
    assert (target / "three").read_bytes() == b"7 three"
    assert os.listdir(target / "folder") == []
    assert os.readlink(target / "link") == "nowhere"
    left = {f"{i}.tmp" for i in (0, 3, 4, 5, 6, 8, 9)}
    assert {name for name in os.listdir(tmp_path) if name.endswith(".tmp")} == left
    for name in left:
        assert (tmp_path / name).read_bytes().startswith(name[0].encode())
    os.unlink(batch[8][1])  # a file that is gone
    assert renamed(target, batch[8:]) == [0, 1]
    assert renamed(target, batch[9:]) == []
    assert (target / "four").read_bytes() == b"9 four"


def test_a_batch_with_a_nul_in_a_name(tmp_path: Path) -> None:
    """No name of ours has one; up to it there would be the name of another file."""
    _, other, third = finished(tmp_path, ["one", "two", "three"])
    for wrong in ((b"", other[1], b"t\0wo"), (b"", other[1] + b"\0", b"two")):
        with pytest.raises(ValueError, match="null byte"):
            renamed(tmp_path, [wrong, third])
    with pytest.raises(TypeError):
        renamed(tmp_path, [(b"", other[1], "two")])  # type: ignore[list-item]
    assert sorted(os.listdir(tmp_path)) == ["0.tmp", "1.tmp", "2.tmp"]


_BATCH = """
import os, sys
from dcmveil.faces.system import TemporaryPaths, rename_batch
folder, *olds = map(os.fsencode, sys.argv[1:])
batch = [(b"", old, b"%d" % i) for i, old in enumerate(olds)]
print(rename_batch(folder + b"/", batch, TemporaryPaths(folder)))
"""


def test_rename_a_batch_where_the_call_is_missing(tmp_path: Path, lacking: Path) -> None:
    """All of them are left: who tries again has other ways."""
    batch = finished(tmp_path, ["0", "1"])
    done = subprocess.run(
        [sys.executable, "-c", _BATCH, tmp_path, *(old for _, old, _ in batch)],
        env=environment(LD_PRELOAD=str(lacking), LACKS_RENAME=str(errno.ENOSYS)),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == "[0, 1]\n", done.stderr
    assert sorted(os.listdir(tmp_path)) == ["0.tmp", "1.tmp"]
