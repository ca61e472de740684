"""Lines and branches of ext/ that the tests ran: `python tools/ext_coverage.py BUILD [--missing]`.

BUILD is where `DCMVEIL_COVERAGE=1 setup.py build -b BUILD` has compiled. gcov counts the lines of
the generated C; Cython names before each statement the line of the source that it comes from.
A branch is one way out of a condition of the C, so `a and b` has four. Those of core.pyx, keyed.pyx
and the compiled faces are left out: nearly all of them ask whether a call into Python has failed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXT = ROOT / "ext"
STATEMENT = re.compile(r'\s*/\* "(dcmveil/[\w/]+\.p[yx][xd])":(\d+)$')
SECTION = "/* #### Code section: "

# source file -> its line -> how often it ran; how often each of its branches was taken
Lines = dict[str, dict[int, int]]
Branches = dict[str, dict[int, list[int]]]


def sources_of(c_file: Path) -> list[tuple[str, int] | None]:
    """The source line that each line of the generated C belongs to; None: to Cython itself."""
    found: list[tuple[str, int] | None] = [None]
    here: tuple[str, int] | None = None
    for line in c_file.read_text().splitlines():
        if line.startswith(SECTION):
            here = None
        elif match := STATEMENT.match(line):
            here = match[1], int(match[2])
        found.append(here)
    return found


def measure(build: Path) -> tuple[Lines, Branches]:
    lines: Lines = defaultdict(lambda: defaultdict(int))
    branches: Branches = defaultdict(lambda: defaultdict(list))
    for notes in sorted(build.rglob("*.gcno")):
        data = notes.with_suffix(".gcda")
        if not data.exists():
            raise SystemExit(f"{data.name} is missing: nothing ran {notes.stem}")
        command = ["gcov", "--json-format", "--stdout", "--branch-probabilities", str(data)]
        printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        module = str(notes.with_suffix(".c")).rpartition("/dcmveil/")[2]
        for of_file in json.loads(printed.stdout)["files"]:
            if of_file["file"].endswith(f"/dcmveil/{module}"):
                _add(of_file, lines, branches)
    return lines, branches


def _add(of_file: dict[str, object], lines: Lines, branches: Branches) -> None:
    sources = sources_of(ROOT / str(of_file["file"]))
    counted = of_file["lines"]
    assert isinstance(counted, list)
    for line in counted:
        source = sources[line["line_number"]]
        if source is not None:
            name, number = source
            lines[name][number] = max(lines[name][number], line["count"])
            branches[name][number] += [branch["count"] for branch in line["branches"]]


def report(lines: Lines, branches: Branches) -> None:
    print(f"{'module':<20}{'lines':>12}{'':>8}{'branches':>14}")
    sums = [0, 0, 0, 0]
    for name in sorted(lines):
        counts = list(lines[name].values())
        ways = [count for of_line in branches[name].values() for count in of_line]
        if name.startswith(("dcmveil/core.", "dcmveil/keyed.", "dcmveil/faces/")):
            ways = []
        row = [sum(map(bool, counts)), len(counts), sum(map(bool, ways)), len(ways)]
        sums = [a + b for a, b in zip(sums, row, strict=True)]
        print(_row(name.removeprefix("dcmveil/"), *row))
    print(_row("all", *sums))


def _row(name: str, ran: int, lines: int, taken: int, ways: int) -> str:
    of_ways = f"{taken}/{ways} {100 * taken / ways:5.1f} %" if ways else "-"
    return f"{name:<20}{ran:>6}/{lines:<5} {100 * ran / lines:5.1f} %   {of_ways:>16}"


def missing(lines: Lines) -> None:
    for name in sorted(lines):
        text = (EXT / name).read_text().splitlines()
        for number, count in sorted(lines[name].items()):
            if not count:
                print(f"{name}:{number}: {text[number - 1].strip()}")


def main(arguments: list[str]) -> None:
    lines, branches = measure(Path(arguments[0]).resolve())
    report(lines, branches)
    if "--missing" in arguments:
        missing(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
