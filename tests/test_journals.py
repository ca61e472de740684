"""A journal's file that a later batch writes over: see faces/journal.py."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dcmveil import Veil
from dcmveil.faces import journal as journals
from dcmveil.faces.journal import FOLDER, Journal, Journals, discard, recover
from folders import instances, leftovers, read, write

pytestmark = pytest.mark.usefixtures("no_descriptor_stays_open")
SIZE = 3000  # bytes of a file
FREE = bytes(4)


class Worker:
    """The journals of one worker, over a folder with three files."""

    def __init__(self, root: Path, again: bool = True) -> None:
        root.mkdir()
        self.root = root
        self.names = ("a", "b", "c")
        for name in self.names:
            (root / name).write_bytes(bytes(SIZE))
        self.journals = Journals(os.fsencode(root), again)

    def plan(self, letters: str, n: int = SIZE) -> Journal:
        """A batch in which n bytes of the first files become these letters."""
        made = self.journals.begin()
        for name, letter in zip(self.names, letters, strict=False):
            made.begin(name.encode(), os.stat(self.root / name))
            made.edit(0, letter.encode() * n)
            made.end(os.open(self.root / name, os.O_RDWR), b"{}")
        return made

    def commit(self, letters: str, n: int = SIZE) -> Path:
        """The journal of a batch that was committed, and closed by its worker."""
        made = self.plan(letters, n)
        made.commit(False)
        self.journals.close(made)
        return Path(os.fsdecode(made.path))

    def read(self) -> str:
        """The first letters of the files."""
        return "".join(chr((self.root / name).read_bytes()[0] or 45) for name in self.names)

    def recover(self) -> list[bytes]:
        return [name for name, _ in recover(os.fsencode(self.root), False)]

    def clear(self) -> None:
        for name in self.names:
            with (self.root / name).open("r+b") as file:
                file.write(bytes(SIZE))


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "root")


def test_a_file_is_written_over(worker: Worker) -> None:
    path = worker.commit("xyz")
    inode = path.stat().st_ino
    for letters in ("vw", "pqr", "u"):
        discard(os.fsencode(path))
        assert path.read_bytes()[:4] == FREE
        assert worker.commit(letters) == path
        assert path.stat().st_ino == inode
        assert path.read_bytes()[:4] == b"FILE"
    assert worker.recover() == [b"a"]  # the last batch, and nothing of longer ones behind it
    assert worker.read() == "u--"
    assert not path.exists()


def test_what_was_reported_is_not_done_again(worker: Worker) -> None:
    path = worker.commit("xyz")
    discard(os.fsencode(path))
    assert worker.recover() == []
    assert worker.read() == "---"
    assert not path.exists()


def test_what_is_not_reported_yet_is_kept(worker: Worker) -> None:
    """As where a parent waits for the batch of another worker."""
    first, second = worker.commit("x"), worker.commit("-y")
    assert first != second
    third = worker.commit("--z")
    discard(os.fsencode(first))
    assert worker.commit("v") == first
    assert len({first, second, third}) == 3
    assert worker.recover() == [b"a", b"a", b"b", b"a", b"b", b"c"]
    assert worker.read() == "-" * 2 + "z"


@pytest.mark.parametrize("longer", [False, True])
def test_a_kill_while_it_is_written_over(worker: Worker, longer: bool) -> None:
    """At any byte: neither batch is carried out, nor a part of one with a part of the other."""
    path = worker.commit("xyz", 500 if longer else 900)
    discard(os.fsencode(path))
    old = path.read_bytes()
    made = worker.plan("uvw", 900 if longer else 500)
    made.commit(False)
    made.close()
    new = path.read_bytes()[: len(made.records)]
    for at in range(4, len(new)):
        path.write_bytes(FREE + new[4:at] + old[at:])
        assert worker.recover() == []
        assert not path.exists()
    # of what a power cut leaves, where the disk may have the first bytes before the others
    for at in range(512, min(len(new), len(old)), 512):
        for torn in (new[:at] + old[at:], b"FILE" + old[4:at] + new[at:]):
            path.write_bytes(torn)
            assert worker.recover() == []
    assert worker.read() == "---"
    path.write_bytes(new)
    assert worker.recover() == [b"a", b"b", b"c"]
    assert worker.read() == "uvw"


def test_the_first_bytes_come_last(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the file is new, or written over; also of one that does not stay in memory."""
    write_at = journals._write_at
    seen: list[tuple[int, bytes]] = []

    def look(file: int, data: bytes | bytearray, offset: int) -> None:
        write_at(file, data, offset)
        seen.append((offset, os.pread(file, 4, 0)))

    monkeypatch.setattr(journals, "_write_at", look)
    for n, writes in ((10, 2), (10, 2), (2 << 20, 5)):
        seen.clear()
        path = worker.commit("xyz", n)
        assert [head for _, head in seen] == [FREE] * (len(seen) - 1) + [b"FILE"]
        assert (seen[0][0], seen[-1][0]) == (0, 0)
        assert len(seen) >= writes
        discard(os.fsencode(path))
    assert not path.exists()


def test_one_with_old_values_is_not_kept(tmp_path: Path) -> None:
    """Where there is a crosswalk, its rows are gone from the disk as soon as they may be."""
    worker = Worker(tmp_path / "root", again=False)
    for letters in ("xyz", "uvw"):
        path = worker.commit(letters)
        assert path.read_bytes()[:4] == b"FILE"
        discard(os.fsencode(path))
        assert not path.exists()


