"""Whether the dcmveil of this environment works, with no other package: how a wheel is tried."""

from __future__ import annotations

import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

BUILD = Path(__file__).resolve().parent.parent / "tests/build.py"
DCMVEIL = str(Path(sys.executable).with_name("dcmveil"))


def main() -> int:
    before: bytes = runpy.run_path(str(BUILD))["sample"]()
    with tempfile.TemporaryDirectory() as folder:
        key = str(Path(folder, "key"))
        subprocess.run([DCMVEIL, "key", "new", key], check=True)
        for program in ([DCMVEIL], [sys.executable, "-m", "dcmveil"]):
            command = [*program, "--key-file", key]
            after = subprocess.run(command, input=before, stdout=subprocess.PIPE, check=True).stdout
            if len(after) != len(before) or b"DOE^" in after or b"DOE^" not in before:
                print("the file was not de-identified", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
