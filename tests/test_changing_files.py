"""Files that another process cuts or lengthens while `Ordinary` has them in hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from both_ways import HEAD, KEY, WINDOW, Opened, applied, engine_of, veil_of
from dcmveil import Veil
from dcmveil.engine import Engine
from dcmveil.faces import patch
from dcmveil.faces.ordinary import Ordinary
from faces import environment
from made_files import MADE
from preloaded import library


class Meddling:
    """An engine that lets something happen once the start of a file was read."""

    def __init__(self, engine: Engine, what: Callable[[], None]) -> None:
        self._engine, self._what = engine, what

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def answers(self, *arguments: Any) -> Any:
        self._what()
        return self._engine.answers(*arguments)


@pytest.mark.parametrize("change", [-1, -100, -30000, 1, 100, 70000])
@pytest.mark.parametrize("name", ["bulk", "bulk at the end", "long text", "fragments", "document"])
def test_a_file_that_shrinks_or_grows(place: Path, name: str, change: int) -> None:
    """What comes out is the file as it was when its length was asked for, or nothing."""
    basic = veil_of(place)
    data = MADE[name]

    def meddle() -> None:
        os.truncate(opened.path, max(0, len(data) + change))

    for size in ((2048, 4096), (2048, WINDOW), (HEAD, WINDOW)):
        for act in ("plan", "copy"):
            opened = Opened.of(place, data)
            engine: Any = Meddling(engine_of(basic), meddle)
            way = Ordinary(engine, gap=patch.GAP, head=size[0], window=size[1])
            if act == "plan":
                planned = opened.planned(way)
                assert planned is None or applied(data, planned.edits) == basic.bytes(data)
            else:
                copied = opened.copied(way)
                assert copied is None or copied[0] == basic.bytes(data)
                if change < 0 and len(data) > size[0]:
                    assert copied is None


# Somebody else sets the length of a file to LENGTH right before its first byte is read.
_SETS_LENGTH = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

static void set_length(void) {
    static int done;
    if (!done++ && truncate(getenv("VICTIM"), atol(getenv("LENGTH"))) != 0)
        abort();
}

ssize_t pread(int file, void *data, size_t n, off_t offset) {
    ssize_t (*real)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, "pread");
    set_length();
    return real(file, data, n, offset);
}

ssize_t pread64(int file, void *data, size_t n, off64_t offset) {
    ssize_t (*real)(int, void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pread64");
    set_length();
    return real(file, data, n, offset);
}
"""
_READS = """
import os, sys
from dcmveil import Veil
from dcmveil.faces.files import KernelCopy
way = Veil(key=bytes(range(32))).ordinary()
act, path = sys.argv[1:3]
with open(path, "rb") as src, open(path + ".out", "w+b") as dst:
    before = os.fstat(src.fileno()).st_size
    if act == "plan":
        done = way.plan(src.fileno(), b"name", bytearray())
    else:
        done = way.copy(src.fileno(), dst.fileno(), KernelCopy().bulk)
    assert os.fstat(src.fileno()).st_size != before
print(done)
"""


@pytest.fixture(scope="module")
def setting_length(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("length"), _SETS_LENGTH)


@pytest.mark.parametrize("act", ["plan", "copy"])
@pytest.mark.parametrize("change", [-(1 << 30), -1, 1, 100_000])
def test_a_length_that_changes_before_the_first_read(
    place: Path, setting_length: Path, act: str, change: int
) -> None:
    data = MADE["sample, explicit-le, False"]
    opened = Opened.of(place, data)
    done = subprocess.run(
        [sys.executable, "-c", _READS, act, opened.path],
        env=environment(
            LD_PRELOAD=str(setting_length),
            VICTIM=str(opened.path),
            LENGTH=str(max(0, len(data) + change)),
        ),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    taken = done.stdout == "True\n"
    assert not (taken and change < 0)
    if taken and act == "copy":
        assert opened.target.read_bytes() == Veil(key=KEY).bytes(data)
