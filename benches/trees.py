"""Folders and large files: dcmveil copy and patch with one process and two, against cp.

    python benches/trees.py [--quick] [--folder DIR ...] [--rounds N] [--files N]

Contestants take turns within a round, in another order each round, and are compared round by round.
What works in place gets a fresh copy, which is not timed. Both a folder in memory and one on a disk
are measured: in memory the processor counts, on a disk the file system too. Nothing is synced.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import inputs
from peers import write_files
from pipe import BIN, DCMVEIL, GIB, default_folder, environment

POLL = 0.05  # seconds between two looks at the memory of a run
MANY = 20_000  # files of a tree that needs no round to warm the caches
KINDS = ("mr", "ct", "large")
Command = tuple[bool, Callable[[Path, Path], list[str]]]  # in place; the command


def contestants(jobs: tuple[int, ...] = (1, 2)) -> dict[str, Command]:
    found: dict[str, Command] = {
        "cp -r": (False, lambda src, dst: ["cp", "-r", str(src), str(dst)])
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
        self.peak: dict[str, int] = {}

    def run(self, rounds: int, warm: bool = True) -> dict[str, dict[str, float]]:
        names = list(self._commands)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for number in range(-1 if warm else 0, rounds):  # the round before the first warms caches
            for name in names[number % len(names) :] + names[: number % len(names)]:
                seconds = self._once(name)
                if number >= 0:
                    taken[name].append(seconds)
        self._clear()
        return {name: self._told(name, taken) for name in names}

    def _told(self, name: str, taken: dict[str, list[tuple[float, float]]]) -> dict[str, float]:
        pairs = list(zip(taken[name], taken["cp -r"], strict=True))
        ratios = [own[0] / other[0] for own, other in pairs]
        low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else (ratios[0],) * 3
        return {
            "seconds": median(one[0] for one in taken[name]),
            "least": min(one[0] for one in taken[name]),
            "cpu_seconds": median(one[1] for one in taken[name]),
            "ratio": median(ratios),
            "ratio_low": low,
            "ratio_high": high,
            "cpu_ratio": median(own[1] / max(other[1], 1e-3) for own, other in pairs),
            "rounds": len(ratios),
            "peak_rss": self.peak[name],
        }

    def _clear(self) -> None:
        # Not shutil.rmtree: it takes longer than what is measured.
        subprocess.run(["rm", "-rf", self._work], check=True)

    def _once(self, name: str) -> tuple[float, float]:
        in_place, command = self._commands[name]
        self._clear()
        if in_place:
            subprocess.run(["cp", "-r", self._source, self._work], check=True)
        start = time.perf_counter()
        child = subprocess.Popen(command(self._source, self._work), env=self._environment)
        self.peak[name] = max(self.peak.get(name, 0), watched(child.pid))
        _, status, used = os.wait4(child.pid, 0)
        elapsed = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"failed with {child.returncode}: {name}")
        return elapsed, used.ru_utime + used.ru_stime


def watched(pid: int) -> int:
    """The most memory, in bytes, that a process and its children had together (proportional set
    size: pages that they share count once), until the process ends."""
    most = 0
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            break
        most = max(most, sum(map(_proportional, [str(pid), *children])))
        time.sleep(POLL)
    return most


def _proportional(pid: str) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


# -- one large file --------------------------------------------------------------------------------

# Runs a command and prints its seconds and what /proc says it read and wrote.
_COUNT = """
import os, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[1:])
os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
seconds = time.perf_counter() - start
print(seconds, open(f"/proc/{child.pid}/io").read().split())
sys.exit(child.wait())
"""


def large(key: Path, place: Path, gib: float, rounds: int) -> dict[str, Any]:
    """A native multi-frame image of so many GiB: copy against cp, and what patch touches."""
    source = place / "large"
    source.mkdir()
    size = inputs.write_native(source / "large.dcm", int(gib * GIB))
    commands = {
        name: command
        for name, command in contestants((1,)).items()
        if not name.startswith("patch")
    }  # fmt: skip
    commands["cp -r again"] = commands["cp -r"]
    found: dict[str, Any] = {
        "bytes": size,
        "tools": Contest(key, source, place / "work", commands).run(rounds),
    }
    patched = [counted(key, [DCMVEIL, "patch", "--quiet", str(source / "large.dcm")])
               for _ in range(max(3, rounds))]  # fmt: skip
    small = source / "small.dcm"
    small.write_bytes(inputs.mr())
    nothing = [counted(key, [DCMVEIL, "patch", "--quiet", str(small)])
               for _ in range(max(3, rounds))]  # fmt: skip
    found["patch"] = {
        "seconds": median(one[0] for one in patched),
        "small_seconds": median(one[0] for one in nothing),
        "read": max(one[1] for one in patched),
        "small_read": median(one[1] for one in nothing),
        "written": max(one[2] for one in patched),
    }
    shutil.rmtree(source)
    return found


def counted(key: Path, command: list[str]) -> tuple[float, int, int]:
    """(seconds, bytes read, bytes written) of a process, by all its system calls."""
    told = subprocess.check_output(
        [sys.executable, "-c", _COUNT, *command], text=True, env=environment(key)
    )
    last = told.splitlines()[-1]
    seconds, _, rest = last.partition(" ")
    words = rest.strip("[]").replace("'", "").replace(",", "").split()
    values = dict(zip(words[::2], words[1::2], strict=True))
    return float(seconds), int(values["rchar:"]), int(values["wchar:"])


# -- all -------------------------------------------------------------------------------------------


def default_folders() -> list[Path]:
    """One in memory and one on a disk."""
    memory, disk = default_folder(), Path(tempfile.gettempdir())
    return [memory] if memory == disk else [memory, disk]


def measure(
    folders: list[Path],
    *,
    quick: bool,
    rounds: int | None = None,
    files: int | None = None,
    kinds: tuple[str, ...] = KINDS,
) -> list[dict[str, Any]]:
    found = []
    for folder in folders:
        with tempfile.TemporaryDirectory(dir=folder, prefix="dcmveil-bench-") as inside:
            place = Path(inside)
            key = place / "bench.key"
            subprocess.run([BIN / "dcmveil", "key", "new", key], check=True)
            one: dict[str, Any] = {"folder": str(folder), "trees": {}}
            usual = [
                ("mr", inputs.mr(), files or (1_000 if quick else 100_000), 1 if quick else 3),
                ("ct", inputs.ct(), 50 if quick else 1_000, 1 if quick else 7),
            ]
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
                subprocess.run(["rm", "-rf", source], check=True)
                print(json.dumps({folder.name: one["trees"][name]}), file=sys.stderr)
            if "large" in kinds:
                gib = 1 / 8 if quick else 1
                one["large"] = large(key, place, gib, rounds or (1 if quick else 9))
            found.append(one)
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
                "with their quartiles. Memory: the peak of all processes of a run.",
                "",
                "| run | s | least s | processor s | files/s | ratio | processor ratio | MB |",
                "|---|---|---|---|---|---|---|---|",
            ]
            for name, tool in tree["tools"].items():
                lines.append(
                    f"| `{name}` | {_times(tool)} | {tree['files'] / tool['seconds']:.0f} "
                    f"| {_ratio(tool)} | {tool['cpu_ratio']:.1f} | {tool['peak_rss'] / 1e6:.1f} |"
                )
            lines.append("")
        if "large" not in one:
            continue
        big, patch = one["large"], one["large"]["patch"]
        lines += [
            f"## One file of {big['bytes'] / 2**30:.2f} GiB in `{one['folder']}`",
            "",
            "| run | s | least s | processor s | ratio |",
            "|---|---|---|---|---|",
            *(f"| `{n}` | {_times(t)} | {_ratio(t)} |" for n, t in big["tools"].items()),
            "",
            f"`dcmveil patch` of it: {patch['seconds'] * 1e3:.0f} ms, "
            f"{patch['read'] / 1e3:.0f} KB read, {patch['written'] / 1e3:.1f} KB written in all;",
            f"of a file of 10 KB: {patch['small_seconds'] * 1e3:.0f} ms, "
            f"{patch['small_read'] / 1e3:.0f} KB read, which is the program's own start.",
            "",
        ]
    return lines


def _times(tool: dict[str, float]) -> str:
    return f"{tool['seconds']:.2f} | {tool['least']:.2f} | {tool['cpu_seconds']:.2f}"


def _ratio(tool: dict[str, float]) -> str:
    return f"{tool['ratio']:.2f} ({tool['ratio_low']:.2f}-{tool['ratio_high']:.2f})"


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
