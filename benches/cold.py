"""Files that are not in the page cache: copy and patch against cp, on a disk.

    python benches/cold.py [--quick] [--folder DIR]

Before each run all that was written is flushed to the disk, and the kernel is told to drop the
pages of every file of the run (posix_fadvise, DONTNEED). What it keeps are folders and inodes, and
what is below the kernel, a host's cache for one, knows nothing of it. How much a run then read from
the disk stands beside its time. Its writes go to the page cache and are not waited for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from statistics import median
from typing import Any

import inputs
from contest import GIB, clear, default_folders, told_ratio, workplace, write_files
from peers import files_in
from trees import Contest, contestants, times


class Cold(Contest):
    """Contestants whose files are only on the disk."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.from_disk: dict[str, list[int]] = {}

    def _prepare(self) -> None:
        subprocess.run(["sync", "-f", self._source], check=True)
        for folder in (self._source, self._work):
            for path in files_in(folder):
                file = os.open(path, os.O_RDONLY)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(file)

    def _ended(self, name: str, pid: int) -> None:
        words = Path(f"/proc/{pid}/io").read_text().split()
        read = int(words[words.index("read_bytes:") + 1])
        self.from_disk.setdefault(name, []).append(read)


def measure(folder: Path, *, quick: bool, rounds: int = 3) -> dict[str, Any]:
    found: dict[str, Any] = {"folder": str(folder), "kinds": {}}
    sizes = [
        ("mr", inputs.mr(), 500 if quick else 5_000),
        ("ct", inputs.ct(), 50 if quick else 500),
    ]
    with workplace(folder) as (place, key):
        for name, data, count in sizes:
            write_files(place / name, data, count)
        large = place / "large"
        large.mkdir()
        inputs.write_native(large / "large.dcm", GIB // 16 if quick else GIB)
        for name in ("mr", "ct", "large"):
            source = place / name
            # one file is done by one process
            contest = Cold(
                key, source, place / "work", contestants((1,) if name == "large" else (1, 2))
            )
            tools = contest.run(1 if quick else rounds, warm=False)
            for tool, one in tools.items():
                one["from_disk"] = median(contest.from_disk[tool])
            files = list(files_in(source))
            found["kinds"][name] = {
                "files": len(files),
                "bytes": sum(path.stat().st_size for path in files),
                "tools": tools,
            }
            clear(source)
    return found


def on_disk(*, quick: bool) -> dict[str, Any]:
    """Where there is a disk, and a kernel that can be told so: elsewhere nothing."""
    folders = default_folders()[1:]
    if not folders or not hasattr(os, "posix_fadvise") or not Path("/proc/self/io").exists():
        return {}
    return measure(folders[0], quick=quick)


def markdown(found: dict[str, Any]) -> list[str]:
    if not found:
        return []
    lines = [
        f"## Cold cache, in `{found['folder']}`",
        "",
        "All written data flushed, and the pages of every file dropped before each run",
        "(`posix_fadvise`, DONTNEED); folders and inodes stay. Start-up included, writes not",
        "waited for. Ratios are to `cp -r` of the same round, with their quartiles.",
        "",
    ]
    for kind in found["kinds"].values():
        rounds = kind["tools"]["cp -r"]["rounds"]
        lines += [
            f"{kind['files']} files, {kind['bytes'] / 1e6:.0f} MB in all; rounds: {rounds}:",
            "",
            "| run | s | least s | processor s | ratio | MB from the disk |",
            "|---|---|---|---|---|---|",
            *(
                f"| `{name}` | {times(one)} | {told_ratio(one)} | {one['from_disk'] / 1e6:.1f} |"
                for name, one in kind["tools"].items()
            ),
            "",
        ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few files, one round")
    parser.add_argument("--folder", type=Path, help="on a disk")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    quick, folder = given.quick, given.folder
    found = measure(folder, quick=quick) if folder else on_disk(quick=quick)
    print(json.dumps(found, indent=1) if given.json else "\n".join(markdown(found)))


if __name__ == "__main__":
    main()
