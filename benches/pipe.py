"""Whole processes: pipes of gigabytes against cat and dd, and one small file against other tools.

    python benches/pipe.py [--quick] [--cpus 0,1] [--folder /dev/shm]

Both sides of a comparison run on the same processors; contest.py says how they take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

import inputs
from contest import (
    DCMVEIL,
    GIB,
    PYTHON,
    Runner,
    cell,
    changed,
    default_cpus,
    default_folder,
    ratios,
    summary,
    told_ratio,
    workplace,
)

# What people do today with one small file. None of these does the same work as another: the
# number of elements each one changed stands beside its time.
_PYDICOM = """
import sys, pydicom
ds = pydicom.dcmread(sys.argv[1])
uids = {}
def change(_, e):
    if e.tag.is_private:
        return
    if e.VR == "PN":
        e.value = "ANON"
    elif e.VR in ("DA", "TM", "DT"):
        e.value = ""
    elif e.VR == "UI" and e.keyword.endswith("InstanceUID"):
        e.value = uids.setdefault(e.value, pydicom.uid.generate_uid())
ds.walk(change)
ds.PatientID = "ANON"
ds.remove_private_tags()
ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
ds.save_as(sys.argv[2])
"""
_DCMODIFY = "cp {src} {dst} && dcmodify -nb -q -ep -gst -gse -gin -imt " + " ".join(
    f"-ma '({tag})={value}'"
    for tag, value in {
        "0010,0010": "ANON", "0010,0020": "ANON", "0010,0030": "", "0008,0020": "",
        "0008,0021": "", "0008,0080": "", "0008,0090": "",
    }.items()
) + " {dst}"  # fmt: skip
_GDCMANON = (
    "gdcmanon --dumb -i {src} -o {dst} --replace 10,10=ANON --replace 10,20=ANON --empty 10,30 "
    "--empty 8,20 --empty 8,21 --empty 8,80 --empty 8,90"
)

DD = "dd bs=1M status=none"
# What the kernel alone can do: no byte is looked at.
SPLICE = f"{PYTHON} -I -S -c 'import os\nwhile os.splice(0, 1, 1 << 20): pass'"


# -- long ones -------------------------------------------------------------------------------------


def long_pipes(runner: Runner, source: Path, rounds: int) -> dict[str, Any]:
    """dcmveil in the place of a cat, at the end or in between."""
    check(runner, source)
    commands = {
        "cat | cat": f"cat {source} | cat > /dev/null",
        "cat | dcmveil": f"cat {source} | {DCMVEIL} --quiet > /dev/null",
        "cat | cat again": f"cat {source} | cat > /dev/null",
        "cat | dd bs=1M": f"cat {source} | {DD} > /dev/null",
        "cat | cat | cat": f"cat {source} | cat | cat > /dev/null",
        "cat | dcmveil | cat": f"cat {source} | {DCMVEIL} --quiet | cat > /dev/null",
    }
    taken = runner.rounds(commands, rounds)
    result = summary(taken, "cat | cat")
    last = "cat | dcmveil | cat"
    elapsed = {name: [run[0] for run in runs] for name, runs in taken.items()}
    result[last] |= ratios(elapsed[last], elapsed["cat | cat | cat"])
    # in the middle of a pipe, as above
    peak = runner.counted(f"cat {source} | {DCMVEIL} --quiet > /dev/null").peak
    return {"bytes": source.stat().st_size, "peak_rss": peak, "pipes": result}


def pinned_pipes(key: Path, source: Path, cpus: str, rounds: int) -> dict[str, Any]:
    """Each process on a processor of its own, and both on one. An output that is appended to cannot
    be spliced into, so there dcmveil reads and writes, as cat does always."""
    first, _, second = cpus.partition(",")
    layouts = {"both on one": (first, first)}
    if second:
        layouts = {"each on its own": (first, second)} | layouts
    runner = Runner(key, "")
    found = {}
    for layout, (one, other) in layouts.items():
        sending = f"taskset -c {one} cat {source} | taskset -c {other}"
        commands = {
            "cat | cat": f"{sending} cat >> /dev/null",
            "cat | dcmveil, read and write": f"{sending} {DCMVEIL} --quiet >> /dev/null",
            "cat | cat again": f"{sending} cat >> /dev/null",
            "cat | dcmveil, splice": f"{sending} {DCMVEIL} --quiet > /dev/null",
        }
        if hasattr(os, "splice"):
            commands["cat | a bare loop of splice"] = f"{sending} {SPLICE} > /dev/null"
        found[layout] = summary(runner.rounds(commands, rounds), "cat | cat")
    return {"bytes": source.stat().st_size, "layouts": found}


def check(runner: Runner, source: Path) -> None:
    """The pipe that is timed gives a file of the same length with other values."""
    made = source.with_suffix(".out")
    runner.seconds(f"cat {source} | {DCMVEIL} --quiet > {made}")
    if made.stat().st_size != source.stat().st_size or not changed(source, made, pixels=False):
        raise SystemExit("the pipe did not rewrite its input")
    made.unlink()


# -- one small file --------------------------------------------------------------------------------


def small_file(runner: Runner, folder: Path, rounds: int) -> dict[str, Any]:
    """One MR image of 10 KB, from file to file, process and all."""
    source = folder / "dcmveil-small.dcm"
    source.write_bytes(inputs.mr())
    script = folder / "with_pydicom.py"
    script.write_text(_PYDICOM)
    commands = {
        "python -c pass": f"{PYTHON} -c pass < {{src}} > {{dst}}",
        "cat": "cat < {src} > {dst}",
        "dcmveil": f"{DCMVEIL} --quiet < {{src}} > {{dst}}",
        "dcmodify": _DCMODIFY,
        "gdcmanon": _GDCMANON,
        "pydicom": f"{PYTHON} {script} {{src}} {{dst}}",
        "dicognito": f"{PYTHON} -m dicognito --quiet --output-directory {{out}} {{src}}",
    }
    if importlib.util.find_spec("dicognito") is None:
        del commands["dicognito"]
    out = folder / "out"
    ready = {}
    for name, command in commands.items():
        program = command.split(" && ")[-1].split()[0]
        if shutil.which(program):
            ready[name] = command.format(src=source, dst=_target(folder, name), out=out)
    result = summary(runner.rounds(ready, rounds), "dcmveil")
    for name, values in result.items():
        made = max(out.glob("*")) if name == "dicognito" else _target(folder, name)
        if made.stat().st_size:
            values["elements_changed"] = changed(source, made)
    return {"bytes": source.stat().st_size, "tools": result}


def _target(folder: Path, name: str) -> Path:
    return folder / f"{name.split()[0]}.dcm"


# -- all -------------------------------------------------------------------------------------------


def measure(folder: Path, cpus: str, *, quick: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"cpus": cpus, "long": [], "pinned": {}}
    with workplace(folder) as (place, key):
        runner = Runner(key, cpus)
        source = place / "long.dcm"
        for gib, rounds in [(1, 2)] if quick else [(1, 11), (4, 3)]:
            inputs.write_native(source, gib * GIB)
            found["long"].append(long_pipes(runner, source, rounds))
            if gib == 1 and shutil.which("taskset"):
                found["pinned"] = pinned_pipes(key, source, cpus, 1 if quick else 7)
        inputs.write_encapsulated(source)
        found["encapsulated"] = long_pipes(runner, source, 2 if quick else 11)
        source.unlink()
        found["small"] = small_file(runner, place, 5 if quick else 31)
    return found


def markdown(found: dict[str, Any]) -> list[str]:
    lines = []
    for long in found["long"]:
        lines += _long_table(long, found["cpus"], "native pixels")
    if found["encapsulated"]:
        lines += _long_table(found["encapsulated"], found["cpus"], "10,000 fragments")
    if found["pinned"]:
        size = found["pinned"]["bytes"]
        lines += [
            f"## A pipe of {size / GIB:.1f} GiB, each process pinned",
            "",
            "`cat file | X`; the ratio is to `cat | cat` of the same round, with its quartiles.",
            "",
        ]
        for layout, pipes in found["pinned"]["layouts"].items():
            lines += [f"{layout.capitalize()} of the processors {found['cpus']}:", ""]
            lines += _pipes(pipes, size)
    return lines + _small_table(found["small"])


def _long_table(long: dict[str, Any], cpus: str, what: str) -> list[str]:
    return [
        f"## A pipe of {long['bytes'] / GIB:.1f} GiB, {what}",
        "",
        "`cat file | X > /dev/null`, all on processors "
        f"{cpus}. Peak resident memory of dcmveil: {long['peak_rss'] / 1e6:.1f} MB.",
        "The ratio is to `cat | cat` of the same round, where there is a third process to",
        "`cat | cat | cat`; behind it the quartiles. `again` shows the noise.",
        "",
        *_pipes(long["pipes"], long["bytes"]),
    ]


def _pipes(pipes: dict[str, Any], size: int) -> list[str]:
    return [
        "| pipe | s | least s | processor s | GB/s | ratio |",
        "|---|---|---|---|---|---|",
        *(
            f"| {cell(name)} | {one['seconds']:.2f} | {one['least']:.2f} "
            f"| {one['cpu_seconds']:.2f} | {size / one['seconds'] / 1e9:.2f} | {told_ratio(one)} |"
            for name, one in pipes.items()
        ),
        "",
    ]


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
            f"| {cell(name)} | {one['seconds'] * 1e3:.1f} | {one['least'] * 1e3:.1f} "
            f"| {one['cpu_seconds'] * 1e3:.1f} | {one.get('elements_changed', '')} |"
            for name, one in small["tools"].items()
        ),
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1 GiB and 0.5, few rounds")
    parser.add_argument("--cpus", default=default_cpus(), help="processors for all contestants")
    parser.add_argument("--folder", type=Path, default=default_folder(), help="for the inputs")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.folder, given.cpus, quick=given.quick)
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(found, indent=1) if given.json else "\n".join(markdown(found)))


if __name__ == "__main__":
    main()
