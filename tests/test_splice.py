"""Bulk that the kernel passes from pipe to pipe, or between a pipe and a file, is what reading and
writing would have made of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from build import E, part10
from dcmveil import Veil

KEY = bytes(range(32))
PIXELS = bytes(range(256)) * 12_000  # some pipes' worth


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
    data = part10([E(0x00100010, "PN", b"CANARY^JANE "), E(0x7FE00010, "OW", PIXELS)])
    status, out = run(data, source, target, tmp_path)
    assert status == 0
    assert out.removeprefix(b"before") == Veil(key=KEY).bytes(data)
    assert out.startswith(b"before") == (target == "appended")


@pytest.mark.parametrize("target", ["pipe", "file"])
def test_input_that_ends_inside_the_bulk(target: str, tmp_path: Path) -> None:
    data = part10([E(0x00100010, "PN", b"CANARY^JANE "), E(0x7FE00010, "OW", PIXELS)])
    status, out = run(data[:-1000], "pipe", target, tmp_path)
    assert status == 1
    assert out == b"" if target == "file" else len(out) <= len(data) - 1000


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_output_that_takes_nothing(tmp_path: Path) -> None:
    data = part10([E(0x00100010, "PN", b"CANARY^JANE "), E(0x7FE00010, "OW", PIXELS)])
    (tmp_path / "in").write_bytes(data)
    (tmp_path / "key").write_bytes(KEY)
    command = f"cat in | {sys.executable} -m dcmveil --key-file key > /dev/full"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"No space left" in done.stderr
