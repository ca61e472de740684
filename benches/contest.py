"""What all contests share: who runs when, on which processors, and how figures are compared.

Contestants take turns within a round, in another order each round, and are compared round by
round: what else the machine does then hits all of them alike. `dcmveil` is the one installed beside
this Python, as a wheel.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import BinaryIO, NamedTuple, TypeVar

import inputs
import pydicom

BIN = Path(sys.executable).parent
PYTHON, DCMVEIL = str(BIN / "python"), str(BIN / "dcmveil")
GIB = 1 << 30
MEMORY = Path("/dev/shm")  # a file system in it, where the system has one
T = TypeVar("T")


# -- turns, and what is made of them ---------------------------------------------------------------


def in_turns(
    names: list[str], once: Callable[[str], T], rounds: int, *, warm: bool = True
) -> dict[str, list[T]]:
    """What `once` said of each name, round by round. The round before the first warms the caches
    and is not kept."""
    taken: dict[str, list[T]] = {name: [] for name in names}
    for number in range(-1 if warm else 0, rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            found = once(name)
            if number >= 0:
                taken[name].append(found)
    return taken


def ratios(own: list[float], base: list[float]) -> dict[str, float]:
    """The median of own / base of the same round, and its quartiles."""
    found = [a / b for a, b in zip(own, base, strict=True)]
    low, _, high = quantiles(found, n=4, method="inclusive") if len(found) > 1 else (found[0],) * 3
    return {"ratio": median(found), "ratio_low": low, "ratio_high": high, "rounds": len(found)}


def told_ratio(one: dict[str, float]) -> str:
    return f"{one['ratio']:.2f} ({one['ratio_low']:.2f}-{one['ratio_high']:.2f})"


def cell(text: str) -> str:
    """For a table in Markdown."""
    return "`" + text.replace("|", r"\|") + "`"


# -- places and processors -------------------------------------------------------------------------


def default_cpus() -> str:
    """Two of the processors that we may use: one for each end of a pipe."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return ",".join(map(str, allowed[:2]))


def default_folder() -> Path:
    """In memory, so that no disk is measured."""
    return MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir())


def default_folders() -> list[Path]:
    """One in memory and one on a disk."""
    memory, disk = default_folder(), Path(tempfile.gettempdir())
    return [memory] if memory == disk else [memory, disk]


@contextlib.contextmanager
def workplace(folder: Path) -> Iterator[tuple[Path, Path]]:
    """A folder of our own in `folder`, and a key in it."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="dcmveil-bench-") as inside:
        key = Path(inside, "bench.key")
        subprocess.run([BIN / "dcmveil", "key", "new", key], check=True)
        yield Path(inside), key


def environment(key: Path) -> dict[str, str]:
    """That of a user: bytecode is compiled and used, words are not translated."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DCMVEIL_", "PYTHON"))}
    return kept | {"DCMVEIL_KEY_FILE": str(key), "LC_ALL": "C"}


@contextlib.contextmanager
def on_one_processor() -> Iterator[None]:
    """This process, and those that it starts, stay on the first processor that they may use."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def clear(place: Path) -> None:
    """Nothing is in the way there any more. On a disk it is set aside, its files empty, until all
    is removed: ext4 passes over each inode that was removed within a minute when it makes a new
    one, which would be half of the time of a copy, and nobody's who has not just removed one."""
    if MEMORY in place.parents:
        # not shutil.rmtree: it takes longer than what is measured
        subprocess.run(["rm", "-rf", place], check=True)
    elif place.exists():
        shorten = ["find", place, "-type", "f", "-exec", "truncate", "-s", "0", "{}", "+"]
        subprocess.run(shorten, check=True)
        place.rename(tempfile.mkdtemp(dir=place.parent))


def write_files(folder: Path, data: bytes, count: int) -> None:
    """So many files with SOP Instance UIDs of their own, 500 in a folder."""
    old = inputs.instance_uid(data)
    for number in range(count):
        inside = folder / f"{number // 500:04}"
        inside.mkdir(parents=True, exist_ok=True)
        new = old[:-7] + b"%07d" % (1_000_000 + number)
        (inside / f"{number % 500:04}").write_bytes(data.replace(old, new))


# -- processes -------------------------------------------------------------------------------------


