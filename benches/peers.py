"""Folders of small and middle files: dcmveil's copy and patch, other tools, and the floors.

    python benches/peers.py [--quick] [--folder /dev/shm] [--cpus 0] [--rounds N]

Every contestant is one process over the whole folder, start-up included, pinned to the same
processor, and they take turns within a round. (`Veil.tree` is dcmveil in a process that runs
already: start-up counts where there are few files.) Slow ones get fewer files; rates are compared.
What works in place gets a fresh copy, which is not timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import inputs
import pydicom
from contest import (
    DCMVEIL,
    PYTHON,
    Runner,
    changed,
    changes,
    clear,
    default_cpus,
    default_folder,
    in_turns,
    ratios,
    told_ratio,
    workplace,
    write_files,
)
from peer_runs import IMPORTED, PEERS, dcmodify, gdcmanon

HERE = Path(__file__).resolve().parent
SLOW = 20  # a peer in Python gets one file in so many
FAST = {"gdcm", "fw_file_rs"}  # written in C++ and Rust: their start would count
OURS = ("dcmveil copy", "dcmveil patch")  # what others are held against, to a copy and in place
LIBRARY = ("Veil.tree to a copy", "Veil.tree in place")  # and these
QUICK_TURNS = 3  # for one of those that take seconds
FLOOR = "open, pread, pwrite, close in C"
SAFE_FLOOR = "the system calls of dcmveil patch in C"
SAME_EDITS = "dcmodify, the elements that dcmveil changes"
COPY_LOOP = "read and write in Python"
UNCHANGED = {"cp -r", COPY_LOOP, FLOOR, SAFE_FLOOR, "fw_file_rs"}  # by its nature


class Folder:
    """Inputs of one kind: `many` files like `data`, and a part of them for the slow."""

    def __init__(self, place: Path, name: str, data: bytes, many: int) -> None:
        self.name = name
        self.data = data
        self.all = place / f"{name}-all"
        self.few = place / f"{name}-few"
        self.count = {self.all: many, self.few: max(10, many // SLOW)}
        for folder, count in self.count.items():
            write_files(folder, data, count)


class Contest:
    """Contestants over one folder."""

    def __init__(self, runner: Runner, place: Path, folder: Folder, floor: Path | None) -> None:
        self._runner = runner
        self._folder = folder
        self._work = place / "work"
        self._list = place / "list"
        self._library: subprocess.Popen[str] | None = None
        self.changed: dict[str, int] = {}
        # name -> (inputs, in place, command)
        self.commands: dict[str, tuple[Path, bool, Callable[[Path, Path], str]]] = {
            "cp -r": (folder.all, False, lambda src, dst: f"cp -r {src} {dst}"),
            "dcmveil copy": (
                folder.all, False, lambda src, dst: f"{DCMVEIL} copy --quiet {src} {dst}",
            ),
            "dcmveil copy --keep-names": (
                folder.all, False,
                lambda src, dst: f"{DCMVEIL} copy --quiet --keep-names {src} {dst}",
            ),
            "dcmveil patch": (folder.all, True, lambda _, dst: f"{DCMVEIL} patch --quiet {dst}"),
            # these are lines for the library
            LIBRARY[0]: (folder.all, False, lambda src, dst: f"{dst}\t{src}"),
            LIBRARY[1]: (folder.all, True, lambda _, dst: str(dst)),
        }  # fmt: skip
        if floor is not None:
            for name, how in ((FLOOR, ""), (SAFE_FLOOR, "journal")):
                self.commands[name] = (
                    folder.all, True,
                    lambda _, dst, how=how: f"{floor} {how} < {self._list}",
                )  # fmt: skip
        if shutil.which("dcmodify"):
            edit = dcmodify(str(self._list))[-1]
            same = dcmodify(str(self._list), self._same_edits())[-1]
            self.commands["dcmodify"] = (folder.all, True, lambda _, dst: edit)
            self.commands[SAME_EDITS] = (folder.all, True, lambda _, dst: same)
            self.commands["cp -r, then dcmodify"] = (
                folder.all, False, lambda src, dst: f"cp -r {src} {dst} && {edit}",
            )  # fmt: skip
        if shutil.which("gdcmanon"):
            self.commands["gdcmanon"] = (folder.all, False, gdcmanon)
        self.commands[COPY_LOOP] = (
            folder.all, False, lambda src, dst: f"{PYTHON} {HERE / 'copy_loop.py'} {src} {dst}",
        )  # fmt: skip
        for name in PEERS:
            if importlib.util.find_spec(IMPORTED.get(name, name)) is not None:
                run = f"{PYTHON} {HERE / 'peer_runs.py'} {name} {{src}} {{dst}}"
                self.commands[name] = (
                    folder.all if name in FAST else folder.few, False,
                    lambda src, dst, run=run: run.format(src=src, dst=dst),
                )  # fmt: skip

    def run(self, rounds: int) -> dict[str, dict[str, Any]]:
        # "cp -r, then dcmodify" wants the list of what it will have copied
        names = sorted(path.relative_to(self._folder.all) for path in files_in(self._folder.all))
        self._list.write_text("".join(f"{self._work / name}\n" for name in names))
        slow = [name for name in self.commands if name in PEERS and name not in FAST]
        quick = [name for name in self.commands if name not in slow]
        # a tenth of a second is soon disturbed: these take more turns, with none of seconds between
        with self._runner.started([PYTHON, str(HERE / "library.py")]) as self._library:
            taken = in_turns(quick, self._once, QUICK_TURNS * rounds)
        told = {name: self._told(name, taken) for name in quick}
        taken = in_turns([*slow, *OURS], self._once, rounds)
        clear(self._work)
        return told | {name: self._told(name, taken) for name in slow}

    def _same_edits(self) -> dict[str, str]:
        """What dcmveil makes of an input's elements, as dcmodify takes it: all but the file meta
        information and the trailing padding, which dcmodify writes as it likes. UIDs are those of
        one file: it need not map any."""
        data = self._folder.data
        done = self._runner.output([DCMVEIL, "--quiet"], data)
        return {
            place: _text(element)
            for place, element in changes(io.BytesIO(data), io.BytesIO(done)).items()
            if element is not None and element.tag.group not in (0x0002, 0xFFFC)
        }

    def _count(self, name: str) -> int:
        return self._folder.count[self.commands[name][0]]

    def _once(self, name: str) -> float:
        """Seconds a file."""
        src, in_place, command = self.commands[name]
        clear(self._work)
        if in_place:
            subprocess.run(["cp", "-r", src, self._work], check=True)
        if name in LIBRARY:
            seconds = self._ask(command(src, self._work))
        else:
            seconds = self._runner.seconds(command(src, self._work))[0]
        if name not in self.changed:
            self.changed[name] = self._changed(src)
            if not self.changed[name] and name not in UNCHANGED:
                raise SystemExit(f"{name} changed nothing")
        return seconds / self._count(name)

    def _ask(self, line: str) -> float:
        assert self._library is not None
        assert self._library.stdin is not None
        assert self._library.stdout is not None
        self._library.stdin.write(line + "\n")
        return float(self._library.stdout.readline())

    def _changed(self, source: Path) -> int:
        """How many elements of one file: a tool that failed in silence is no contestant."""
        before = min(files_in(source))
        after = self._work / before.relative_to(source)
        if not after.is_file():
            after = min(files_in(self._work), default=before)
        return changed(before, after)

    def _told(self, name: str, taken: dict[str, list[float]]) -> dict[str, Any]:
        each, in_place = taken[name], self.commands[name][1]
        library = taken.get(LIBRARY[in_place])  # not in turns with the slow
        return {
            "files": self._count(name),
            "microseconds": median(each) * 1e6,
            "files_per_second": 1 / median(each),
            "in_place": in_place,
            "elements_changed": self.changed[name],
            "library": ratios(each, library) if library else None,
            **ratios(each, taken[OURS[in_place]]),  # how often dcmveil does what this one does once
        }


def _text(element: pydicom.DataElement) -> str:
    """A value as dcmodify takes it; bytes are left out."""
    value = element.value
    if value is None or isinstance(value, bytes):
        return ""
    return "\\".join(map(str, value if element.VM > 1 else [value]))


def files_in(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        yield from (Path(where, name) for name in names)


def built_floor(place: Path) -> Path | None:
    """The loop of bare system calls, compiled; None where there is no compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    program = place / "floor"
    subprocess.run([compiler, "-O2", "-o", program, HERE / "floor.c"], check=True)
    return program


