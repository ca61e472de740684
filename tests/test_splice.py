"""Bulk that the kernel passes from pipe to pipe, or between a pipe and a file, is what reading and
writing would have made of it."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from build import E, part10
from dcmveil import Veil

KEY = bytes(range(32))
PIXELS = bytes(range(256)) * 12_000  # some pipes' worth
IMAGE = part10(
    [
        E(0x00100010, "PN", b"CANARY^JANE "),
        E(0x7FE00010, "OW", PIXELS),
        E(0xFFFCFFFC, "OB", b"CANARY"),  # what stands behind bulk is not passed with it
    ]
)


def run(data: bytes, source: str, target: str, folder: Path) -> tuple[int, bytes]:
    """(exit status, output) of a process between two files of these kinds."""
    (folder / "key").write_bytes(KEY)
    (folder / "in").write_bytes(data)
    out = folder / "out"
    reader = "cat in | " if source == "pipe" else ""
    writer = {"pipe": " | cat > out", "file": " > out", "appended": " >> out"}[target]
    if target == "appended":
        out.write_bytes(b"before")
    command = f"{sys.executable} -m dcmveil --quiet --key-file key" + (
        "" if source == "pipe" else " < in"
    )
    script = f"set -o pipefail; {reader}{command}{writer}"
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, check=False)
    return done.returncode, out.read_bytes()


@pytest.mark.parametrize("source", ["pipe", "file"])
@pytest.mark.parametrize("target", ["pipe", "file", "appended"])
def test_between_files_of_every_kind(source: str, target: str, tmp_path: Path) -> None:
    status, out = run(IMAGE, source, target, tmp_path)
    assert status == 0
    assert out.removeprefix(b"before") == Veil(key=KEY).bytes(IMAGE)
    assert out.startswith(b"before") == (target == "appended")


@pytest.mark.parametrize("target", ["pipe", "file"])
def test_input_that_ends_inside_the_bulk(target: str, tmp_path: Path) -> None:
    status, out = run(IMAGE[:-1000], "pipe", target, tmp_path)
    assert status == 1
    assert out == b"" if target == "file" else len(out) <= len(IMAGE) - 1000


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_output_that_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(IMAGE)
    (tmp_path / "key").write_bytes(KEY)
    command = f"cat in | {sys.executable} -m dcmveil --key-file key > /dev/full"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"No space left" in done.stderr


# -- reading and writing, where the kernel has no way ----------------------------------------------


class Uneven(io.FileIO):
    """Takes and gives less than it is asked for, now and then all."""

    def __init__(self, path: Path, mode: str, seed: int) -> None:
        super().__init__(path, mode)
        self.turns = 0
        self._random = random.Random(seed)

    def _some(self, view: memoryview) -> memoryview:
        self.turns += 1
        return view[: self._random.choice((len(view), len(view), 7, len(view) // 2 + 1))]

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]
        return super().readinto(self._some(memoryview(buffer)))

    def write(self, data: bytes | memoryview) -> int | None:  # type: ignore[override]
        return super().write(self._some(memoryview(data)))


@pytest.mark.parametrize("cut", [0, 1000])  # the end is inside the pixels, or not
@pytest.mark.parametrize("seed", range(8))
def test_short_reads_and_writes(seed: int, cut: int, tmp_path: Path) -> None:
    veil = Veil(key=KEY, accept_cut_pixels=True)
    data = IMAGE[: len(IMAGE) - cut]
    (tmp_path / "in").write_bytes(data)
    with Uneven(tmp_path / "in", "r", seed) as src, Uneven(tmp_path / "out", "w", seed) as dst:
        report = veil.stream(src, dst)
        assert min(src.turns, dst.turns) > 8
    out = (tmp_path / "out").read_bytes()
    assert out == veil.bytes(data)
    assert b"CANARY" not in out
    assert report.bytes_in == report.bytes_out == len(data)


def test_an_input_that_stops_inside_the_bulk_without_waiting(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    os.write(theirs, IMAGE[:5000])
    with (
        open(ours, "rb", buffering=0) as src,
        open(tmp_path / "out", "wb", buffering=0) as dst,
        pytest.raises(BlockingIOError, match="nothing to read"),
    ):
        Veil(key=KEY).stream(src, dst)
    os.close(theirs)
    assert (tmp_path / "out").read_bytes() == Veil(key=KEY).bytes(IMAGE)[:5000]


def test_an_output_that_is_full_inside_the_bulk_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(IMAGE)
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with (
        open(tmp_path / "in", "rb", buffering=0) as src,
        open(theirs, "wb", buffering=0) as dst,
        pytest.raises(BlockingIOError, match="takes no more"),
    ):
        Veil(key=KEY).stream(src, dst)
    with open(ours, "rb") as file:
        there = file.read()
    assert there == Veil(key=KEY).bytes(IMAGE)[: len(there)]
    assert len(there) >= 1 << 15
