"""The walk looks at many entries at a time, and says of each what it would say one by one."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcmveil.faces.files import TEMPORARY
from dcmveil.trees.walk import SPECIAL, SYMLINK, walk
from faces import environment
from preloaded import library

AT_ONCE = 128  # entries that are read together
MANY = 3 * AT_ONCE + 7


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Plain files in plenty, and everything else between them."""
    for folder, count in (("", MANY), ("all plain", MANY), ("just", AT_ONCE), ("empty", 0)):
        (tmp_path / folder).mkdir(exist_ok=True)
        for number in range(count):
            (tmp_path / folder / f"{number}").touch()
    for number in range(5):
        (tmp_path / f"folder {number}" / "deeper").mkdir(parents=True)
        (tmp_path / f"folder {number}" / "deeper" / "file").touch()
        (tmp_path / f"link {number}").symlink_to("0")
        os.mkfifo(tmp_path / f"fifo {number}")
        (tmp_path / f"{TEMPORARY.decode()}{number}").touch()
    return tmp_path


def one_by_one(root: bytes, prefix: bytes = b"") -> Iterator[tuple[bytes, str]]:
    for entry in os.scandir(os.path.join(root, prefix)):
        relative = prefix + entry.name
        if entry.name.startswith(TEMPORARY):
            continue
        if entry.is_symlink():
            yield relative, SYMLINK
        elif entry.is_dir():
            yield from one_by_one(root, relative + b"/")
        else:
            yield relative, "" if entry.is_file() else SPECIAL


def test_all_in_order(root: Path) -> None:
    found = list(walk(os.fsencode(root)))
    assert found == list(one_by_one(os.fsencode(root)))
    assert sum(not reason for _, reason in found) == 2 * MANY + AT_ONCE + 5


@pytest.mark.parametrize("place", ["all plain/100", "all plain", "just/5", "folder 3/deeper"])
def test_left_out(root: Path, place: str) -> None:
    status = (root / place).stat()
    left_out = frozenset([(status.st_dev, status.st_ino)])
    kept = [
        one for one in walk(os.fsencode(root))
        if one[0] != place.encode() and not one[0].startswith(place.encode() + b"/")
    ]  # fmt: skip
    assert list(walk(os.fsencode(root), left_out)) == kept
    # the same number on another device is another file
    other = frozenset([(status.st_dev + 1, status.st_ino)])
    assert list(walk(os.fsencode(root), other)) == list(walk(os.fsencode(root)))


# Of folders whose name ends with "plain": FAULT_AT, how many of their files can be read before the
# fault, and UNKNOWN, that no kind is said of any entry.
_READDIR = """
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
static DIR *plain;
static int told;
DIR *opendir(const char *path) {
    DIR *(*real)(const char *) = (DIR *(*)(const char *)) dlsym(RTLD_NEXT, "opendir");
    DIR *made = real(path);
    size_t n = strlen(path);
    if (n > 5 && strcmp(path + n - 5, "plain") == 0) {
        plain = made;
        told = 0;
    } else if (made == plain) {     /* of a folder that was closed */
        plain = NULL;
    }
    return made;
}
static struct dirent *next(struct dirent *(*real)(DIR *), DIR *folder) {
    struct dirent *entry = real(folder);
    const char *at = getenv("FAULT_AT");
    if (entry != NULL && entry->d_name[0] != '.' && folder == plain && at && told++ >= atoi(at)) {
        errno = EIO;
        return NULL;
    }
    if (entry != NULL && getenv("UNKNOWN")) {
        entry->d_type = DT_UNKNOWN;
    }
    return entry;
}
struct dirent *readdir(DIR *folder) {
    return next((struct dirent *(*)(DIR *)) dlsym(RTLD_NEXT, "readdir"), folder);
}
struct dirent64 *readdir64(DIR *folder) {
    return (struct dirent64 *) next(
        (struct dirent *(*)(DIR *)) dlsym(RTLD_NEXT, "readdir64"), folder);
}
"""
_WALK = """
import os, sys
from dcmveil.trees.walk import walk
print(list(walk(os.fsencode(sys.argv[1]))))
"""


@pytest.fixture(scope="module")
def readdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("readdir"), _READDIR)


def walked(root: Path, readdir: Path, **how: str) -> list[tuple[bytes, str]]:
    """What a walk finds with that library."""
    done = subprocess.run(
        [sys.executable, "-c", _WALK, root],
        env=environment(LD_PRELOAD=str(readdir), **how),
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    found = ast.literal_eval(done.stdout)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("good", [0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, MANY - 1])
def test_a_fault_within_a_folder(root: Path, readdir: Path, good: int) -> None:
    """What came before it is taken, and the folder has a reason; other folders go on."""
    usual = list(walk(os.fsencode(root)))
    assert walked(root, readdir) == usual
    inside = [n for n, (path, _) in enumerate(usual) if path.startswith(b"all plain/")]
    wanted = [*usual]
    wanted[inside[good] : inside[-1] + 1] = [(b"all plain", "cannot be listed: Input/output error")]
    assert walked(root, readdir, FAULT_AT=str(good)) == wanted


def test_a_file_system_that_does_not_say_what_an_entry_is(root: Path, readdir: Path) -> None:
    assert walked(root, readdir, UNKNOWN="1") == list(walk(os.fsencode(root)))


def test_names_of_all_lengths(tmp_path: Path) -> None:
    """More bytes of them than are read together."""
    made = {f"{i:03}".ljust(i, "n") for i in range(4, 256)}
    for name in made:
        (tmp_path / name).touch()
    found = [path.decode() for path, reason in walk(os.fsencode(tmp_path)) if not reason]
    assert sorted(found) == sorted(made)


def test_a_file_that_goes_while_it_is_walked(root: Path) -> None:
    """Whoever opens it is told."""
    going = walk(os.fsencode(root))
    first = next(going)
    shutil.rmtree(root)
    reasons = {reason for _, reason in [first, *going]}
    assert reasons <= {"", SYMLINK, SPECIAL, "cannot be listed: No such file or directory"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to mount a file system")
def test_a_place_that_is_left_out_and_mounted(root: Path) -> None:
    """Its entry has the number of the folder that it hides."""
    place = root / "just"
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        (place / "output").touch()
        status = place.stat()
        found = [path for path, _ in walk(os.fsencode(root), frozenset([_identity(status)]))]
        assert b"0" in found
        assert not [path for path in found if path.startswith(b"just")]
        assert b"just/output" in [path for path, _ in walk(os.fsencode(root))]
    finally:
        subprocess.run(["umount", place], check=True)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def test_a_root_that_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        next(walk(os.fsencode(tmp_path / "none")))
