"""The copy face: one file into another place."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

import dcmveil
from build import DEFLATED, sample
from dcmveil import FileError, NotDicomError, UsageError, Veil
from dcmveil.faces.files import KernelCopy, make_folders
from folders import KEY, instance, leftovers, read, write

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


def test_every_folder_that_has_got_an_entry_is_told(tmp_path: Path) -> None:
    """They must reach the disk with --durable: not only the last of them."""
    root = os.fsencode(tmp_path)
    assert make_folders(root) == []
    assert make_folders(root + b"/a/b/c") == [root + b"/a/b", root + b"/a", root]
    assert make_folders(root + b"/a/b/d") == [root + b"/a/b"]


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
