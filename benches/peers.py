"""Folders of small and middle files: dcmveil's copy and patch, other tools, and the floors.

    python benches/peers.py [--quick] [--folder /dev/shm] [--cpus 0] [--rounds N]

Every contestant is one process over the whole folder, start-up included, pinned to the same
processor, and they take turns within a round. Slow ones get fewer files; rates are compared. What
works in place gets a fresh copy, which is not timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import inputs
from peer_runs import IMPORTED, PEERS, dcmodify
from pipe import BIN, DCMVEIL, PYTHON, Runner, changed, default_cpus, default_folder

HERE = Path(__file__).resolve().parent
SLOW = 20  # a peer in Python gets one file in so many


class Folder:
    """Inputs of one kind: `many` files, and a part of them for the slow."""

    def __init__(self, place: Path, name: str, data: bytes, many: int) -> None:
        self.name = name
        self.all = place / f"{name}-all"
        self.few = place / f"{name}-few"
        self.count = {self.all: many, self.few: max(10, many // SLOW)}
        for folder, count in self.count.items():
            write_files(folder, data, count)
        self.bytes = len(data)


def write_files(folder: Path, data: bytes, count: int) -> None:
    """So many files with SOP Instance UIDs of their own, 500 in a folder."""
    old = inputs.instance_uid(data)
    for number in range(count):
        inside = folder / f"{number // 500:04}"
        inside.mkdir(parents=True, exist_ok=True)
        new = old[:-7] + b"%07d" % (1_000_000 + number)
        (inside / f"{number % 500:04}").write_bytes(data.replace(old, new))


class Contest:
    """Contestants over one folder."""

    def __init__(self, runner: Runner, place: Path, folder: Folder, floor: Path | None) -> None:
        self._runner = runner
        self._folder = folder
        self._work = place / "work"
        self._list = place / "list"
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
        }  # fmt: skip
        if floor is not None:
            self.commands["open, pread, pwrite, close in C"] = (
                folder.all, True, lambda _, dst: f"{floor} < {self._list}",
            )  # fmt: skip
        if shutil.which("dcmodify"):
            edit = dcmodify(str(self._list))[-1]
            self.commands["dcmodify"] = (folder.all, True, lambda _, dst: edit)
        for name in PEERS:
            if importlib.util.find_spec(IMPORTED.get(name, name)) is not None:
                run = f"{PYTHON} {HERE / 'peer_runs.py'} {name} {{src}} {{dst}}"
                self.commands[name] = (
                    folder.few, False, lambda src, dst, run=run: run.format(src=src, dst=dst),
                )  # fmt: skip

    def run(self, rounds: int) -> dict[str, dict[str, Any]]:
        names = list(self.commands)
        taken: dict[str, list[float]] = {name: [] for name in names}
        made: dict[str, int] = {}
        for number in range(-1, rounds):  # the round before the first warms the caches
            for name in names[number % len(names) :] + names[: number % len(names)]:
                seconds = self._seconds(name)
                if number >= 0:
                    taken[name].append(seconds / self._count(name))
                elif name != "cp -r":
                    made[name] = self._changed(name)
        return {name: self._told(name, taken, made) for name in names}

    def _count(self, name: str) -> int:
        return self._folder.count[self.commands[name][0]]

    def _seconds(self, name: str) -> float:
        src, in_place, command = self.commands[name]
        shutil.rmtree(self._work, ignore_errors=True)
        if in_place:
            shutil.copytree(src, self._work)
            paths = sorted(str(path) for path in self._work.rglob("*") if path.is_file())
            self._list.write_text("\n".join(paths) + "\n")
        return self._runner.seconds(command(src, self._work))[0]

    def _changed(self, name: str) -> int:
        """Elements changed in one file: a tool that failed in silence is no contestant."""
        before = next(path for path in sorted(self.commands[name][0].rglob("*")) if path.is_file())
        after = self._work / before.relative_to(self.commands[name][0])
        if not after.is_file():
            found = sorted(path for path in self._work.rglob("*") if path.is_file())
            after = found[0] if found else before
        return changed(before, after)

    def _told(
        self, name: str, taken: dict[str, list[float]], made: dict[str, int]
    ) -> dict[str, Any]:
        each = taken[name]
        ours = taken["dcmveil patch" if self.commands[name][1] else "dcmveil copy"]
        ratios = [other / own for other, own in zip(each, ours, strict=True)]
        low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else (ratios[0],) * 3
        return {
            "files": self._count(name),
            "microseconds": median(each) * 1e6,
            "files_per_second": 1 / median(each),
            "in_place": self.commands[name][1],
            # how often dcmveil does what this one does once
            "dcmveil_ratio": median(ratios),
            "ratio_low": low,
            "ratio_high": high,
            "elements_changed": made.get(name, 0),
        }


def built_floor(place: Path) -> Path | None:
    """The loop of bare system calls, compiled; None where there is no compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    program = place / "floor"
    subprocess.run([compiler, "-O2", "-o", program, HERE / "floor.c"], check=True)
    return program


def measure(folder: Path, cpus: str, *, quick: bool, rounds: int | None = None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        place = Path(inside)
        key = place / "bench.key"
        subprocess.run([BIN / "dcmveil", "key", "new", key], check=True)
        runner = Runner(key, cpus)
        floor = built_floor(place)
        kinds = [
            ("mr", inputs.mr(), 500 if quick else 5000),
            ("ct", inputs.ct(), 100 if quick else 1000),
        ]
        result: dict[str, Any] = {"cpus": cpus, "folder": str(folder)}
        for name, data, count in kinds:
            files = Folder(place, name, data, count)
            contest = Contest(runner, place, files, floor)
            result[name] = {
                "bytes": files.bytes,
                "tools": contest.run(rounds or (1 if quick else 7)),
            }
            for made in files.count:
                shutil.rmtree(made)
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
            "",
            "| tool | files/s | µs a file | dcmveil's ratio | elements changed |",
            "|---|---|---|---|---|",
        ]
        for name, tool in sorted(one["tools"].items(), key=lambda item: item[1]["microseconds"]):
            where = " (in place)" if tool["in_place"] else ""
            lines.append(
                f"| `{name}`{where} | {tool['files_per_second']:.0f} | {tool['microseconds']:.0f} "
                f"| {tool['dcmveil_ratio']:.2f} ({tool['ratio_low']:.2f}-{tool['ratio_high']:.2f}) "
                f"| {tool['elements_changed'] or ''} |"
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
