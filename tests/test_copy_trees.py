"""Copies of all files of a folder: what is met there, how runs end, and what is compared."""

from __future__ import annotations

import os
import socket
import stat
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from build import E, sample
from dcmveil import UsageError, Veil
from dcmveil.report import Report
from dcmveil.session import Session
from dcmveil.trees.batches import FIRST
from faces import SECONDS
from folders import (
    KEY,
    EnoughError,
    Meddler,
    corpus_folder,
    expected,
    instance,
    instances,
    leftovers,
    read,
    write,
)
from folders import summary as report_summary

SAMPLE = sample()


# -- folders ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_folder(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def veiled_corpus(corpus_root: Path) -> dict[str, bytes]:
    """What Veil.bytes makes of each file of the corpus, but for DICOMDIRs."""
    veil = Veil(key=KEY)
    made = {name: expected(data, veil) for name, data in read(corpus_root).items()}
    return {
        name: data
        for name, data in made.items()
        if data is not None and "DICOMDIR" not in Path(name).name
    }


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_the_whole_corpus(
    tmp_path: Path, corpus_root: Path, veiled_corpus: dict[str, bytes], jobs: int
) -> None:
    seen: list[dict[str, Any]] = []
    before = {path: path.stat() for path in corpus_root.rglob("*")}
    summary = Veil(key=KEY).tree(
        corpus_root, tmp_path / "out", keep_names=True, jobs=jobs, on_file=seen.append,
        report=tmp_path / "report",
    )  # fmt: skip
    outputs = read(tmp_path / "out")
    directories = [name for name in outputs if "DICOMDIR" in Path(name).name]
    assert directories == []
    assert outputs == veiled_corpus
    assert len(outputs) > 240
    assert summary.outcomes["rewritten"] == len(outputs)
    assert summary.reasons["a DICOMDIR"] > 5
    assert len(seen) == summary.files
    assert leftovers(tmp_path) == []
    after = {path: path.stat() for path in corpus_root.rglob("*")}
    for path, status in before.items():
        assert (status.st_size, status.st_mtime_ns) == (
            after[path].st_size,
            after[path].st_mtime_ns,
        )


def test_outputs_do_not_depend_on_the_number_of_jobs(tmp_path: Path, corpus_root: Path) -> None:
    """By new UIDs, where names collide: then the first in the order of the walk has it."""
    trees, reports = [], []
    for jobs in (1, 2, 5):
        seen: list[dict[str, Any]] = []
        Veil(key=KEY).tree(corpus_root, tmp_path / f"{jobs}", jobs=jobs, on_file=seen.append)
        for record in seen:
            record.pop("seconds", None)
        trees.append(read(tmp_path / f"{jobs}"))
        reports.append(seen)
    assert trees[0] == trees[1] == trees[2]
    assert reports[0] == reports[1] == reports[2]
    reasons = [r["error"]["reason"] for r in reports[0] if r["outcome"] == "failed"]
    assert "its output name is taken by a file that is not the same" in reasons


def test_what_is_met_in_a_folder(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {"a.dcm": SAMPLE, "notes.txt": b"notes\n" * 50, "empty": b""})
    os.mkfifo(root / "fifo")
    (root / "link.dcm").symlink_to("a.dcm")
    (root / "out of it").symlink_to("/")
    (root / "nowhere").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
        finished = threading.Event()
        thread = threading.Thread(
            target=lambda: (veil.tree(root, tmp_path / "out", report=tmp_path / "r"),
                            finished.set()), daemon=True,
        )  # fmt: skip
        thread.start()
        assert finished.wait(SECONDS), "it waits for a FIFO or a socket"
    again = veil.tree(root, tmp_path / "out")
    assert again.reasons == {"a symbolic link": 3, "not a regular file": 2, "not DICOM": 2}
    assert again.outcomes["same"] == 1
    assert again.all_done
    assert list(read(tmp_path / "out").values()) == [veil.bytes(SAMPLE)]


