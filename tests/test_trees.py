"""Very many files: memory of the process, large folders, and a report of all of them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import dcmveil
from faces import environment
from folders import KEY, ROOT_UID, instance, records, write

MIB = 1 << 20
FEW = 2_000
# ten times as many in CI's long run; the short one can tell growth by the file as well
MANY = 50_000 if os.environ.get("HYPOTHESIS_PROFILE") == "expensive" else 12_000

CHILD = """
import os, resource, sys
from dcmveil.cli import main
code = main(sys.argv[1:])
own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(code, own)
"""


def make(root: Path, n: int) -> Path:
    """n files in one folder, each of a series of its own, which is the worst for what a run
    remembers."""
    root.mkdir()
    first = instance(7_000_000, study=8_000_000, series=9_000_000)
    study, series = f"{ROOT_UID}.8000000", f"{ROOT_UID}.8000000.9000000"
    for i in range(n):
        data = first.replace(b"9000000", b"%07d" % i).replace(b"8000000", b"%07d" % (i // 3))
        (root / f"{i}").write_bytes(data)
    assert study.encode() in first
    assert series.encode() in first
    return root


def peak(folder: Path, *arguments: str | Path) -> int:
    """Bytes that the parent of a run held at most."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, arguments), "--quiet"],
        capture_output=True, text=True, env=environment(), check=True, timeout=900,
    )  # fmt: skip
    code, kilobytes = map(int, done.stdout.split())
    assert code == 0, done.stderr
    return kilobytes << 10


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("many")
    return {n: make(folder / f"{n}", n) for n in (FEW, MANY)}


@pytest.mark.parametrize("command", ["copy", "patch"])
def test_memory_does_not_grow_with_the_files(
    tmp_path: Path, trees: dict[int, Path], command: str
) -> None:
    key = tmp_path / "key"
    dcmveil.write_key(key, KEY)
    peaks = []
    for n, root in trees.items():
        target = [tmp_path / f"out{n}", "--overwrite"] if command == "copy" else []
        report = tmp_path / f"report{n}"
        peaks.append(
            peak(
                tmp_path, command, root, *target, "--key-file", key, "-j", "2", "--report", report,
                "--crosswalk", tmp_path / f"walk{n}",
            )
        )  # fmt: skip
        assert len(records(report)) == n
    assert peaks[1] - peaks[0] < 10 * MIB, peaks


def test_nothing_is_left_to_hold_the_listing(tmp_path: Path) -> None:
    """A folder of very many entries, of which none is DICOM: the walk alone."""
    root = write(tmp_path / "in", {"first": b""})
    for i in range(20_000):
        os.link(root / "first", root / f"{i}") if i % 10_000 else (root / f"{i}").touch()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    summary = dcmveil.Veil(key=KEY).tree(root, tmp_path / "out")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert summary.reasons == {"not DICOM": 20_001}
    assert after - before < 10 << 10
