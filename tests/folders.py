"""Folders of DICOM files for the tests of files and trees: made by code, or of the corpus."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import corpus
import dcmveil
from build import EXPLICIT_LE, E, part10
from dcmveil import Veil
from dcmveil.faces.ordinary import Ordinary
from dcmveil.session import Session
from faces import DCMVEIL, SECONDS, Result, environment

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
ROOT_UID = "1.2.826.0.1.3680043.9.7.20240229"
OURS = b".dcmveil-"


def instance(
    number: int = 1,
    *,
    study: int = 1,
    series: int = 1,
    patient: str = "HOSP-004711",
    name: str = "DOE^JOHANNA",
    more: Sequence[E | bytes] = (),
    pixels: bytes = bytes(range(64)),
    syntax: str = EXPLICIT_LE,
    preamble: bytes | None = bytes(128),
) -> bytes:
    """A small image; numbers choose its UIDs. Without a preamble: a raw data set."""
    elements = [
        E(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.4"),
        E(0x00080018, "UI", f"{ROOT_UID}.{study}.{series}.{number}"),
        E(0x00080020, "DA", "20240229"),
        E(0x00080060, "CS", "MR"),
        E(0x00100010, "PN", name),
        E(0x00100020, "LO", patient),
        E(0x0020000D, "UI", f"{ROOT_UID}.{study}"),
        E(0x0020000E, "UI", f"{ROOT_UID}.{study}.{series}"),
        E(0x00280002, "US", [1]),
        E(0x00280004, "CS", "MONOCHROME2"),
        E(0x00280010, "US", [8]),
        E(0x00280011, "US", [4]),
        E(0x00280100, "US", [16]),
        E(0x00280101, "US", [12]),
        E(0x00280102, "US", [11]),
        E(0x00280103, "US", [0]),
        E(0x7FE00010, "OW", pixels),
        *more,
    ]
    elements.sort(key=lambda e: e.tag if isinstance(e, E) else 1 << 32)
    if preamble is None:
        return part10(elements, syntax, meta=[], preamble=None)
    return part10(elements, syntax, preamble=preamble)


def write(root: Path, files: dict[str, bytes]) -> Path:
    """The folder root, with these files in it."""
    root.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def read(root: Path) -> dict[str, bytes]:
    """Every regular file under a folder, by its relative name."""
    return {
        os.fsdecode(os.path.relpath(path, os.fsencode(root))): Path(os.fsdecode(path)).read_bytes()
        for folder, _, names in os.walk(os.fsencode(root))
        for path in (os.path.join(folder, name) for name in names)
        if os.path.isfile(path) and not os.path.islink(path)
    }


def instances(n: int, **how: Any) -> dict[str, bytes]:
    """n files, three in a series, two series in a study, each study in a folder."""
    made = {}
    for i in range(n):
        study, series = i // 6, i // 3 % 2
        data = instance(i % 3, study=study, series=series, **how)
        made[f"case {study}/s{series}/im{i % 3}"] = data
    return made


def corpus_folder(root: Path) -> Path:
    """All files of the corpus, DICOM or not, under root."""
    for name, path in corpus.files():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, root / name)
    return root


def expected(data: bytes, veil: Veil) -> bytes | None:
    """What a file becomes, None if it is refused."""
    try:
        return veil.bytes(data)
    except dcmveil.DicomError:
        return None


def records(report: Path) -> list[dict[str, Any]]:
    """The lines of a report that are of files."""
    return [line for line in lines(report) if "outcome" in line]


def is_begun(report: Path) -> bool:
    """Whether some files stand in the report of a run that goes on, and may be writing a line."""
    return report.exists() and report.stat().st_size > 1000


def lines(report: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.read_text().splitlines()]


def summary(report: Path) -> dict[str, Any]:
    *_, last = lines(report)
    found = last["summary"]
    assert isinstance(found, dict)
    return found


def leftovers(root: Path) -> list[str]:
    """What of the program's own files stands in a folder."""
    return [
        os.fsdecode(os.path.join(folder, name))
        for folder, folders, names in os.walk(os.fsencode(root))
        for name in [*folders, *names]
        if name.startswith(OURS)
    ]


def run_bound(*arguments: str | Path, **extra: str) -> Result:
    """Run the program as somebody whom permissions bind, as they do not bind root."""
    bound = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root cannot be denied anything without setpriv")
        bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    done = subprocess.run(
        [*bound, DCMVEIL, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(**extra),
        timeout=SECONDS,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr.decode())


class Meddler(Veil):
    """Somebody else does something to the tree while the nth file is in hand."""

    def meddle(self, when: int, what: Any) -> Meddler:
        self.when, self.what, self.count = when, what, 0
        self.left = False  # by the ordinary way: the next session is for the same file
        return self

    def tick(self) -> None:
        self.count += 1
        if self.count == self.when:
            self.what()

    def session(self, *args: Any, **more: Any) -> Session:
        if not self.left:
            self.tick()
        self.left = False
        return super().session(*args, **more)

    def ordinary(self) -> Any:
        return _Meddled(self, super().ordinary())


class _Meddled:
    """An Ordinary of a Meddler."""

    def __init__(self, veil: Meddler, real: Ordinary) -> None:
        self.veil, self.real = veil, real

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def plan(self, *arguments: Any) -> bool:
        return self._meddle(self.real.plan, *arguments)

    def copy(self, *arguments: Any) -> bool:
        return self._meddle(self.real.copy, *arguments)

    def plan_batch(self, *arguments: Any) -> None:
        self._meddle_batch(self.real.plan_batch, *arguments)

    def copy_batch(self, *arguments: Any) -> None:
        self._meddle_batch(self.real.copy_batch, *arguments)

    def _meddle_batch(
        self, work: Callable[..., None], files: Any, batch: Any, *arguments: Any
    ) -> None:
        """One by one."""
        *_, stop, made = arguments
        while len(made) < len(batch) and files[len(made)] >= 0 and not stop.is_set:
            before = len(made)
            self.veil.tick()
            work(files, batch, *arguments, 1)
            self.veil.left = len(made) == before
            if self.veil.left:
                return

    def _meddle(self, work: Callable[..., bool], *arguments: Any) -> bool:
        self.veil.tick()
        done = work(*arguments)
        self.veil.left = not done
        return done


class EnoughError(Exception):
    """Somebody who looks on has seen enough."""