class Runner:
    """Runs shell commands on some processors and takes the time of each."""

    def __init__(self, key: Path, cpus: str) -> None:
        self.environment = environment(key)
        self._pin = ["taskset", "-c", cpus] if shutil.which("taskset") and cpus else []

    def seconds(self, command: str) -> tuple[float, float]:
        """(elapsed, processor) seconds, all processes of the command together."""
        start = time.perf_counter()
        child = subprocess.Popen([*self._pin, "sh", "-c", command], env=self.environment)
        _, status, used = os.wait4(child.pid, 0)
        elapsed = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"failed with {child.returncode}: {command}")
        return elapsed, used.ru_utime + used.ru_stime

    def started(self, command: list[str]) -> subprocess.Popen[str]:
        """A process that is asked by lines, and answers by lines."""
        return subprocess.Popen(
            [*self._pin, *command], env=self.environment, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def output(self, command: list[str], data: bytes) -> bytes:
        """Of one that reads these bytes."""
        done = subprocess.run(
            command, input=data, stdout=subprocess.PIPE, env=self.environment, check=True
        )
        return done.stdout

    def rounds(self, commands: dict[str, str], count: int) -> dict[str, list[tuple[float, float]]]:
        return in_turns(list(commands), lambda name: self.seconds(commands[name]), count)

    def counted(self, command: str) -> Counted:
        """The same, with its memory and what it read and wrote. Its start counts."""
        told = subprocess.check_output(
            [*self._pin, PYTHON, "-I", "-S", "-c", _COUNT, "sh", "-c", command],
            text=True,
            env=self.environment,
        )
        return Counted(**json.loads(told.splitlines()[-1]))


class Counted(NamedTuple):
    seconds: float
    peak: int  # resident bytes of the largest process; less than the launcher has, is not seen
    read: int  # bytes, by all system calls
    written: int


# A process starts with the peak of the one it was forked from: that must be a small one. On Linux
# what a process read and wrote can be seen until it is waited for.
_COUNT = """
import json, os, resource, sys, time
start = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
seconds = time.perf_counter() - start
words = {}
if os.path.exists(f"/proc/{child}/io"):
    words = dict(line.split(": ") for line in open(f"/proc/{child}/io"))
_, status = os.waitpid(child, 0)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({
    "seconds": seconds,
    "peak": peak if sys.platform == "darwin" else peak * 1024,
    "read": int(words.get("rchar", 0)),
    "written": int(words.get("wchar", 0)),
}))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def summary(taken: dict[str, list[tuple[float, float]]], base: str) -> dict[str, dict[str, float]]:
    """Medians of each contestant, and the median of its ratios to the base in the same round."""
    return {
        name: {
            "seconds": median(run[0] for run in runs),
            "least": min(run[0] for run in runs),
            "cpu_seconds": median(run[1] for run in runs),
            **ratios([run[0] for run in runs], [run[0] for run in taken[base]]),
        }
        for name, runs in taken.items()
    }


# -- what a contestant did -------------------------------------------------------------------------


def changes(
    before: Path | BinaryIO, after: Path | BinaryIO, *, pixels: bool = True
) -> dict[str, pydicom.DataElement | None]:
    """Elements that were changed or added, None for those that were removed, by their tag paths as
    dcmodify writes them: (0008,1140)[0].(0008,1155)."""
    one, two = (
        dict(_elements(pydicom.dcmread(data, stop_before_pixels=not pixels)))
        for data in (before, after)
    )
    return {
        place: two.get(place)
        for place in sorted(one.keys() | two.keys())
        if place not in one or place not in two or repr(one[place].value) != repr(two[place].value)
    }


def changed(before: Path, after: Path, *, pixels: bool = True) -> int:
    """How many elements were changed, removed or added, at any depth."""
    return len(changes(before, after, pixels=pixels))


def _elements(
    dataset: pydicom.Dataset, inside: str = ""
) -> Iterator[tuple[str, pydicom.DataElement]]:
    for element in [*getattr(dataset, "file_meta", ()), *dataset]:
        if element.VR != "SQ":
            yield f"{inside}{element.tag}", element
            continue
        for number, item in enumerate(element.value):
            yield from _elements(item, f"{inside}{element.tag}[{number}].")
