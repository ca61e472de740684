"""Run the benchmarks; keep what they found in benches/results/DATE-HOST/, with host and versions.

python benches/record.py                     all of them, recorded
python benches/record.py --only peers,pipe   these; the others stay as they are in the folder
python benches/record.py --quick             within two minutes, printed and not recorded

The folder is written after each part, so a part that fails loses no other. --folder names another
one, to go on with the record of yesterday.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cold
import large
import peers
import pipe
import scaling
import trees
from contest import cell, default_cpus, default_folder

HERE = Path(__file__).resolve().parent
PACKAGES = (
    "dcmveil", "pydicom", "dicognito", "dicom-anonymizer", "deid", "fw-file-rs", "python-gdcm",
    "pip",
)  # fmt: skip
PROGRAMS = {"cat": "--version", "dcmodify": "--version", "gdcmanon": "--version"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="within two minutes; not recorded")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--folder", type=Path, help="of the results (default: of today)")
    given = parser.parse_args()
    wanted = given.only.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    host = about_host()
    folder = given.folder or HERE / "results" / name_of(host)
    if given.quick:
        results = fresh(host)
        for name in wanted:
            add(results, name, quick=True)
        print("\n".join(markdown(results)))
        return
    results = fresh(host) if len(wanted) == len(PARTS) else read(folder, host)
    for name in wanted:
        add(results, name, quick=False)
        write(folder, results)
    if importlib.util.find_spec("matplotlib") is not None:
        import charts

        charts.draw(folder)
    else:
        print("matplotlib is not installed: no charts", file=sys.stderr)
    print(folder)


def fresh(host: dict[str, Any]) -> dict[str, Any]:
    return {"date": date.today().isoformat(), "host": host, "versions": {}, "parts": {}}


def name_of(host: dict[str, Any]) -> str:
    kind = re.sub(r"[^a-z0-9]+", "-", f"{host['cpu']} {host['cores']} cores".lower()).strip("-")
    return f"{date.today().isoformat()}-{kind}"


def add(results: dict[str, Any], name: str, *, quick: bool) -> None:
    """One part, and under what circumstances it was measured."""
    load = os.getloadavg()[0]
    start = time.perf_counter()
    print(f"{name} ...", file=sys.stderr, flush=True)
    results[name] = PARTS[name][0](quick)
    minutes = (time.perf_counter() - start) / 60
    print(f"{name}: {minutes:.1f} minutes, load {load:.1f} before", file=sys.stderr, flush=True)
    results["versions"] = versions()
    results["parts"][name] = {
        "date": date.today().isoformat(),
        "commit": commit_of(HERE.parent),
        # how much else ran: a busy machine shows in the quartiles
        "load": round(load, 1),
        "minutes": round(minutes, 1),
    }


def read(folder: Path, host: dict[str, Any]) -> dict[str, Any]:
    """What the folder holds already; of a record that was not made of parts, nothing."""
    kept = folder / "results.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    return found if "parts" in found else fresh(host)


def write(folder: Path, results: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "README.md").write_text("\n".join(markdown(results)))


def about_host() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
        cpu = found[1] if found else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    for name, option in PROGRAMS.items():
        if shutil.which(name):
            told = subprocess.run([name, option], capture_output=True, text=True, check=False)
            number = re.search(r"\d+\.\d+(\.\d+)?", told.stdout + told.stderr)
            found[name] = number[0] if number else "?"
    commit = commit_of(HERE.parent)
    return found | ({"commit": commit} if commit else {})


def commit_of(folder: Path) -> str:
    """The commit that was measured, "" where there is no repository."""
    if not shutil.which("git"):
        return ""
    git = ["git", "-C", str(folder)]
    told = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    compare = [*git, "diff", "--quiet", "HEAD", "--", "src", "ext"]
    changed = subprocess.run(compare, capture_output=True, check=False)
    return told.stdout.strip() + (" and changes" if changed.returncode == 1 else "")


def machine(*, quick: bool) -> dict[str, dict[str, Any]]:
    """What test_machine.py measures, by test."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "benchmark.json")
        command = [sys.executable, "-m", "pytest", str(HERE), "--benchmark-only", "-p"]
        command += ["no:cacheprovider", f"--benchmark-json={file}", "--benchmark-quiet"]
        command += [f"--benchmark-max-time={0.3 if quick else 2}", "--rootdir", str(HERE.parent)]
        # Seconds of warming up: the first rounds of a process are slower.
        command += ["--benchmark-warmup=on", "--benchmark-warmup-iterations=3"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stdout)
        told = json.loads(file.read_text())
    found = {}
    for test in told["benchmarks"]:
        kept = {name: test["stats"][name] for name in ("min", "median", "iqr", "rounds")}
        found[test["name"].removeprefix("test_")] = kept | test["extra_info"]
    return found


# -- the table -------------------------------------------------------------------------------------


def markdown(results: dict[str, Any]) -> list[str]:
    host = results["host"]
    lines = [
        f"# dcmveil {results['versions']['dcmveil']}, {results['date']}",
        "",
        f"{host['cpu']}, {host['cores']} cores, {host['kernel']}.",
        ", ".join(f"{name} {number}" for name, number in results["versions"].items()) + ".",
        "Made by `make bench`. Medians; `results.json` has the rest.",
        "",
        "| part | date | commit | load before | minutes |",
        "|---|---|---|---|---|",
    ]
    parts = [name for name in PARTS if name in results["parts"]]
    for name in parts:
        cells = results["parts"][name].values()
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    lines.append("")
    for name in parts:
        lines += PARTS[name][1](results[name])
    return lines


def _machine_table(found: dict[str, Any]) -> list[str]:
    lines = [
        "## In one process",
        "",
        "| benchmark | µs | least µs | elements | ns an element | least ns | GB/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in found.items():
        cells = [f"{one['median'] * 1e6:.1f}", f"{one['min'] * 1e6:.1f}", "", "", "", ""]
        if "elements" in one:
            cells[2:] = [
                str(one["elements"]),
                f"{one['median'] * 1e9 / one['elements']:.0f}",
                f"{one['min'] * 1e9 / one['elements']:.0f}",
                f"{one['bytes'] / one['median'] / 1e9:.2f}",
            ]
        lines.append(f"| {cell(name)} | {' | '.join(cells)} |")
    return [*lines, ""]


# A name: how it is measured, and how it is told.
PARTS: dict[str, tuple[Callable[[bool], Any], Callable[[Any], list[str]]]] = {
    "pipe": (
        lambda quick: pipe.measure(default_folder(), default_cpus(), quick=quick),
        pipe.markdown,
    ),
    "peers": (
        lambda quick: peers.measure(default_folder(), default_cpus().split(",")[0], quick=quick),
        peers.markdown,
    ),
    "trees": (lambda quick: trees.both(quick=quick), trees.markdown),
    "large": (lambda quick: large.both(quick=quick), large.markdown),
    "scaling": (lambda quick: scaling.measure(default_folder(), quick=quick), scaling.markdown),
    "cold": (lambda quick: cold.on_disk(quick=quick), cold.markdown),
    "machine": (lambda quick: machine(quick=quick), _machine_table),
}

if __name__ == "__main__":
    main()