def measure(folder: Path, cpus: str, *, quick: bool, rounds: int | None = None) -> dict[str, Any]:
    result: dict[str, Any] = {"cpus": cpus, "folder": str(folder)}
    kinds = [
        ("mr", inputs.mr(), 500 if quick else 5000),
        ("ct", inputs.ct(), 100 if quick else 1000),
    ]
    with workplace(folder) as (place, key):
        runner = Runner(key, cpus)
        floor = built_floor(place)
        for name, data, count in kinds:
            files = Folder(place, name, data, count)
            tools = Contest(runner, place, files, floor).run(rounds or (1 if quick else 5))
            result[name] = {"bytes": len(files.data), "tools": tools}
            for made in files.count:
                clear(made)
    return result


def markdown(found: dict[str, Any]) -> list[str]:
    lines = []
    for kind in ("mr", "ct"):
        one = found[kind]
        lines += [
            f"## Folders of files of {one['bytes'] / 1000:.0f} KB",
            "",
            f"One process each, on processor {found['cpus']}, in `{found['folder']}`. The ratio is",
            "how many files dcmveil does in the time of one (in place against `dcmveil patch`, the",
            "others against `dcmveil copy`), the median of its rounds; behind it the quartiles.",
            "The last ratio is that of `Veil.tree`, whose process had started before.",
            f"Rounds: {one['tools']['cp -r']['rounds']}, fewer for those in Python.",
            "",
            "| tool | files/s | µs a file | dcmveil's ratio | elements changed | `Veil.tree`'s |",
            "|---|---|---|---|---|---|",
        ]
        for name, tool in sorted(one["tools"].items(), key=lambda item: item[1]["microseconds"]):
            where = " (in place)" if tool["in_place"] else ""
            lines.append(
                f"| `{name}`{where} | {tool['files_per_second']:.0f} | {tool['microseconds']:.0f} "
                f"| {told_ratio(tool)} | {tool['elements_changed'] or ''} "
                f"| {told_ratio(tool['library']) if tool['library'] else ''} |"
            )
        lines.append("")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few files, one round")
    parser.add_argument("--cpus", default=default_cpus().split(",")[0], help="for all contestants")
    parser.add_argument("--folder", type=Path, default=default_folder(), help="for the inputs")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.folder, given.cpus, quick=given.quick, rounds=given.rounds)
    print(json.dumps(found, indent=1) if given.json else "\n".join(markdown(found)))


if __name__ == "__main__":
    sys.exit(main())
