"""Folders of files: dcmveil copy and patch with one process and more, against cp and a copy loop.

    python benches/trees.py [--quick] [--folder DIR ...] [--rounds N] [--files N]

What works in place gets a fresh copy, which is not timed. Both a folder in memory and one on a disk
are measured: in memory the processor counts, on a disk the file system too. Nothing is synced.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import inputs
from contest import (
    DCMVEIL,
    PYTHON,
    changed,
    clear,
    default_folder,
    default_folders,
    environment,
    in_turns,
    ratios,
    summary,
    told_ratio,
    workplace,
    write_files,
)
from peers import COPY_LOOP, HERE, files_in

POLL = 0.02  # seconds between two looks at the memory of a run
MANY = 20_000  # files of a tree that needs no round to warm the caches
KINDS = ("mr", "ct")
JOBS = (1, 2, 4)
Command = tuple[bool, Callable[[Path, Path], list[str]]]  # in place; the command


def contestants(jobs: tuple[int, ...] = JOBS) -> dict[str, Command]:
    loop = [PYTHON, str(HERE / "copy_loop.py")]
    found: dict[str, Command] = {
        "cp -r": (False, lambda src, dst: ["cp", "-r", str(src), str(dst)]),
        COPY_LOOP: (False, lambda src, dst: [*loop, str(src), str(dst)]),
    }
    for n in jobs:
        copying = [DCMVEIL, "copy", "--quiet", f"-j{n}"]
        patching = [DCMVEIL, "patch", "--quiet", f"-j{n}"]
        found[f"copy -j {n}"] = (False, lambda src, dst, c=copying: [*c, str(src), str(dst)])
        found[f"patch -j {n}"] = (True, lambda _, dst, c=patching: [*c, str(dst)])
    return found


class Contest:
    """Contestants over one source, in one folder."""

    def __init__(self, key: Path, source: Path, work: Path, commands: dict[str, Command]) -> None:
        self._environment = environment(key)
        self._source = source
        self._work = work
        self._commands = commands
        self._count = sum(1 for _ in files_in(source))
        self._first = min(files_in(source))
        self.peak: dict[str, int] = {}

    def run(self, rounds: int, warm: bool = True) -> dict[str, dict[str, float]]:
        taken = in_turns(list(self._commands), self._once, rounds, warm=warm)
        clear(self._work)
        found = summary(taken, "cp -r")
        for name, one in found.items():
            one["peak_rss"] = self.peak[name]
            alone = re.sub(r"-j \d+", "-j 1", name)
            if alone != name and alone in taken:
                times = ([run[0] for run in taken[each]] for each in (name, alone))
                one["ratio_to_one"] = ratios(*times)["ratio"]
            one["cpu_ratio"] = median(
                own[1] / max(other[1], 1e-3)
                for own, other in zip(taken[name], taken["cp -r"], strict=True)
            )
        return found

    def _once(self, name: str) -> tuple[float, float]:
        in_place, command = self._commands[name]
        clear(self._work)
        if in_place:
            subprocess.run(["cp", "-r", self._source, self._work], check=True)
        self._prepare()
        start = time.perf_counter()
        child = subprocess.Popen(command(self._source, self._work), env=self._environment)
        with watched(child.pid) as peak:
            # it can still be asked about, until it is waited for
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            elapsed = time.perf_counter() - start
        self.peak[name] = max(self.peak.get(name, 0), *peak)
        self._ended(name, child.pid)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"failed with {child.returncode}: {name}")
        self._check(name)
        return elapsed, used.ru_utime + used.ru_stime

    def _prepare(self) -> None:
        """Right before a contestant starts."""

    def _ended(self, name: str, pid: int) -> None:
        """When it has ended, and was not waited for."""

    def _check(self, name: str) -> None:
        """As many files as before, and dcmveil has changed them."""
        made = list(files_in(self._work))
        if len(made) != self._count:
            raise SystemExit(f"{name} made {len(made)} files")
        if name.startswith(("copy", "patch")):
            same = self._work / self._first.relative_to(self._source)
            after = same if same.is_file() else made[0]
            if not changed(self._first, after, pixels=False):
                raise SystemExit(f"{name} changed nothing")


@contextlib.contextmanager
def watched(pid: int) -> Iterator[list[int]]:
    """The memory, in bytes, that a process and its children have together (proportional set size:
    pages that they share count once), again and again. In a thread, so that the end of the process
    is seen at once."""
    seen = [0]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(POLL):
            try:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            except OSError:
                return
            seen.append(sum(map(_proportional, [str(pid), *children])))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def _proportional(pid: str) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


# -- all -------------------------------------------------------------------------------------------


def measure(
    folders: list[Path],
    *,
    quick: bool,
    rounds: int | None = None,
    files: int | None = None,
    kinds: tuple[str, ...] = KINDS,
) -> list[dict[str, Any]]:
    found = []
    usual = [
        ("mr", inputs.mr(), files or (1_000 if quick else 100_000), 1 if quick else 4),
        ("ct", inputs.ct(), 50 if quick else 1_000, 1 if quick else 5),
    ]
    for folder in folders:
        one: dict[str, Any] = {"folder": str(folder), "trees": {}}
        with workplace(folder) as (place, key):
            for name, data, count, few in usual:
                if name not in kinds:
                    continue
                source = place / name
                write_files(source, data, count)
                contest = Contest(key, source, place / "work", contestants())
                one["trees"][name] = {
                    "files": count,
                    "bytes": len(data),
                    "tools": contest.run(rounds or few, warm=count < MANY),
                }
                clear(source)
        found.append(one)
    return found


def both(*, quick: bool) -> list[dict[str, Any]]:
    """In memory, and fewer on a disk."""
    found = measure([default_folder()], quick=quick)
    if not quick:
        found += measure(default_folders()[1:], quick=False, files=5_000, rounds=3)
    return found


def markdown(found: list[dict[str, Any]]) -> list[str]:
    lines = []
    for one in found:
        for tree in one["trees"].values():
            lines += [
                f"## {tree['files']} files of {tree['bytes'] / 1000:.0f} KB in `{one['folder']}`",
                "",
                f"Rounds: {tree['tools']['cp -r']['rounds']}; start-up included. Ratios are to "
                "`cp -r` of the same round,",
                "with their quartiles; with more than one process there is one to `-j 1`, too. "
                "Memory: the peak",
                "of all processes of a run.",
                "",
                "| run | s | least s | processor s | files/s | ratio | to `-j 1` | processor ratio "
                "| MB |",
                "|---|---|---|---|---|---|---|---|---|",
            ]
            for name, tool in tree["tools"].items():
                to_one = f"{tool['ratio_to_one']:.2f}" if "ratio_to_one" in tool else ""
                lines.append(
                    f"| `{name}` | {times(tool)} | {tree['files'] / tool['seconds']:.0f} "
                    f"| {told_ratio(tool)} | {to_one} | {tool['cpu_ratio']:.1f} "
                    f"| {tool['peak_rss'] / 1e6:.1f} |"
                )
            lines.append("")
    return lines


def times(tool: dict[str, float]) -> str:
    return f"{tool['seconds']:.2f} | {tool['least']:.2f} | {tool['cpu_seconds']:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few files, one round")
    parser.add_argument("--folder", type=Path, nargs="+", help="where (default: memory and disk)")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--files", type=int, help="small files in a tree")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--json", type=Path, help="keep the figures here too")
    given = parser.parse_args()
    found = measure(
        given.folder or default_folders(), quick=given.quick, rounds=given.rounds,
        files=given.files, kinds=tuple(given.kinds),
    )  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    print("\n".join(markdown(found)))


if __name__ == "__main__":
    main()
