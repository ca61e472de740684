"""Disks that are full or read-only: real file systems of a few megabytes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from build import E, part10
from crashes import elements_with, files_of, leftovers, read_tree
from dcmveil import Veil
from faces import environment, run_forked

KEY = bytes(range(32))
FULL = "No space left on device"
READ_ONLY = "Read-only file system"
JOBS = pytest.mark.parametrize("jobs", [1, 2])


class Disk:
    """A file system of its own. `fill` takes all that is free, `make_room` gives it back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self, leave: int = 0) -> None:
        with self._filler.open("wb", buffering=0) as file:
            for size in (1 << 16, 512, 1):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    pass
            file.truncate(max(0, file.tell() - leave))

    def make_room(self) -> None:
        self._filler.unlink()

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.path], check=True)


Mount = Callable[..., Disk]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a new file system: mount(kind, megabytes)."""
    mounted: list[Path] = []

    def make(kind: str, megabytes: int) -> Disk:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "none"]
        if kind != "tmpfs":
            image = tmp_path / f"image{len(mounted)}"
            with image.open("wb") as file:
                file.truncate(megabytes << 20)
            _or_skip([f"mkfs.{kind}", "-q", image])
            options = ["-t", kind, "-o", "loop", str(image)]
        _or_skip(["mount", *options, place])
        mounted.append(place)
        (place / "lost+found").rmdir() if (place / "lost+found").exists() else None
        return Disk(place)

    yield make
    for place in mounted:
        subprocess.run(["umount", place], check=True)


def _or_skip(command: list[str | Path]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"no {command[0]} here")
    if done.returncode:
        pytest.skip(f"{command[0]} is not allowed here: {done.stderr.strip()}")


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(request: pytest.FixtureRequest, mount: Mount) -> Disk:
    return mount(request.param, 16)


def fill_folder(folder: Path, count: int, size: int = 0) -> None:
    folder.mkdir()
    for n in range(count):
        pixels = E(0x7FE00010, "OW", bytes(size)) if size else None
        (folder / f"{n:03}.dcm").write_bytes(part10(elements_with(n, pixels)))


def expected(folder: Path) -> dict[str, bytes]:
    veil = Veil(key=KEY)
    return {name: veil.bytes((folder / name).read_bytes()) for name in files_of(folder)}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_of(folder)}


def records(report: Path) -> list[dict[str, object]]:
    """The lines of a report, one may be torn."""
    found = []
    for line in report.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            found.append(json.loads(line))
    return found


# -- copy ------------------------------------------------------------------------------------------


@JOBS
@pytest.mark.parametrize("report_there", [False, True], ids=["report elsewhere", "report there"])
def test_copy_into_a_full_disk(
    tmp_path: Path, key: Path, disk: Disk, jobs: int, report_there: bool
) -> None:
    source = tmp_path / "source"
    fill_folder(source, 100, 60_000)
    before, wanted = read_tree(source), expected(source)
    disk.fill(1 << 20)
    target = disk.path / "target"
    report = (disk.path if report_there else tmp_path) / "report.jsonl"
    command = ["copy", source, target, "--keep-names", "-j", str(jobs), "--key-file", key]
    command += ["--report", report, "--resume"]
    for _ in range(2):  # it is still full the second time
        done = run_forked(tmp_path, b"", *command)
        assert done.code == 1
        assert FULL in done.err
        assert "internal" not in done.err
        assert read_tree(source) == before
        assert not leftovers(disk.path)
        made = contents(target)
        assert all(wanted[name] == data for name, data in made.items())
        assert 0 < len(made) < 100
        if not report_there:
            lines = records(report)
            assert sum(line.get("outcome") == "rewritten" for line in lines) == len(made)
    disk.make_room()
    done = run_forked(tmp_path, b"", *command)
    assert done.code == 0, done.err
    assert contents(target) == wanted
    assert not leftovers(disk.path)
    assert sum(line.get("outcome") in ("rewritten", "same") for line in records(report)) == 100


@JOBS
def test_a_report_that_has_no_room(tmp_path: Path, key: Path, disk: Disk, jobs: int) -> None:
    """The outputs have room elsewhere: the run ends, for nothing would say what was done."""
    source, target = tmp_path / "source", tmp_path / "target"
    fill_folder(source, 300)
    wanted = expected(source)
    disk.fill(8192)
    report = disk.path / "report.jsonl"
    command = ["copy", source, target, "--keep-names", "-j", str(jobs), "--key-file", key]
    command += ["--report", report, "--resume"]
    for _ in range(2):
        done = run_forked(tmp_path, b"", *command)
        assert done.code == 1
        assert FULL in done.err
        assert not leftovers(target)
        assert not leftovers(disk.path)
        assert len(contents(target)) < 300
    disk.make_room()
    done = run_forked(tmp_path, b"", *command)
    assert done.code == 0, done.err
    assert contents(target) == wanted


@JOBS
def test_a_quarantine_that_has_no_room(tmp_path: Path, key: Path, disk: Disk, jobs: int) -> None:
    """The copies of what failed are a convenience: their lack is told, and stops nothing."""
    source, target = tmp_path / "source", tmp_path / "target"
    fill_folder(source, 10, 60_000)
    wanted = expected(source)
    for n in range(10):
        data = (source / f"{n:03}.dcm").read_bytes()
        (source / f"cut{n}.dcm").write_bytes(data[:-100])
    disk.fill(100_000)
    report, quarantine = tmp_path / "report.jsonl", disk.path / "quarantine"
    done = run_forked(tmp_path, b"",
        "copy", source, target, "--keep-names", "-j", str(jobs), "--key-file", key,
        "--report", report, "--quarantine", quarantine,
    )  # fmt: skip
    assert done.code == 1
    assert contents(target) == wanted
    failed = [line for line in records(report) if line.get("outcome") == "failed"]
    assert len(failed) == 10
    told = [line for line in failed if line.get("quarantine") == FULL]
    assert 0 < len(told) < 10
    assert len(contents(quarantine)) == 10 - len(told)
    assert not leftovers(quarantine)
    for name, data in contents(quarantine).items():
        assert data == (source / name).read_bytes()


@JOBS
def test_copy_onto_a_disk_without_files_left(
    tmp_path: Path, key: Path, mount: Mount, jobs: int
) -> None:
    """Names and folders fail, not bytes."""
    source = tmp_path / "source"
    fill_folder(source, 100)
    wanted = expected(source)
    disk = mount("tmpfs", 16)
    disk.remount("nr_inodes=40")
    target = disk.path / "target"
    command = ["copy", source, target, "--keep-names", "-j", str(jobs), "--key-file", key]
    done = run_forked(tmp_path, b"", *command)
    assert done.code == 1
    assert FULL in done.err
    assert not leftovers(target)
    assert 0 < len(contents(target)) < 100
    disk.remount("nr_inodes=1000")
    assert run_forked(tmp_path, b"", *command).code == 0
    assert contents(target) == wanted


# -- patch -----------------------------------------------------------------------------------------


@JOBS
@pytest.mark.parametrize("leave", [0, 4096, 12288])
@pytest.mark.parametrize("size", [0, 700_000], ids=["small", "large"])
def test_patch_on_a_full_disk(
    tmp_path: Path, key: Path, disk: Disk, jobs: int, leave: int, size: int
) -> None:
    """The journal has no room, or none for all of it: no file is touched that it does not hold."""
    tree = disk.path / "tree"
    if size:  # contours: the whole of it changes, so the journal is larger than its buffer
        tree.mkdir()
        for n in range(3):
            value = "1\\2\\" * (size // 4)
            noise = [E(0x00091001 + i, "UT", value[:50_000]) for i in range(28)]
            head = [E(0x00080018, "UI", f"1.2.3.4.5.6.7.8.{n}"), E(0x00090010, "LO", "ACME X")]
            (tree / f"{n}.dcm").write_bytes(part10([*head, *noise, E(0x00100020, "LO", "X")]))
    else:
        fill_folder(tree, 100)
    before, wanted = contents(tree), expected(tree)
    disk.fill(leave)
    report = tmp_path / "report.jsonl"
    command = ["patch", tree, "-j", str(jobs), "--key-file", key, "--report", report, "--resume"]
    for _ in range(2):
        done = run_forked(tmp_path, b"", *command)
        assert done.code == 1
        assert FULL in done.err
        assert "died" not in done.err
        patched = {name for name, data in contents(tree).items() if data != before[name]}
        assert len(patched) < len(wanted)
        assert all((tree / name).read_bytes() == wanted[name] for name in patched)
        assert not leftovers(tree)
        fatal = [line for line in records(report) if line.get("outcome") == "failed"]
        assert fatal
        assert all(line["error"]["reason"] == FULL for line in fatal)  # type: ignore[index]
    disk.make_room()
    done = run_forked(tmp_path, b"", *command)
    assert done.code == 0, done.err
    assert contents(tree) == wanted
    assert not leftovers(tree)


# -- read-only -------------------------------------------------------------------------------------


@JOBS
def test_a_read_only_disk(tmp_path: Path, key: Path, disk: Disk, jobs: int) -> None:
    source = tmp_path / "source"
    tree, target = disk.path / "tree", disk.path / "target"
    fill_folder(source, 40)
    fill_folder(tree, 40)
    target.mkdir()
    before, wanted = contents(tree), expected(source)
    copying = ["copy", source, target, "--keep-names", "-j", str(jobs), "--key-file", key]
    patching = ["patch", tree, "-j", str(jobs), "--key-file", key]
    disk.remount("ro")
    for command in (copying, patching):
        done = run_forked(tmp_path, b"", *command)
        assert done.code == 1
        assert READ_ONLY in done.err
        assert "died" not in done.err
        assert not leftovers(disk.path)
    assert contents(tree) == before
    assert contents(target) == {}
    disk.remount("rw")
    assert run_forked(tmp_path, b"", *copying).code == 0
    assert run_forked(tmp_path, b"", *patching).code == 0
    assert contents(target) == contents(tree) == wanted


# -- what a run keeps aside ------------------------------------------------------------------------

_SET = """
import sys
from dcmveil.trees.ledger import DiskSet
names = DiskSet()
try:
    for n in range(200_000):
        names.add(b"%032d" % n)
except OSError as error:
    print(error.strerror)
"""


def test_a_set_that_has_no_room(disk: Disk) -> None:
    """Sets of names lie in a temporary file: a full disk is an OSError there too."""
    disk.fill()
    done = subprocess.run(
        [sys.executable, "-c", _SET],
        env=environment(SQLITE_TMPDIR=str(disk.path)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == FULL
