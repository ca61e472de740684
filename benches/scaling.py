"""How the time of a file grows with its size, and with the number of elements of its header.

    python benches/scaling.py [--quick] [--folder /dev/shm]

dcmveil and pydicom are called inside one process, so that no start is in their figures; cp and
dcmodify are one process over all files of a size. All of them on one processor, in turns. How a run
grows with its workers is in trees.py.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import inputs
import peer_runs
from contest import (
    GIB,
    changed,
    clear,
    default_folder,
    in_turns,
    on_one_processor,
    ratios,
    told_ratio,
    workplace,
    write_files,
)
from peers import files_in

import dcmveil

# (about so many bytes or elements, files)
SIZES = ((10_000, 200), (100_000, 100), (10**6, 50), (10**7, 10), (10**8, 3), (GIB, 1))
ELEMENTS = ((100, 100), (1_000, 50), (10_000, 10), (100_000, 2))
IN_PLACE = {"patch", "dcmodify"}
Way = Callable[[Path, Path], object]  # from a folder of files into a folder


def ours(veil: dcmveil.Veil) -> dict[str, Way]:
    def copy(src: Path, dst: Path) -> None:
        for path in src.iterdir():
            veil.copy(path, dst / path.name)

    def stream(src: Path, dst: Path) -> None:
        for path in src.iterdir():
            with path.open("rb", buffering=0) as one, (dst / path.name).open("wb", 0) as other:
                veil.stream(one, other)

    def patch(_: Path, dst: Path) -> None:
        for path in list(dst.iterdir()):
            veil.patch(path)

    return {"cp": _cp, "copy": copy, "stream": stream, "patch": patch}


def _cp(src: Path, dst: Path) -> None:
    subprocess.run(["cp", *src.iterdir(), dst], check=True)


def theirs(listed: Path) -> dict[str, Way]:
    def dcmodify(_: Path, dst: Path) -> None:
        listed.write_text("".join(f"{path}\n" for path in dst.iterdir()))
        subprocess.run(peer_runs.dcmodify(str(listed)), check=True)

    found: dict[str, Way] = {"pydicom": lambda src, dst: peer_runs.pydicom(str(src), str(dst))}
    return found | ({"dcmodify": dcmodify} if shutil.which("dcmodify") else {})


def point(source: Path, work: Path, commands: dict[str, Way], rounds: int) -> dict[str, Any]:
    """Seconds a file of a folder, each way. The slow get one file of it."""
    files = sorted(source.iterdir())
    few = source.with_name("few")
    few.mkdir()
    shutil.copy(files[0], few)
    seen: set[str] = set()

    def once(name: str) -> float:
        src = few if name == "pydicom" else source
        clear(work)
        work.mkdir()
        if name in IN_PLACE:
            _cp(src, work)
        start = time.perf_counter()
        commands[name](src, work)
        elapsed = time.perf_counter() - start
        made = sorted(path for path in files_in(work) if path.name == files[0].name)
        if not made:
            raise SystemExit(f"{name} made nothing")
        if name not in seen and name != "cp" and not changed(files[0], made[0], pixels=False):
            raise SystemExit(f"{name} changed nothing")
        seen.add(name)
        return elapsed / (1 if src == few else len(files))

    with on_one_processor():
        taken = in_turns(list(commands), once, rounds)
    for folder in (work, few):
        clear(folder)
    return {
        name: {"seconds": median(each), "least": min(each), **ratios(each, taken["cp"])}
        for name, each in taken.items()
    }


def measure(folder: Path, *, quick: bool) -> dict[str, Any]:
    sizes, elements = (SIZES[:4:3], ELEMENTS[:3:2]) if quick else (SIZES, ELEMENTS)
    found: dict[str, Any] = {"folder": str(folder), "sizes": [], "elements": []}
    with workplace(folder) as (place, key):
        veil = dcmveil.Veil(key=dcmveil.read_key(key))
        source, work = place / "source", place / "work"
        for about, count in sizes:
            source.mkdir()
            for number in range(count):
                size = inputs.write_native(source / f"{number}.dcm", about, number)
            tools = point(source, work, ours(veil), 2 if quick else 5)
            found["sizes"].append({"bytes": size, "files": count, "tools": tools})
            clear(source)
        for about, count in elements:
            data = inputs.contours(about)
            write_files(place / "made", data, count)
            shutil.move(place / "made" / "0000", source)
            report = veil.stream(io.BytesIO(data), io.BytesIO())
            tools = point(source, work, ours(veil) | theirs(place / "list"), 1 if quick else 3)
            found["elements"].append(
                {"elements": report.elements, "bytes": len(data), "files": count, "tools": tools}
            )
            clear(source)
    return found


def markdown(found: dict[str, Any]) -> list[str]:
    return [
        f"## Time of a file by its size, in `{found['folder']}`",
        "",
        "Native pixels; calls inside one process, on one processor. `cp` is one process over all",
        "files of a size. Behind a time is its ratio to `cp` of the same round.",
        "",
        *_table(found["sizes"], "bytes"),
        "## Time of a file by the elements of its header",
        "",
        "RT structure sets; `dcmodify` is one process over all files, too.",
        "",
        *_table(found["elements"], "elements"),
    ]


def _table(points: list[dict[str, Any]], by: str) -> list[str]:
    names = list(points[0]["tools"])
    lines = [
        f"| {by} | files | {' | '.join(f'`{name}` µs' for name in names)} |",
        "|---|---|" + "---|" * len(names),
    ]
    for one in points:
        cells = [
            f"{tool['seconds'] * 1e6:,.0f}" + ("" if name == "cp" else f"; {told_ratio(tool)}")
            for name, tool in one["tools"].items()
        ]
        lines.append(f"| {one[by]:,} | {one['files']} | {' | '.join(cells)} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds")
    parser.add_argument("--folder", type=Path, default=default_folder(), help="for the inputs")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.folder, quick=given.quick)
    print(json.dumps(found, indent=1) if given.json else "\n".join(markdown(found)))


if __name__ == "__main__":
    main()
