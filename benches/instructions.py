"""Instructions an element and a file, counted by callgrind: numbers that no busy machine changes.

python benches/instructions.py            count, compare with instructions.json; exit 1 if worse
python benches/instructions.py --record   count, and write instructions.json
python benches/instructions.py --show     count and print, compare nothing

All work is done in one process under valgrind (counted.py), each once before it counts, so that
what is taken once (caches, imports) does not. One call less or more in the interpreter is noise of
0.1 %, so a count may grow by TOLERANCE.

Counts depend on the compiler, on Python and on which of its routines the C library picks for the
processor; the file says what it was recorded with. Where that is another than here, one count
cannot be held against the other. Then each kind of work is compared with itself: the ratio of a
count to the recorded one against the median of these ratios, with LOOSE in place of TOLERANCE. That
still finds one path that became slow; what slowed all paths alike it cannot see, and says so.
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
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import inputs

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "instructions.json"
TOLERANCE = 0.03
LOOSE = 0.15
LOOPS = 20  # as in counted.py
FILES = 64


def works() -> dict[str, tuple[bytes, int]]:
    """Input of each work, and what its count is divided by: elements, files, one."""
    found: dict[str, tuple[bytes, int]] = {}
    for name, data, elements in inputs.headers():
        found[f"whole-{name}"] = data, elements
        found[f"windows-{name}"] = data, elements
    found["file-mr"] = inputs.mr(), LOOPS
    found["file-ct"] = inputs.ct_small(), LOOPS
    found["plan-mr"] = inputs.mr(), LOOPS
    found["tree-mr"] = inputs.mr(), FILES
    found["veil"] = b"", 1
    return found


def count(wanted: list[str]) -> dict[str, float]:
    """Instructions by work."""
    todo = {name: one for name, one in works().items() if not wanted or name in wanted}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, (data, _) in todo.items():
            (folder / name).write_bytes(data)
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/counts"]
        # one dump at each call: 2 i + 2 is what work i took, from its begin to its end
        command += ["--dump-before=getsid", sys.executable, str(HERE / "counted.py")]
        done = subprocess.run(
            [*command, str(folder), *todo],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONHASHSEED": "0"},
            check=False,
        )
        if done.returncode:
            raise SystemExit(done.stderr[-4000:])
        counts = {}
        for i, (name, (_, divisor)) in enumerate(todo.items()):
            text = (folder / f"counts.{2 * i + 2}").read_text()
            found = re.search(r"^totals: (\d+)", text, re.MULTILINE)
            assert found
            counts[name] = round(int(found[1]) / divisor, 1)
    return counts


def host() -> dict[str, Any]:
    """What a count depends on beside the code."""
    compiler = str(sysconfig.get_config_var("CC") or "cc").split()[0]
    told = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    flags = re.search(r"^compile_args = (\[.*\])", (HERE.parent / "setup.py").read_text(), re.M)
    info = Path("/proc/cpuinfo")
    has = set(re.findall(r"\w+", info.read_text())) if info.exists() else set()
    return {
        "compiler": told.stdout.partition("\n")[0],
        "flags": flags[1] if flags else "",
        "cython": version("cython"),
        "python": platform.python_version(),
        "libc": " ".join(platform.libc_ver()),
        "processor": [platform.machine(), *sorted(has & {"avx2", "erms", "avx512f"})],
    }


def compare(then: dict[str, float], now: dict[str, float], same_host: bool) -> list[str]:
    """What became worse, one line each."""
    worse = []
    for kind in {name.split("-")[0] for name in now}:
        ratios = {n: now[n] / then[n] for n in now if n.split("-")[0] == kind and n in then}
        usual = 1.0 if same_host or not ratios else median(ratios.values())
        most = usual * (1 + (TOLERANCE if same_host else LOOSE))
        worse += [
            f"{name}: {now[name]} instructions, recorded {then[name]}"
            for name, ratio in ratios.items()
            if ratio > most
        ]
    return worse


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write instructions.json")
    parser.add_argument("--show", action="store_true", help="print, and compare nothing")
    parser.add_argument("work", nargs="*", help="only these")
    arguments = parser.parse_args()
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is not installed: nothing was counted")
    now, here = count(arguments.work), host()
    if arguments.record:
        BASELINE.write_text(json.dumps({"host": here, "counts": now}, indent=1) + "\n")
    baseline = json.loads(BASELINE.read_text())
    then = baseline["counts"]
    for name, n in now.items():
        print(f"{name:24} {n:12.1f} {n / then[name]:8.3f}" if name in then else f"{name:24} {n}")
    if arguments.show or arguments.record:
        return
    same = here == baseline["host"]
    if not same:
        other = [f"{key}: {here[key]}" for key in here if here[key] != baseline["host"].get(key)]
        print("recorded elsewhere, so ratios alone are compared; here:", *other, sep="\n  ")
    worse = compare(then, now, same)
    if worse:
        raise SystemExit("\n".join(["more instructions than recorded:", *worse]))


if __name__ == "__main__":
    main()
