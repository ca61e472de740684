"""The walk looks at many entries at a time, and says of each what it would say one by one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dcmveil.faces.files import TEMPORARY
from dcmveil.trees.walk import AT_ONCE, SPECIAL, SYMLINK, walk

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


class Failing:
    """Entries of a folder, and a fault behind some of them."""

    def __init__(self, entries: Any, good: int) -> None:
        self._entries = entries
        self._good = good

    def __iter__(self) -> Failing:
        return self

    def __next__(self) -> os.DirEntry[bytes]:
        self._good -= 1
        if self._good < 0:
            raise OSError(5, "input or output error")
        entry: os.DirEntry[bytes] = next(self._entries)
        return entry

    def __enter__(self) -> Failing:
        return self

    def __exit__(self, *exception: object) -> None:
        self._entries.close()


class Unknown:
    """An entry that cannot be looked at."""

    def __init__(self, entry: os.DirEntry[bytes]) -> None:
        self.name, self.path = entry.name, entry.path

    def is_file(self, follow_symlinks: bool) -> bool:
        raise OSError(5, "input or output error")


class WithUnknown(Failing):
    def __next__(self) -> os.DirEntry[bytes]:
        self._good -= 1
        entry: Any = next(self._entries)
        return Unknown(entry) if self._good == -1 else entry


@pytest.mark.parametrize("kind", [Failing, WithUnknown])
@pytest.mark.parametrize("good", [0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, MANY - 1])
def test_a_fault_within_a_folder(
    root: Path, kind: type[Failing], good: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came before it is taken, and the folder has a reason; other folders go on."""
    usual, scandir = list(walk(os.fsencode(root))), os.scandir

    def scan(path: bytes) -> Any:
        entries = scandir(path)
        return kind(entries, good) if path.endswith(b"all plain") else entries

    monkeypatch.setattr(os, "scandir", scan)
    inside = [n for n, (path, _) in enumerate(usual) if path.startswith(b"all plain/")]
    wanted = [*usual]
    wanted[inside[good] : inside[-1] + 1] = [
        (b"all plain", "cannot be listed: input or output error")
    ]
    assert list(walk(os.fsencode(root))) == wanted


def test_a_root_that_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        next(walk(os.fsencode(tmp_path / "none")))