def test_devices_are_not_opened(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {"a.dcm": SAMPLE})
    try:
        os.mknod(root / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")
    assert veil.tree(root, tmp_path / "out").reasons == {"not a regular file": 1}


def test_folders_too_deep_are_told(tmp_path: Path, veil: Veil) -> None:
    deep = tmp_path / "in"
    deep.mkdir()
    here = os.getcwd()
    try:
        os.chdir(deep)
        for _ in range(203):
            os.mkdir("d")
            os.chdir("d")
        Path("late.dcm").write_bytes(SAMPLE)
    finally:
        os.chdir(here)
    seen: list[dict[str, Any]] = []
    summary = veil.tree(deep, tmp_path / "out", on_file=seen.append)
    assert [r["error"]["reason"] for r in seen] == ["folders nested too deep"]
    assert not summary.all_done


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second file system")
def test_long_files_from_one_file_system_to_another(tmp_path: Path, veil: Veil) -> None:
    """Which most kernels do not copy between by one call."""
    files = {f"{i}": instance(i, pixels=os.urandom(300_000 + i)) for i in range(0, 20, 2)}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        source = write(Path(place, "in"), files)
        if source.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("it is one file system")
        summary = veil.tree(source, tmp_path / "out", keep_names=True)
    assert summary.outcomes["rewritten"] == len(files)
    assert read(tmp_path / "out") == {name: veil.bytes(data) for name, data in files.items()}


def test_files_that_come_and_go(tmp_path: Path) -> None:
    """A file vanishes between the listing and its turn; others go on. Those of a batch are opened
    when it begins."""
    root = write(tmp_path / "in", {f"{i}.dcm": instance(i) for i in range(FIRST + 5)})
    victims = [Path(entry) for entry in os.scandir(root)][FIRST + 2 : FIRST + 4]
    veil = Meddler(key=KEY).meddle(1, lambda: [path.unlink() for path in victims])
    seen: list[dict[str, Any]] = []
    summary = veil.tree(root, tmp_path / "out", on_file=seen.append)
    assert summary.outcomes["rewritten"] == FIRST + 3
    assert [r["error"]["reason"] for r in seen if "error" in r] == ["No such file or directory"] * 2


@pytest.mark.parametrize("change", [-1000, 1000], ids=["shrinks", "grows"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, change: int) -> None:
    """The output is what one reading saw, or there is none: never a mixture past its own length."""
    data = instance(pixels=bytes(200_000))
    root = write(tmp_path / "in", {"a.dcm": data})
    veil = Meddler(key=KEY).meddle(1, lambda: os.truncate(root / "a.dcm", len(data) + change))
    summary = veil.tree(root, tmp_path / "out", keep_names=True)
    if change < 0:
        assert summary.outcomes["failed"] == 1
        assert read(tmp_path / "out") == {}
    else:
        assert read(tmp_path / "out") == {"a.dcm": veil.bytes((root / "a.dcm").read_bytes())}
    assert leftovers(tmp_path) == []


def test_a_file_system_that_takes_no_advice(
    tmp_path: Path, veil: Veil, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", refuse, raising=False)
    root = write(tmp_path / "in", {"a": instance(1), "b": instance(2)})
    assert veil.tree(root, tmp_path / "out").outcomes["rewritten"] == 2
    assert veil.tree(root).outcomes["rewritten"] == 2


def test_a_run_waits_for_another_in_the_same_folder(
    tmp_path: Path, veil: Veil, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    root = write(tmp_path / "in", {"a": instance(1)})
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(sys.modules["dcmveil.trees.run"], "_LOCK_SECONDS", 0.2)
    other = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(UsageError):
        veil.tree(root, tmp_path / "out")
    os.close(other)
    assert veil.tree(root, tmp_path / "out").all_done


# -- on_file ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2])
def test_on_file_that_raises_leaves_no_temporaries(tmp_path: Path, veil: Veil, jobs: int) -> None:
    root = write(tmp_path / "in", {f"{i}": instance(i) for i in range(300)})
    count = 0

    def see(record: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        if count == 40:
            raise EnoughError

    with pytest.raises(EnoughError):
        veil.tree(root, tmp_path / "out", jobs=jobs, on_file=see, report=tmp_path / "report")
    assert leftovers(tmp_path) == []
    done = len(read(tmp_path / "out"))
    assert done >= 40
    assert report_summary(tmp_path / "report")["interrupted"]
    rest = veil.tree(root, tmp_path / "out", jobs=jobs, report=tmp_path / "report", resume=True)
    assert (rest.before, rest.outcomes["rewritten"]) == (done, 300 - done)


def test_an_error_in_the_middle_of_a_batch_leaves_no_temporaries(
    tmp_path: Path, veil: Veil
) -> None:
    """Ctrl-C for a second time, for one: files of the batch were made, and nobody takes them."""
    root = write(tmp_path / "in", {f"{i}": instance(i) for i in range(20)})

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Meddler(key=KEY).meddle(FIRST // 2, stop).tree(root, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_descriptors_are_closed(tmp_path: Path, veil: Veil) -> None:
    files = instances(12) | {"bad": SAMPLE[:-100], "notes": b"x" * 300, "DICOMDIR": b""}
    root = write(tmp_path / "in", files)
    os.mkfifo(root / "fifo")

    def once(i: int) -> None:
        veil.tree(root, tmp_path / f"out{i}", report=tmp_path / f"r{i}", quarantine=tmp_path / "q",
                  crosswalk=tmp_path / f"c{i}", jobs=1 + i % 2)  # fmt: skip

    once(0)
    once(1)
    before = sorted(os.listdir("/proc/self/fd"))
    for i in range(2, 6):
        once(i)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_wrong_options(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {"a": instance(1, more=[E(0x00200010, "SH", "1")])})
    for options in ({"jobs": 0}, {"jobs": 5000}, {"resume": True}, {"no_such": True}):
        with pytest.raises(UsageError):
            veil.tree(root, tmp_path / "out", **options)
    with pytest.raises(UsageError):
        veil.tree(root / "a", tmp_path / "out")
    with pytest.raises(UsageError):
        veil.tree(root / "missing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- comparing each copy with its input ------------------------------------------------------------


def test_verify_finds_nothing_in_what_is_right(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {f"{i}": instance(i) for i in range(3)})
    summary = veil.tree(root, tmp_path / "out", verify=True, keep_names=True)
    assert summary.outcomes["rewritten"] == 3
    assert read(tmp_path / "out") == {f"{i}": veil.bytes(instance(i)) for i in range(3)}


def test_nothing_is_left_to_compare_with_in_place(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {"a": instance(1)})
    with pytest.raises(UsageError, match="in place"):
        veil.tree(root, verify=True)
    assert read(root) == {"a": instance(1)}


@pytest.mark.parametrize("preamble", [bytes(128), None], ids=["ordinary", "by a session"])
def test_verify_stops_a_copy_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preamble: bytes | None
) -> None:
    """A byte that changes on its way, as bad memory or a fault of ours would do it."""
    veil = Veil(key=KEY)
    files = {name: instance(i, preamble=preamble) for i, name in enumerate("ab")}
    root = write(tmp_path / "in", files)
    from dcmveil.trees import copying

    verify, copy = copying.CopyTask._verify, copying.sessions.copy
    seen: list[int] = []
    sessions: list[Session] = []

    def broken(task: Any, src: int, dst: int) -> None:
        if not seen:
            at = veil.bytes(files["a"]).index(b"MONOCHROME2")
            os.pwrite(dst, b"m", at)
        seen.append(dst)
        verify(task, src, dst)

    def count(session: Session, *more: Any) -> Report:
        sessions.append(session)
        report: Report = copy(session, *more)
        return report

    monkeypatch.setattr(copying.CopyTask, "_verify", broken)
    monkeypatch.setattr(copying.sessions, "copy", count)
    records: list[dict[str, Any]] = []
    summary = veil.tree(
        root, tmp_path / "out", verify=True, keep_names=True, quarantine=tmp_path / "bad",
        on_file=records.append,
    )  # fmt: skip
    assert summary.outcomes["failed"] == 1
    assert summary.outcomes["rewritten"] == 1
    [failed] = [record for record in records if record["outcome"] == "failed"]
    assert failed["error"]["reason"].startswith("the copy is not as it should be")
    assert len(read(tmp_path / "out")) == 1
    assert len(read(tmp_path / "bad")) == 1
    assert len(sessions) == (0 if preamble else 2)
