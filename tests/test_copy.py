"""The copy face: one file, and all files of a folder, into another place."""

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

import dcmveil
from build import DEFLATED, E, sample
from dcmveil import FileError, NotDicomError, UsageError, Veil
from dcmveil.faces.files import KernelCopy, make_folders
from dcmveil.report import Report
from dcmveil.session import Session
from dcmveil.trees import Options, StopFlag
from dcmveil.trees.batches import FIRST
from dcmveil.trees.run import run as run_tree
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
MIB = 1 << 20
BLOCK, ALIGNED, ALIGNED_LEAST = 4 << 10, 64 << 10, 256 << 10  # as in system.pyx


# -- one file --------------------------------------------------------------------------------------


def test_one_file(tmp_path: Path, veil: Veil) -> None:
    source = tmp_path / "in.dcm"
    source.write_bytes(SAMPLE)
    os.utime(source, ns=(10**18, 10**18))
    before = source.stat()
    report = veil.copy(source, tmp_path / "new folder" / "out.dcm")
    assert (tmp_path / "new folder" / "out.dcm").read_bytes() == veil.bytes(SAMPLE)
    assert (report.bytes_in, report.bytes_out) == (len(SAMPLE), len(SAMPLE))
    assert source.read_bytes() == SAMPLE
    assert source.stat().st_mtime_ns == before.st_mtime_ns
    assert leftovers(tmp_path) == []


def test_into_a_folder_it_is_named_by_its_new_uids(tmp_path: Path, veil: Veil) -> None:
    source = tmp_path / "DOE.dcm"
    source.write_bytes(SAMPLE)
    report = veil.copy(source, f"{tmp_path}/out/")
    name = f"{report.study}/{report.series}/{report.instance}.dcm"
    assert read(tmp_path / "out") == {name: veil.bytes(SAMPLE)}
    assert "1.2.826.0.1.3680043" not in name


def test_what_is_there_stays(tmp_path: Path, veil: Veil) -> None:
    source, target = tmp_path / "in.dcm", tmp_path / "out.dcm"
    source.write_bytes(SAMPLE)
    target.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        veil.copy(source, target)
    assert target.read_bytes() == b"precious"
    veil.copy(source, target, overwrite=True)
    assert target.read_bytes() == veil.bytes(SAMPLE)
    inode = target.stat().st_ino
    veil.copy(source, target)  # the same bytes are in nobody's way
    assert target.stat().st_ino == inode
    assert leftovers(tmp_path) == []


def test_an_output_is_no_input(tmp_path: Path, veil: Veil) -> None:
    source = tmp_path / "in.dcm"
    source.write_bytes(SAMPLE)
    (tmp_path / "link").symlink_to(tmp_path)
    for target in (source, tmp_path / "link" / "in.dcm"):
        with pytest.raises(UsageError):
            veil.copy(source, target, overwrite=True)
    assert source.read_bytes() == SAMPLE


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (SAMPLE[:-100], dcmveil.DicomError),
        (b"no DICOM at all\n" * 40, NotDicomError),
        (b"", NotDicomError),
    ],
    ids=["cut", "text", "empty"],
)
def test_a_refused_file_leaves_nothing(
    tmp_path: Path, veil: Veil, data: bytes, error: type[Exception]
) -> None:
    source = tmp_path / "in.dcm"
    source.write_bytes(data)
    with pytest.raises(error):
        veil.copy(source, tmp_path / "out.dcm")
    assert read(tmp_path) == {"in.dcm": data}
    assert leftovers(tmp_path) == []


def test_what_is_no_file(tmp_path: Path, veil: Veil) -> None:
    os.mkfifo(tmp_path / "fifo")
    for source, error in (("fifo", FileError), ("missing", FileNotFoundError)):
        with pytest.raises(error):
            veil.copy(tmp_path / source, tmp_path / "out.dcm")
    with pytest.raises(UsageError):
        veil.copy(tmp_path / "missing", tmp_path / "out.dcm", no_such_option=1)
    with pytest.raises(UsageError):
        veil.copy(tmp_path / "missing", tmp_path / "out.dcm", jobs=2)


