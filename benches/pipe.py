"""Whole processes: a pipe of gigabytes against cat, and one small file against other tools.

    python benches/pipe.py [--quick] [--rounds N] [--cpus 0,1] [--folder /dev/shm]

Contestants take turns within a round, in another order each round, and are compared round by
round: what else the machine does then hits all of them alike. Both sides of a comparison run on
the same processors. `dcmveil` is the one installed beside this Python, as a wheel.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import inputs
import pydicom

BIN = Path(sys.executable).parent
PYTHON, DCMVEIL = str(BIN / "python"), str(BIN / "dcmveil")
GIB = 1 << 30

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


def environment(key: Path) -> dict[str, str]:
    """That of a user: bytecode is compiled and used, words are not translated."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DCMVEIL_", "PYTHON"))}
    return kept | {"DCMVEIL_KEY_FILE": str(key), "LC_ALL": "C"}


class Runner:
    """Runs shell commands on some processors and takes the time of each."""

    def __init__(self, key: Path, cpus: str) -> None:
        self._environment = environment(key)
        self._pin = ["taskset", "-c", cpus] if shutil.which("taskset") and cpus else []

    def seconds(self, command: str) -> tuple[float, float]:
        """(elapsed, processor) seconds, all processes of the command together."""
        start = time.perf_counter()
        child = subprocess.Popen([*self._pin, "sh", "-c", command], env=self._environment)
        _, status, used = os.wait4(child.pid, 0)
        elapsed = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"failed with {child.returncode}: {command}")
        return elapsed, used.ru_utime + used.ru_stime

    def rounds(self, commands: dict[str, str], count: int) -> dict[str, list[tuple[float, float]]]:
        names = list(commands)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for number in range(-1, count):  # the round before the first warms the caches
            for name in names[number % len(names) :] + names[: number % len(names)]:
                result = self.seconds(commands[name])
                if number >= 0:
                    taken[name].append(result)
        return taken

    def peak(self, source: Path) -> int:
        """Peak resident bytes of dcmveil in the middle of a pipe."""
        # A process starts with the peak of the one it was forked from: that must be a small one.
        measure = (
            f"import resource, subprocess; subprocess.run(['{DCMVEIL}', '--quiet'], check=True, "
            "stdout=subprocess.DEVNULL); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        command = f"cat {source} | {PYTHON} -c {shlex.quote(measure)}"
        told = subprocess.check_output(["sh", "-c", command], env=self._environment)
        return int(told) * 1024


def summary(taken: dict[str, list[tuple[float, float]]], base: str) -> dict[str, dict[str, float]]:
    """Medians of each contestant, and the median of its ratios to the base in the same round."""
    result = {}
    for name, runs in taken.items():
        elapsed = [run[0] for run in runs]
        ratios = [a / b for (a, _), (b, _) in zip(runs, taken[base], strict=True)]
        low, _, high = quantiles(ratios, n=4)
        result[name] = {
            "seconds": median(elapsed),
            "least": min(elapsed),
            "cpu_seconds": median(run[1] for run in runs),
            "ratio": median(ratios),
            "ratio_low": low,
            "ratio_high": high,
            "rounds": len(runs),
        }
    return result


def long_pipes(runner: Runner, folder: Path, gib: int, rounds: int) -> dict[str, object]:
    """A native image of so many GiB: dcmveil in the place of a cat, at the end or in between."""
    source = folder / "dcmveil-bench.dcm"
    try:
        size = inputs.write_native(source, gib * GIB)
        commands = {
            "cat | cat": f"cat {source} | cat > /dev/null",
            "cat | dcmveil": f"cat {source} | {DCMVEIL} --quiet > /dev/null",
            "cat | cat again": f"cat {source} | cat > /dev/null",
            "cat | cat | cat": f"cat {source} | cat | cat > /dev/null",
            "cat | dcmveil | cat": f"cat {source} | {DCMVEIL} --quiet | cat > /dev/null",
        }
        taken = runner.rounds(commands, rounds)
        result = summary(taken, "cat | cat")
        middle = summary(taken, "cat | cat | cat")["cat | dcmveil | cat"]
        for name in ("ratio", "ratio_low", "ratio_high"):
            result["cat | dcmveil | cat"][name] = middle[name]
        return {"bytes": size, "peak_rss": runner.peak(source), "pipes": result}
    finally:
        source.unlink(missing_ok=True)


def small_file(runner: Runner, folder: Path, rounds: int) -> dict[str, object]:
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


def changed(before: Path, after: Path) -> int:
    """How many elements were changed, removed or added, at any depth."""
    one, two = (dict(_values(pydicom.dcmread(path))) for path in (before, after))
    return sum(one.get(place) != two.get(place) for place in one.keys() | two.keys())


def _values(dataset: pydicom.Dataset, inside: str = "") -> Iterator[tuple[str, str]]:
    for element in [*getattr(dataset, "file_meta", ()), *dataset]:
        if element.VR != "SQ":
            yield f"{inside}{element.tag}", repr(element.value)
            continue
        for number, item in enumerate(element.value):
            yield from _values(item, f"{inside}{element.tag}[{number}]")


def measure(folder: Path, cpus: str, *, quick: bool) -> dict[str, object]:
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        place = Path(inside)
        key = place / "bench.key"
        subprocess.run([BIN / "dcmveil", "key", "new", key], check=True)
        runner = Runner(key, cpus)
        long = [(1, 5)] if quick else [(1, 15), (4, 7)]
        return {
            "cpus": cpus,
            "long": [long_pipes(runner, place, gib, rounds) for gib, rounds in long],
            "small": small_file(runner, place, 7 if quick else 31),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1 GiB alone, few rounds")
    parser.add_argument("--cpus", default=default_cpus(), help="processors for all contestants")
    parser.add_argument("--folder", type=Path, default=default_folder(), help="for the inputs")
    arguments = parser.parse_args()
    result = measure(arguments.folder, arguments.cpus, quick=arguments.quick)
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(result, indent=1))


def default_cpus() -> str:
    """Two of the processors that we may use: one for each end of a pipe."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return ",".join(map(str, allowed[:2]))


def default_folder() -> Path:
    """In memory, so that no disk is measured."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else Path(tempfile.gettempdir())


if __name__ == "__main__":
    main()
