"""The demonstration of `make demo`: a real file through the real command in a real pipe.

Shows what changed, before and after side by side, and checks all that it says: the exit status is
1 when anything is not true.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

FILE = "CT_small.dcm"  # a name, IDs in a sequence, dates, UIDs, private groups, native pixels
SECRETS = ("PatientName", "PatientID", "SOPInstanceUID", "StudyInstanceUID")
DCMVEIL = str(Path(sys.executable).with_name("dcmveil"))


class Row(NamedTuple):
    tag: str
    name: str
    vr: str
    value: str
    private: bool


def main() -> int:
    source = Path(str(get_testdata_file(FILE)))
    before = source.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder, "demo.key")
        subprocess.run([DCMVEIL, "key", "new", key], check=True)
        after, again = through_pipe(source, key), through_pipe(source, key)
    old, new = pydicom.dcmread(io.BytesIO(before)), pydicom.dcmread(io.BytesIO(after))
    pairs = list(zip(rows(old), rows(new), strict=True))
    changed = [(a, b) for a, b in pairs if a.value != b.value]
    public = [(a, b) for a, b in changed if not a.private]

    print(f"\n$ dcmveil key new demo.key\n$ cat {FILE} | dcmveil --key-file demo.key > out.dcm\n")
    show_table(public, min(shutil.get_terminal_size((100, 24)).columns, 132))
    print(f"and {len(changed) - len(public)} private elements, blanked.\n")
    different = sum(a != b for a, b in zip(before, after, strict=True))
    print(f"{len(changed)} of {len(pairs)} elements and {different} bytes changed.\n")
    secrets = [str(old[i].value).encode() for i in SECRETS]
    claims = {
        "elements changed": bool(changed),
        f"equal length: {len(before)} bytes in, {len(after)} bytes out": len(before) == len(after),
        "same tags and VRs in the same order": all(a[:3] == b[:3] for a, b in pairs),
        f"pixel bytes identical: {len(old.PixelData)}": old.PixelData == new.PixelData,
        "the old name, ID and UIDs stand nowhere in it": not any(s in after for s in secrets),
        "the same key gives the same bytes once more": after == again,
    }
    for claim, holds in claims.items():
        print(f"  {'yes' if holds else 'NO '}  {claim}")
    return 0 if all(claims.values()) else 1


def through_pipe(source: Path, key: Path) -> bytes:
    with subprocess.Popen(["cat", source], stdout=subprocess.PIPE) as cat:
        command = [DCMVEIL, "--key-file", str(key), "--quiet"]
        return subprocess.run(command, stdin=cat.stdout, stdout=subprocess.PIPE, check=True).stdout


def rows(dataset: Dataset, inside: str = "") -> Iterator[Row]:
    """Every element at any depth, the file meta information first."""
    for element in [*getattr(dataset, "file_meta", ()), *dataset]:
        if element.VR == "SQ":
            for item in element.value:
                yield from rows(item, f"{inside}> ")
            continue
        value = element.value
        text = str(value) if element.VM < 2 else "\\".join(map(str, value))
        if isinstance(value, bytes):
            text = f"{len(value)} bytes" if any(value) else f"{len(value)} zero bytes"
        private = element.tag.is_private
        yield Row(str(element.tag), inside + element.name, element.VR, text.strip(), private)


def show_table(changed: list[tuple[Row, Row]], width: int) -> None:
    column = max(12, (width - 16) // 3)

    def line(tag: str, vr: str, *cells: str) -> None:
        cut = (c if len(c) < column else f"{c[: column - 4]}..." for c in cells)
        print(f"{tag:11} {vr:2} {''.join(f'{c:{column}}' for c in cut)}".rstrip())

    line("tag", "VR", "name", "before", "after")
    print("-" * width)
    for a, b in changed:
        line(a.tag, a.vr, a.name, a.value or "(empty)", b.value or "(empty)")


if __name__ == "__main__":
    sys.exit(main())
