"""Very many files: memory of the process, large folders, and a report of all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dcmveil
from faces import environment
from folders import KEY, ROOT_UID, instance, records, write

MIB = 1 << 20
FEW = 2_000
# the short run can tell growth by the file as well: half a KB each would be 3 MB
MANY = 50_000 if os.environ.get("HYPOTHESIS_PROFILE") == "expensive" else 8_000

# not ru_maxrss, which has what the parent held before this program was started
CHILD = """
import sys
from dcmveil.cli import main
code = main(sys.argv[1:])
print(code, *(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
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


def peak(*arguments: str | Path, status: int = 0) -> int:
    """Bytes that the parent of a run held at most."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, arguments), "--quiet"],
        capture_output=True, text=True, env=environment(), check=True, timeout=900,
    )  # fmt: skip
    code, kilobytes = map(int, done.stdout.split())
    assert code in (0, status), done.stderr
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
                command, root, *target, "--key-file", key, "-j", "2", "--report", report,
                "--crosswalk", tmp_path / f"walk{n}",
            )
        )  # fmt: skip
        assert len(records(report)) == n
    assert peaks[1] - peaks[0] < 10 * MIB, peaks


@pytest.mark.parametrize("data", [b"", b"no DICOM at all\n" * 20, instance(1)[:-20]])
def test_memory_does_not_grow_with_what_is_refused(tmp_path: Path, data: bytes) -> None:
    """A folder of very many files, none of which can be rewritten."""
    key = tmp_path / "key"
    dcmveil.write_key(key, KEY)
    peaks = []
    for n in (100, 4000):
        root = write(tmp_path / f"{n}", {f"{i}": data for i in range(n)})
        peaks.append(peak("copy", root, tmp_path / "out", "--key-file", key, status=1))
    assert peaks[1] - peaks[0] < 4 * MIB, peaks
