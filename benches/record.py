"""Run the benchmarks; keep what they found in benches/results/DATE-HOST/, with host and versions.

python benches/record.py            all of them, recorded
python benches/record.py --quick    within two minutes, printed and not recorded
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
import tempfile
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import peers
import pipe
import trees

HERE = Path(__file__).resolve().parent
PACKAGES = (
    "dcmveil", "pydicom", "dicognito", "dicom-anonymizer", "deid", "fw-file-rs", "python-gdcm",
    "pip",
)  # fmt: skip
PROGRAMS = {"cat": "--version", "dcmodify": "--version", "gdcmanon": "--version"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="within two minutes; not recorded")
    arguments = parser.parse_args()
    host = about_host()
    print(f"{host['cpu']}, {host['cores']} cores, load {host['load']}", file=sys.stderr)
    results = {"date": date.today().isoformat(), "host": host, "versions": versions()}
    results |= {"machine": machine(quick=arguments.quick)} | measured(quick=arguments.quick)
    text = "\n".join(markdown(results))
    print(text)
    if not arguments.quick:
        kind = re.sub(r"[^a-z0-9]+", "-", f"{host['cpu']} {host['cores']} cores".lower()).strip("-")
        folder = HERE / "results" / f"{results['date']}-{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (folder / "README.md").write_text(text)


def measured(*, quick: bool) -> dict[str, Any]:
    """What is measured as whole processes."""
    memory, cpus = pipe.default_folder(), pipe.default_cpus()
    found: dict[str, Any] = {
        "pipe": pipe.measure(memory, cpus, quick=quick),
        "peers": peers.measure(memory, cpus.split(",")[0], quick=quick),
        "trees": trees.measure([memory], quick=quick),
    }
    for disk in () if quick else trees.default_folders()[1:]:
        found["trees"] += trees.measure([disk], quick=False, files=10_000, rounds=3)
    return found


def about_host() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
        cpu = found[1] if found else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        # how much else ran: a busy machine shows in the quartiles
        "load": round(os.getloadavg()[0], 1),
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
        f"{host['cpu']}, {host['cores']} cores, {host['kernel']}; load {host['load']} before.",
        ", ".join(f"{name} {number}" for name, number in results["versions"].items()) + ".",
        "Made by `make bench`. Medians; `results.json` has the rest.",
        "",
    ]
    for long in results["pipe"]["long"]:
        lines += _long_table(long, results["pipe"]["cpus"])
    lines += _small_table(results["pipe"]["small"])
    lines += peers.markdown(results["peers"])
    lines += trees.markdown(results["trees"])
    return lines + _machine_table(results["machine"])


def _long_table(long: dict[str, Any], cpus: str) -> list[str]:
    return [
        f"## A pipe of {long['bytes'] / 2**30:.1f} GiB",
        "",
        "`cat file | X > /dev/null`, all on processors "
        f"{cpus}. Peak resident memory of dcmveil: {long['peak_rss'] / 1e6:.1f} MB.",
        "The ratio is to `cat | cat` of the same round, where there is a third process to",
        "`cat | cat | cat`; behind it the quartiles. `again` shows the noise.",
        "",
        "| pipe | s | least s | processor s | GB/s | ratio |",
        "|---|---|---|---|---|---|",
        *(
            f"| {_cell(name)} | {one['seconds']:.2f} | {one['least']:.2f} "
            f"| {one['cpu_seconds']:.2f} | {long['bytes'] / one['seconds'] / 1e9:.2f} "
            f"| {one['ratio']:.2f} ({one['ratio_low']:.2f}-{one['ratio_high']:.2f}) |"
            for name, one in long["pipes"].items()
        ),
        "",
    ]


def _cell(text: str) -> str:
    return "`" + text.replace("|", r"\|") + "`"


def _small_table(small: dict[str, Any]) -> list[str]:
    return [
        f"## One file of {small['bytes'] / 1000:.0f} KB, whole processes",
        "",
        "No two of these do the same work: see how many elements each changed, removed or added,",
        "and `benches/pipe.py` for what each was told.",
        "",
        "| command | ms | least ms | processor ms | elements changed |",
        "|---|---|---|---|---|",
        *(
            f"| {_cell(name)} | {one['seconds'] * 1e3:.1f} | {one['least'] * 1e3:.1f} "
            f"| {one['cpu_seconds'] * 1e3:.1f} | {one.get('elements_changed', '')} |"
            for name, one in small["tools"].items()
        ),
        "",
    ]


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
        lines.append(f"| {_cell(name)} | {' | '.join(cells)} |")
    return [*lines, ""]


if __name__ == "__main__":
    main()
