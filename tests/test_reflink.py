"""Bulk shares its blocks with the source where the file system can: on a real btrfs and xfs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from build import JPEG_BASELINE, E, Fragments, part10
from crashes import elements_with
from dcmveil import Veil

MIB = 1 << 20
MAKE = {
    "btrfs": ["mkfs.btrfs", "-q"],
    "xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"],
}


@pytest.fixture(params=MAKE)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system that shares blocks between files."""
    image, place = tmp_path / "image", tmp_path / "place"
    with image.open("wb") as file:
        file.truncate(400 * MIB)  # no less is allowed
    place.mkdir()
    for command in ([*MAKE[request.param], image], ["mount", "-o", "loop", image, place]):
        if shutil.which(str(command[0])) is None:
            pytest.skip(f"no {command[0]} here")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{command[0]} is not allowed here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def shared(path: Path) -> int:
    """Bytes of a file that stand in blocks which another file has too."""
    if shutil.which("filefrag") is None:
        pytest.skip("no filefrag here")
    os.sync()
    told = subprocess.check_output(["filefrag", "-v", path], text=True)
    lines = re.findall(r"^ *\d+: +\d+\.\. *\d+: +\d+\.\. *\d+: +(\d+):(.*)$", told, re.M)
    return sum(4096 * int(length) for length, flags in lines if "shared" in flags)


def native(tail: bytes) -> bytes:
    """More pixels than the kernel copies at one time."""
    pixels = E(0x7FE00010, "OW", os.urandom(MIB) * 80)
    return part10([*elements_with(1, pixels), E(0xFFFCFFFC, "OB", tail)])


def fragments(_: bytes) -> bytes:
    """Long ones, each of which begins somewhere else in a block."""
    parts = [b"", *(os.urandom(MIB) * 20 + bytes(n) for n in (1002, 34, 516, 2))]
    return part10(elements_with(1, E(0x7FE00010, "OB", Fragments(parts))), JPEG_BASELINE)


@pytest.mark.parametrize("made", [native, fragments])
def test_copy_shares_blocks(place: Path, made: Callable[[bytes], bytes]) -> None:
    source, target = place / "source.dcm", place / "target.dcm"
    source.write_bytes(made(b"what the scanner put behind its pixels"))
    veil = Veil(key=bytes(range(32)))
    veil.copy(source, target)
    assert target.read_bytes() == veil.bytes(source.read_bytes())
    assert shared(target) > 80 * MIB - 128 * 1024
