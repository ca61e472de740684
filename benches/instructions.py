"""Instructions an element and a file, counted by callgrind: numbers that no busy machine changes.

python benches/instructions.py            count, compare with instructions.json; exit 1 if worse
python benches/instructions.py --record   count, and write instructions.json
python benches/instructions.py --show     count and print

All work is done in one process under valgrind (counted.py). Each work is done once before it
counts, so that what is taken once (caches, imports) does not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "instructions.json"
TOLERANCE = 0.03  # of a count; the same build counts the same to 0.1 %
LOOPS = 20  # as in counted.py


def works() -> dict[str, tuple[bytes, int]]:
    """Input of each work, and how many elements its count is divided by."""
    import inputs

    found: dict[str, tuple[bytes, int]] = {}
    for name, data, elements in inputs.headers():
        found[f"whole-{name}"] = data, elements
        found[f"windows-{name}"] = data, elements
    found["file-mr"] = inputs.mr(), LOOPS
    found["file-ct"] = inputs.ct_small(), LOOPS
    found["veil"] = b"", 1
    found["yardstick"] = b"", 10_000
    return found


def count(wanted: list[str]) -> dict[str, float]:
    """Instructions by work: an element, a file, a veil."""
    todo = {name: one for name, one in works().items() if not wanted or name in wanted}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, (data, _) in todo.items():
            (folder / name).write_bytes(data)
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/counts"]
        command += ["--dump-before=getppid", sys.executable, str(HERE / "counted.py")]
        environment = os.environ | {"PYTHONHASHSEED": "0"}
        done = subprocess.run(
            [*command, str(folder), *todo], capture_output=True, text=True, env=environment
        )
        if done.returncode:
            raise SystemExit(done.stderr[-4000:])
        counts = {}
        for i, (name, (_, elements)) in enumerate(todo.items()):
            text = (folder / f"counts.{2 * i + 2}").read_text()
            found = re.search(r"^totals: (\d+)", text, re.MULTILINE)
            assert found
            counts[name] = int(found[1]) / elements
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write instructions.json")
    parser.add_argument("--show", action="store_true", help="print, and compare nothing")
    parser.add_argument("work", nargs="*", help="only these")
    arguments = parser.parse_args()
    for name, n in count(arguments.work).items():
        print(f"{name:24} {n:12.1f}")


if __name__ == "__main__":
    main()