def test_a_link_that_was_named_is_followed(tmp_path: Path, veil: Veil) -> None:
    write(tmp_path, {"deep/in.dcm": SAMPLE})
    (tmp_path / "link.dcm").symlink_to("deep/in.dcm")
    veil.copy(tmp_path / "link.dcm", tmp_path / "out.dcm")
    assert (tmp_path / "out.dcm").read_bytes() == veil.bytes(SAMPLE)


@pytest.mark.parametrize("size", [0, 8, 4096, 3 * MIB, 3 * MIB + 2])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", DEFLATED[0]])
def test_sizes_and_encodings(tmp_path: Path, veil: Veil, size: int, syntax: str) -> None:
    data = instance(pixels=bytes(range(256)) * (size // 256) + bytes(size % 256), syntax=syntax)
    (tmp_path / "in.dcm").write_bytes(data)
    veil.copy(tmp_path / "in.dcm", tmp_path / "out.dcm")
    assert (tmp_path / "out.dcm").read_bytes() == veil.bytes(data)


@pytest.mark.parametrize("ways", [1, 2, 3])
def test_every_way_of_copying_is_the_same(tmp_path: Path, ways: int) -> None:
    data = os.urandom(3 * MIB + 17)
    (tmp_path / "in").write_bytes(data)
    kernel = KernelCopy()
    kernel._ways = kernel._ways[-ways:]
    with open(tmp_path / "in", "rb") as src, open(tmp_path / "out", "wb") as dst:
        src.seek(5)
        os.lseek(dst.fileno(), 3, os.SEEK_SET)
        assert kernel.copy_all(src.fileno(), dst.fileno(), lambda: None) == len(data) - 5
        assert src.tell() == len(data)
    assert (tmp_path / "out").read_bytes() == bytes(3) + data[5:]


@pytest.mark.parametrize("start", [0, 1, 8192, ALIGNED - 1, ALIGNED, ALIGNED + 5])
@pytest.mark.parametrize("size", [100, ALIGNED_LEAST - 1, ALIGNED_LEAST + BLOCK, MIB])
def test_long_copies_are_aligned(tmp_path: Path, start: int, size: int) -> None:
    """To blocks and then to more, and short ones are copied at once."""
    data = os.urandom(start + size)
    (tmp_path / "in").write_bytes(data)
    kernel = KernelCopy()
    begun = []
    with open(tmp_path / "in", "rb", 0) as src, open(tmp_path / "out", "wb", 0) as dst:
        src.seek(start)
        dst.seek(start)
        while (at := src.tell()) < len(data):
            begun.append(at)
            assert kernel.bulk(src.fileno(), dst.fileno(), len(data) - at) == dst.tell() - at
    assert (tmp_path / "out").read_bytes() == bytes(start) + data[start:]
    wanted = {start}
    if size >= ALIGNED_LEAST:
        wanted |= {-(-start // BLOCK) * BLOCK, -(-start // ALIGNED) * ALIGNED}
    assert begun == sorted(wanted)


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


def test_a_way_that_does_not_work_here_gives_place_to_another(tmp_path: Path) -> None:
    """From a pipe, copy_file_range and sendfile are not possible."""
    src, end = os.pipe()
    os.write(end, b"through a pipe")
    os.close(end)
    with open(tmp_path / "out", "wb") as dst:
        os.lseek(dst.fileno(), 0, os.SEEK_SET)
        kernel = KernelCopy()
        kernel._ways.remove(kernel._ways[1])  # it moves positions, which a pipe has not
        assert kernel.copy_all(src, dst.fileno(), lambda: None) == 14
    os.close(src)
    assert (tmp_path / "out").read_bytes() == b"through a pipe"


def test_a_file_system_that_takes_no_advice(
    tmp_path: Path, veil: Veil, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", refuse, raising=False)
    root = write(tmp_path / "in", {"a": instance(1), "b": instance(2)})
    assert veil.tree(root, tmp_path / "out").outcomes["rewritten"] == 2
    assert veil.tree(root).outcomes["rewritten"] == 2


def test_every_folder_that_has_got_an_entry_is_told(tmp_path: Path) -> None:
    """They must reach the disk with --durable: not only the last of them."""
    root = os.fsencode(tmp_path)
    assert make_folders(root) == []
    assert make_folders(root + b"/a/b/c") == [root + b"/a/b", root + b"/a", root]
    assert make_folders(root + b"/a/b/d") == [root + b"/a/b"]


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


# -- names and places ------------------------------------------------------------------------------


def test_one_name_for_two_inputs(tmp_path: Path, veil: Veil) -> None:
    one, other = instance(1), instance(1, pixels=bytes(64))
    root = write(tmp_path / "in", {"a": one, "b": one, "c": other})
    for overwrite in (False, True):
        out = tmp_path / f"out {overwrite}"
        summary = veil.tree(root, out, overwrite=overwrite)
        # which of them has the name depends on the order of the folder
        assert summary.outcomes["failed"] in (1, 2)
        assert summary.files == 3
        assert len(read(out)) == 1
        if summary.outcomes["failed"] == 1:
            assert (summary.outcomes["rewritten"], summary.outcomes["same"]) == (1, 1)
    assert leftovers(tmp_path) == []


def test_overwrite_replaces_what_stood_there_before(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {"a": instance(1)})
    out = write(tmp_path / "out", {"a": b"old", "b": b"other"})
    assert veil.tree(root, out, keep_names=True).outcomes["failed"] == 1
    assert read(out) == {"a": b"old", "b": b"other"}
    assert veil.tree(root, out, keep_names=True, overwrite=True).outcomes["rewritten"] == 1
    assert read(out) == {"a": veil.bytes(instance(1)), "b": b"other"}


def test_a_folder_in_the_place_of_an_output(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {"a": instance(1), "b/c": instance(2)})
    out = write(tmp_path / "out", {"a/x": b"x", "b": b"y"})
    for overwrite in (False, True):
        summary = veil.tree(root, out, keep_names=True, overwrite=overwrite)
        assert summary.outcomes["failed"] == 2
        assert read(out) == {"a/x": b"x", "b": b"y"}
    assert leftovers(out) == []


def test_templates(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", instances(4))
    veil.tree(root, tmp_path / "out", names="{PatientID}/flat/{Mac}.dcm")
    names = sorted(read(tmp_path / "out"))
    assert len(names) == 4
    assert all(name.split("/")[1] == "flat" and "HOSP" not in name for name in names)
    assert sorted(read(tmp_path / "out").values()) == sorted(
        veil.bytes(data) for data in read(root).values()
    )
    for names_and in ({"names": "{Nobody}"}, {"names": "{Mac}", "keep_names": True}, {"names": ""}):
        with pytest.raises(UsageError):
            veil.tree(root, tmp_path / "none", **names_and)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("inner", ["source", "target"])
def test_nested(tmp_path: Path, veil: Veil, inner: str) -> None:
    outer = tmp_path / "outer"
    source, target = (outer / "inner", outer) if inner == "source" else (outer, outer / "inner")
    files = instances(5)
    write(source, files)
    target.mkdir(parents=True, exist_ok=True)
    with pytest.raises(UsageError):
        veil.tree(source, target)
    summary = veil.tree(source, target, nested=True)
    assert summary.outcomes["rewritten"] == 5
    assert summary.files == 5  # no output was met as an input
    again = veil.tree(source, target, nested=True)
    assert again.outcomes["same"] == 5
    assert again.files == 5
    with pytest.raises(UsageError):
        veil.tree(source, source)


def test_no_input_is_replaced_by_an_output(tmp_path: Path, veil: Veil) -> None:
    source = write(tmp_path / "outer/in", {"in/a": instance(1), "a": instance(2)})
    with pytest.raises(UsageError):
        veil.tree(source, tmp_path / "outer", nested=True, overwrite=True, keep_names=True)
    assert read(source) == {"in/a": instance(1), "a": instance(2)}


def test_the_target_may_be_a_link(tmp_path: Path, veil: Veil) -> None:
    source = write(tmp_path / "in", {"a": instance(1)})
    (source / "inside").mkdir()
    (tmp_path / "link").symlink_to(source / "inside")
    with pytest.raises(UsageError):
        veil.tree(source, tmp_path / "link")


def test_others(tmp_path: Path, veil: Veil) -> None:
    files = {"a.dcm": instance(1), "b/notes.txt": b"notes\n" * 99, "empty": b""}
    root = write(tmp_path / "in", files)
    with pytest.raises(UsageError):
        veil.tree(root, tmp_path / "out", others=True)
    summary = veil.tree(
        root, tmp_path / "out", others=True, keep_names=True, report=root / "report",
        crosswalk=root / "crosswalk.csv",
    )  # fmt: skip
    # the report and the crosswalk stand in the source, and are of this run
    assert read(tmp_path / "out") == files | {"a.dcm": veil.bytes(files["a.dcm"])}
    assert summary.outcomes["copied"] == 2
    assert summary.files == 3


def test_stop_while_another_file_is_copied(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {"big.bin": b"no DICOM at all\n" * 6})
    stop = StopFlag()

    class Stopping(Veil):
        def session(self, *looking: Any, **more: Any) -> Session:
            stop.set()
            return super().session(*looking, **more)

    summary = run_tree(
        Stopping(key=KEY), root, tmp_path / "out", Options(others=True, keep_names=True),
        stop=stop,
    )  # fmt: skip
    assert summary.interrupted
    assert summary.files == 0
    assert os.listdir(tmp_path / "out") == []


def test_quarantine(tmp_path: Path, veil: Veil) -> None:
    bad = SAMPLE[:-100]
    root = write(tmp_path / "in", {"a/bad.dcm": bad, "good.dcm": SAMPLE, "notes": b"x" * 200})
    aside = tmp_path / "aside"
    veil.tree(root, tmp_path / "out", quarantine=aside)
    assert read(aside) == {"a/bad.dcm": bad}
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (aside, aside / "a")]
    assert modes == [0o700, 0o700]
    assert stat.S_IMODE((aside / "a/bad.dcm").stat().st_mode) == 0o600
    write(root, {"a/bad.dcm": SAMPLE[:-102]})
    veil.tree(root, tmp_path / "out", quarantine=aside)
    assert read(aside) == {"a/bad.dcm": bad}  # what stands there stays
    assert leftovers(tmp_path) == []


def test_quarantine_inside_the_source_is_no_input(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {"bad.dcm": SAMPLE[:-100], "good.dcm": SAMPLE})
    for _ in range(2):
        assert veil.tree(root, tmp_path / "out", quarantine=root / "aside").files == 2


@pytest.mark.parametrize("option", ["quarantine", "crosswalk"])
def test_what_identifies_does_not_go_among_the_outputs(
    tmp_path: Path, veil: Veil, option: str
) -> None:
    root = write(tmp_path / "in", {"bad.dcm": SAMPLE[:-100]})
    for place in (tmp_path / "out/place", tmp_path / "out"):
        with pytest.raises(UsageError):
            veil.tree(root, tmp_path / "out", **{option: place})
    assert not (tmp_path / "out").exists()


# -- what else a file has --------------------------------------------------------------------------


def test_times_attributes_and_modes(tmp_path: Path, veil: Veil) -> None:
    source = tmp_path / "in.dcm"
    source.write_bytes(SAMPLE)
    os.chmod(source, 0o640)
    try:
        os.setxattr(source, "user.patient", b"DOE")
    except OSError:
        pytest.skip("no extended attributes here")
    os.utime(source, ns=(10**18, 10**18 + 5))
    plain, kept = tmp_path / "plain.dcm", tmp_path / "kept.dcm"
    was = os.umask(0o027)
    try:
        veil.copy(source, plain)
        veil.copy(source, kept, keep_times=True, keep_xattrs=True)
    finally:
        os.umask(was)
    assert os.listxattr(plain) == []
    assert plain.stat().st_mtime_ns != 10**18 + 5
    assert stat.S_IMODE(plain.stat().st_mode) == 0o640
    assert os.getxattr(kept, "user.patient") == b"DOE"
    assert kept.stat().st_mtime_ns == 10**18 + 5


# -- side by side, and from outside ----------------------------------------------------------------


def test_single_copies_side_by_side_into_one_folder(tmp_path: Path) -> None:
    """Files of one name from many folders, as a shell script sends them: none takes the temporary
    file of another one."""
    pixels = os.urandom(4 * MIB)
    for i in range(12):
        write(tmp_path / f"in{i}", {"IM0001": instance(i, pixels=pixels)})
    failures: list[BaseException] = []

    def copy(i: int) -> None:
        try:
            for _ in range(4):
                Veil(key=KEY).copy(tmp_path / f"in{i}" / "IM0001", f"{tmp_path}/out/")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=copy, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    veil = Veil(key=KEY)
    assert sorted(read(tmp_path / "out").values()) == sorted(
        veil.bytes(instance(i, pixels=pixels)) for i in range(12)
    )
    assert leftovers(tmp_path) == []


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
