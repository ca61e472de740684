"""One large file: copied, rewritten in place, and given to the peers; memory of each.

    python benches/large.py [--quick] [--folder DIR ...]

A native multi-frame image of 1 GiB, and an encapsulated one of 0.5 GB with 10,000 fragments. The
peers are whole processes on one file. GDCM's way of editing in place is timed inside one Python
process, in which both libraries are loaded, and so is dcmveil's.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import inputs
from contest import (
    DCMVEIL,
    GIB,
    PYTHON,
    Counted,
    Runner,
    cell,
    changed,
    clear,
    default_cpus,
    default_folder,
    default_folders,
    in_turns,
    on_one_processor,
    ratios,
    told_ratio,
    workplace,
)
from peer_runs import IMPORTED, PEERS, dcmodify, gdcmanon
from peers import HERE
from pipe import DD
from trees import Contest, times

import dcmveil

NAME = "large.dcm"
HEAD = 1 << 16  # bytes at the start of the native image that hold all that a rule touches


# -- copies ----------------------------------------------------------------------------------------


def copies(key: Path, source: Path, work: Path, rounds: int) -> dict[str, Any]:
    """One file in a folder: copy against cp and dd."""
    [file] = source.iterdir()
    commands = {
        "cp -r": (False, lambda src, dst: ["cp", "-r", str(src), str(dst)]),
        "copy": (False, lambda src, dst: [DCMVEIL, "copy", "--quiet", "-j1", str(src), str(dst)]),
        "cp -r again": (False, lambda src, dst: ["cp", "-r", str(src), str(dst)]),
        "dd bs=1M": (
            False,
            lambda src, dst: ["sh", "-c", f"mkdir {dst} && {DD} if={file} of={dst}/{NAME}"],
        ),
    }
    tools = Contest(key, source, work, commands).run(rounds)
    return {"bytes": file.stat().st_size, "tools": tools}


# -- in place, in one process ----------------------------------------------------------------------


def in_process(key: Path, file: Path, rounds: int) -> dict[str, Any]:
    """Veil.patch against gdcm.FileAnonymizer, which edits in place only where every new value is as
    long as the old one, and writes all of the file again."""
    veil = dcmveil.Veil(key=dcmveil.read_key(key))
    calls: dict[str, Callable[[], object]] = {"Veil.patch": lambda: veil.patch(file)}
    if importlib.util.find_spec("gdcm") is not None:
        calls["gdcm.FileAnonymizer"] = lambda: replace_with_gdcm(file)
    with file.open("rb") as opened:
        head = opened.read(HEAD)
    size = file.stat().st_size

    def once(name: str) -> tuple[float, int, int]:
        with file.open("r+b") as opened:
            opened.write(head)
        before = transferred()
        start = time.perf_counter()
        calls[name]()
        elapsed = time.perf_counter() - start
        after = transferred()
        with file.open("rb") as opened:
            if opened.read(HEAD) == head or file.stat().st_size != size:
                raise SystemExit(f"{name} did not edit in place")
        return elapsed, after[0] - before[0], after[1] - before[1]

    with on_one_processor():
        taken = in_turns(list(calls), once, rounds)
    ours = [one[0] for one in taken["Veil.patch"]]
    return {
        name: {
            "seconds": median(one[0] for one in runs),
            "least": min(one[0] for one in runs),
            "read": median(one[1] for one in runs),
            "written": median(one[2] for one in runs),
            **ratios([one[0] for one in runs], ours),
        }
        for name, runs in taken.items()
    }


def replace_with_gdcm(file: Path) -> None:
    import gdcm

    anonymizer = gdcm.FileAnonymizer()
    anonymizer.SetInputFileName(str(file))
    anonymizer.SetOutputFileName(str(file))
    for group, element in ((0x0010, 0x0010), (0x0010, 0x0020)):
        anonymizer.Replace(gdcm.Tag(group, element), "ANON^ONE")  # as long as what is there
    if not anonymizer.Write():
        raise SystemExit("FileAnonymizer failed")


def transferred() -> tuple[int, int]:
    """(bytes read, bytes written) by this process until now; what this itself reads is taken off
    as well as can be: it is the same each time."""
    try:
        words = Path("/proc/self/io").read_text().split()
    except OSError:
        return 0, 0
    return int(words[1]), int(words[3])


# -- the peers -------------------------------------------------------------------------------------

# (in place, command)
Way = tuple[bool, Callable[[Path, Path], str]]


def ways(listed: Path) -> dict[str, Way]:
    """Each over a folder with one file."""
    found: dict[str, Way] = {
        "cp -r": (False, lambda src, dst: f"cp -r {src} {dst}"),
        "dcmveil copy": (False, lambda src, dst: f"{DCMVEIL} copy --quiet -j1 {src} {dst}"),
        "dcmveil patch": (True, lambda _, dst: f"{DCMVEIL} patch --quiet -j1 {dst}"),
        "dcmveil": (
            False,
            lambda src, dst: f"mkdir {dst} && {DCMVEIL} --quiet < {src}/{NAME} > {dst}/{NAME}",
        ),
    }
    if shutil.which("dcmodify"):
        edit = dcmodify(str(listed))[-1]
        found["dcmodify"] = (True, lambda _, dst: edit)
    if shutil.which("gdcmanon"):
        found["gdcmanon"] = (False, gdcmanon)
    for name in PEERS:
        if importlib.util.find_spec(IMPORTED.get(name, name)) is not None:
            run = f"{PYTHON} {HERE / 'peer_runs.py'} {name} {{src}} {{dst}}"
            found[name] = (False, lambda src, dst, run=run: run.format(src=src, dst=dst))
    return found


def peers(key: Path, source: Path, work: Path, cpus: str, rounds: int) -> dict[str, Any]:
    """Seconds and memory of each, start-up included."""
    listed = work.with_name("list")
    listed.write_text(f"{work / NAME}\n")
    commands = ways(listed)
    runner = Runner(key, cpus)
    seen: dict[str, int] = {}

    def once(name: str) -> Counted:
        in_place, command = commands[name]
        clear(work)
        if in_place:
            subprocess.run(["cp", "-r", source, work], check=True)
        found = runner.counted(command(source, work))
        if name not in seen:
            made = [path for path in work.rglob("*") if path.is_file()]
            seen[name] = changed(source / NAME, made[0], pixels=False) if made else 0
            if not seen[name] and name not in {"cp -r", "fw_file_rs"}:
                raise SystemExit(f"{name} changed nothing")
        return found

    taken = in_turns(list(commands), once, rounds, warm=False)
    clear(work)
    return {
        name: {
            "in_place": commands[name][0],
            "seconds": median(one.seconds for one in runs),
            "peak_rss": max(one.peak for one in runs),
            "read": median(one.read for one in runs),
            "written": median(one.written for one in runs),
            "elements_changed": seen[name],
            "rounds": len(runs),
        }
        for name, runs in taken.items()
    }


# -- all -------------------------------------------------------------------------------------------


def measure(folders: list[Path], cpus: str, *, quick: bool) -> list[dict[str, Any]]:
    """The first folder is the one in memory, where the peers are measured too."""
    found = []
    for folder in folders:
        with workplace(folder) as (place, key):
            source, work = place / "large", place / "work"
            source.mkdir()
            one: dict[str, Any] = {"folder": str(folder)}
            inputs.write_native(source / NAME, GIB // 8 if quick else GIB)
            rounds = 2 if quick else 7
            one["native"] = copies(key, source, work, rounds)
            if folder == folders[0]:
                one["peers"] = peers(key, source, work, cpus, 1 if quick else 3)
                one["cpus"] = cpus
            # last, since it is edited in place
            one["in_process"] = in_process(key, source / NAME, 3 if quick else 9)
            inputs.write_encapsulated(source / NAME, 1_000 if quick else 10_000)
            one["encapsulated"] = copies(key, source, work, rounds)
        found.append(one)
    return found


def both(*, quick: bool) -> list[dict[str, Any]]:
    """In memory, and on a disk."""
    folders = [default_folder()] if quick else default_folders()
    return measure(folders, default_cpus().split(",")[0], quick=quick)


def markdown(found: list[dict[str, Any]]) -> list[str]:
    lines = []
    for one in found:
        for what in ("native", "encapsulated"):
            big = one[what]
            lines += [
                f"## One {what} file of {big['bytes'] / GIB:.2f} GiB in `{one['folder']}`",
                "",
                "| run | s | least s | processor s | ratio |",
                "|---|---|---|---|---|",
                *(f"| `{n}` | {times(t)} | {told_ratio(t)} |" for n, t in big["tools"].items()),
                "",
            ]
        size = f"{one['native']['bytes'] / GIB:.2f} GiB"
        lines += [
            f"## In place, {size} in `{one['folder']}`, calls in one Python process",
            "",
            "Bytes by all system calls of the process. The ratio is to `Veil.patch`.",
            "",
            "| call | ms | least ms | bytes read | bytes written | ratio |",
            "|---|---|---|---|---|---|",
            *(
                f"| `{name}` | {call['seconds'] * 1e3:.2f} | {call['least'] * 1e3:.2f} "
                f"| {call['read']:,.0f} | {call['written']:,.0f} | {told_ratio(call)} |"
                for name, call in one["in_process"].items()
            ),
            "",
        ]
        if "peers" in one:
            lines += _peers_table(one, size)
    return lines


def _peers_table(one: dict[str, Any], size: str) -> list[str]:
    lines = [
        f"## Whole processes on {size} in `{one['folder']}`",
        "",
        f"On processor {one['cpus']}, rounds: {one['peers']['cp -r']['rounds']}. Peak resident "
        "memory of the largest process; under 10 MB it is",
        "that of the launcher. Bytes read and written by system calls, start-up included.",
        "",
        "| tool | s | peak MB | MB read | MB written | elements changed |",
        "|---|---|---|---|---|---|",
    ]
    for name, tool in sorted(one["peers"].items(), key=lambda item: item[1]["peak_rss"]):
        where = " (in place)" if tool["in_place"] else ""
        lines.append(
            f"| {cell(name)}{where} | {tool['seconds']:.2f} | {tool['peak_rss'] / 1e6:.1f} "
            f"| {tool['read'] / 1e6:.1f} | {tool['written'] / 1e6:.1f} "
            f"| {tool['elements_changed'] or ''} |"
        )
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="an eighth of the size, few rounds")
    parser.add_argument("--folder", type=Path, nargs="+", help="where (default: memory and disk)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    cpus = default_cpus().split(",")[0]
    folder = given.folder
    found = measure(folder, cpus, quick=given.quick) if folder else both(quick=given.quick)
    print(json.dumps(found, indent=1) if given.json else "\n".join(markdown(found)))


if __name__ == "__main__":
    main()