def test_a_run_with_a_crosswalk_leaves_no_row_behind(
    tmp_path: Path, veil: Veil, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "in", instances(70))
    folder = root / os.fsdecode(FOLDER)
    seen = []

    def look(path: bytes) -> None:
        rows = b'"crosswalk":' in Path(os.fsdecode(path)).read_bytes()
        discard(path)
        seen.append((rows, os.listdir(folder)))

    monkeypatch.setattr(journals, "discard", look)
    veil.tree(root, crosswalk=tmp_path / "rows")
    assert seen == [(True, [])] * 4  # one a batch


def test_a_large_one_is_not_kept(worker: Worker) -> None:
    """It would hold its place on the disk until the end of the run."""
    path = worker.commit("xyz", 2 << 20)
    assert path.stat().st_size > 2 << 20
    discard(os.fsencode(path))
    assert not path.exists()
    assert worker.commit("xyz") != path


def test_one_that_was_not_committed(worker: Worker) -> None:
    """A batch of which nothing is patched, or that failed, leaves no file."""
    path = worker.commit("xyz")
    discard(os.fsencode(path))
    made = worker.plan("uvw")
    assert made.path == os.fsencode(path)
    worker.journals.close(made)
    assert not path.exists()
    assert worker.commit("uvw") != path
    assert worker.recover() == [b"a", b"b", b"c"]
    assert worker.read() == "uvw"


def hard_link(path: Path) -> None:
    os.link(path, path.parent.parent / "second")


def test_one_with_a_second_name(worker: Worker) -> None:
    made = worker.plan("xyz")
    made.commit(False)
    path = Path(os.fsdecode(made.path))
    hard_link(path)
    worker.journals.close(made)
    discard(made.path)
    assert not path.exists()
    whole = (worker.root / "second").read_bytes()
    assert worker.commit("uvw") != path
    assert (worker.root / "second").read_bytes() == whole


def symlink(path: Path) -> None:
    os.rename(path, path.parent.parent / "second")
    path.symlink_to(path.parent.parent / "second")


def another(path: Path) -> None:
    (path.parent / "new").write_bytes(FREE + b"not ours")
    os.chmod(path.parent / "new", 0o600)
    os.rename(path.parent / "new", path)


def readable(path: Path) -> None:
    os.chmod(path, 0o644)


@pytest.mark.parametrize("put", [os.unlink, hard_link, symlink, another, readable])
def test_a_file_that_is_no_longer_what_it_was(worker: Worker, put: Callable[[Path], None]) -> None:
    path = worker.commit("xyz")
    discard(os.fsencode(path))
    put(path)
    before = path.read_bytes() if path.exists() else b""
    fresh = worker.commit("uvw")
    assert fresh != path
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o600
    assert (path.read_bytes() if path.exists() else b"") == before


@pytest.mark.parametrize("put", [hard_link, symlink, another])
def test_no_other_file_is_written_when_one_is_discarded(
    worker: Worker, put: Callable[[Path], None]
) -> None:
    path = worker.commit("xyz")
    put(path)
    before = path.read_bytes()
    discard(os.fsencode(path))
    assert not path.exists()
    if put is not another:
        assert (worker.root / "second").read_bytes() == before


def test_one_that_another_run_carries_out(worker: Worker) -> None:
    """It is not cut off below its reader."""
    path = worker.commit("xyz")
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = file.read()
        discard(os.fsencode(path))
        file.seek(0)
        assert file.read() == before
    assert not path.exists()


def test_the_end_of_a_run(worker: Worker) -> None:
    """What covers no file goes, what is whole waits for the next run."""
    folder = worker.root / os.fsdecode(FOLDER)
    first, second = worker.commit("x"), worker.commit("-y")
    discard(os.fsencode(second))
    (folder / "empty").touch()
    journals.close_folder(os.fsencode(worker.root))
    assert list(folder.iterdir()) == [first]
    discard(os.fsencode(first))
    with first.open("rb") as file:  # its writer is at work
        fcntl.flock(file, fcntl.LOCK_EX)
        journals.close_folder(os.fsencode(worker.root))
        assert list(folder.iterdir()) == [first]
    journals.close_folder(os.fsencode(worker.root))
    assert not folder.exists()
    journals.close_folder(os.fsencode(worker.root))
    folder.mkdir()
    (folder / "link").symlink_to("nowhere")
    journals.close_folder(os.fsencode(worker.root))
    assert os.listdir(folder) == ["link"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_makes_few(
    tmp_path: Path, veil: Veil, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    """One file for all batches of a process; more only where batches wait to be reported."""
    files = instances(32 * 8)
    root = write(tmp_path / "in", files)
    made: list[Any] = []
    locked = journals._locked

    def look(path: bytes) -> int:
        made.append(path)
        return locked(path)

    monkeypatch.setattr(journals, "_locked", look)
    summary = veil.tree(root, jobs=jobs)
    assert summary.outcomes["rewritten"] == len(files)
    assert len(made) == (jobs == 1)  # those of workers are not seen here
    assert read(root) == {name: veil.bytes(data) for name, data in files.items()}
    assert leftovers(root) == []
