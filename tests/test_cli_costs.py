"""What a run of the command costs: imports, memory, and a plain way around argparse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dcmveil
from build import E, part10, sample_elements
from dcmveil import cli
from dcmveil.cli import arguments as arguments_module
from faces import shell
from samples import MIB, SAMPLE

HEAVY = {
    "argparse", "asyncio", "concurrent.futures", "ctypes", "dataclasses", "enum", "gettext",
    "hashlib", "importlib.metadata", "importlib.resources", "inspect", "json", "logging", "pathlib",
    "random", "re", "shutil", "socket", "subprocess", "tempfile", "threading", "typing", "zipfile",
    "zlib",
}  # fmt: skip


@pytest.mark.parametrize("arguments", [[], ["stream", "--quiet", "--profile", "basic"]])
def test_the_pipe_imports_nothing_heavy(key: Path, arguments: list[str]) -> None:
    modules = "import sys; print(*sys.modules, file=sys.stderr)"
    bare = subprocess.run([sys.executable, "-c", modules], capture_output=True, check=True)
    code = (
        f"from dcmveil.cli import main; main({[*arguments, '--key-file', str(key)]!r}); {modules}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=SAMPLE, capture_output=True, check=True
    )
    loaded = done.stderr.decode().split()
    assert "dcmveil.session" in loaded
    assert "dcmveil.faces.pipes" not in loaded  # that is for bulk
    assert not HEAVY & (set(loaded) - set(bare.stderr.decode().split()))


@pytest.mark.parametrize("command", ["copy", "patch"])
def test_plain_files_import_nothing_heavy(tmp_path: Path, key: Path, command: str) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "a").write_bytes(SAMPLE)
    arguments = [command, str(source), *([str(tmp_path / "out")] if command == "copy" else [])]
    modules = "import sys; print(*sys.modules)"
    bare = subprocess.run([sys.executable, "-c", modules], capture_output=True, check=True)
    code = (
        f"from dcmveil.cli import main; main({[*arguments, '--key-file', str(key)]!r}); {modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert b"1 rewritten" in done.stderr
    loaded = done.stdout.decode().split()
    assert not HEAVY & (set(loaded) - set(bare.stdout.decode().split()))


@pytest.mark.parametrize(
    ("arguments", "plain"),
    [
        (["copy", "a", "b"], True),
        (["copy", "a", "b", "--quiet", "--keep-names", "--key-file", "k"], True),
        (["copy", "--profile", "omidb", "a", "--option", "retain-uids,x", "b"], True),
        (["patch", "a"], True),
        (["patch", "a", "b", "c", "--ephemeral-key", "--pseudonyms", "t"], True),
        (["stream", "--quiet", "--atomic", "--edition", "2020a"], True),
        (["copy", "a", "b", "-j", "2"], True),
        (["patch", "-j16", "a", "--quiet"], True),
        (["patch", "--jobs", "0", "a"], True),
        (["patch", "a", "-j"], False),
        (["patch", "a", "-j", "two"], False),
        (["patch", "a", "-j", "²"], False),
        (["patch", "a", "-j", "-2"], False),
        (["patch", "a", "-j=2"], False),
        (["patch", "a", "--jobs=2"], False),
        (["patch", "a", "-j", "10000"], False),
        (["-j", "2"], False),
        (["copy", "a", "b", "--key-file=k"], False),
        (["patch", "a", "--durable"], False),
        (["copy", "--keep", "a", "b"], False),  # argparse takes it for --keep-...
        (["patch", "--", "-a"], False),
        (["copy", "a"], False),
        (["copy", "a", "b", "c"], False),
        (["patch"], False),
        (["patch", "a", "--keep-names"], False),
        (["copy", "a", "b", "--key-file"], False),
        (["copy", "a", "b", "--key-file", "--quiet"], False),
    ],
    ids=str,
)
def test_the_plain_way_and_argparse_agree(arguments: list[str], plain: bool) -> None:
    found = cli._plain_plan(arguments)
    assert (found is not None) == plain
    if found is not None:
        wanted = vars(arguments_module.parse(arguments))
        command = wanted.pop("command")
        told = vars(found)
        # the pipe imports its own only when it runs
        assert told.pop("command") is (cli._stream if command.__name__ == "run_pipe" else command)
        assert told == wanted


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss")
def test_memory_of_a_long_pipe(tmp_path: Path, key: Path) -> None:
    """256 MiB through a pipe in under 30 MB."""
    if os.environ.get("LD_PRELOAD"):
        pytest.skip("the sanitizers take memory of their own")
    size = 256 * MIB
    elements = [e for e in sample_elements() if isinstance(e, E) and e.tag < 0x7FE00010]
    head = tmp_path / "head"
    head.write_bytes(part10([*elements, E(0x7FE00010, "OW", b"", length=size)]))
    # A process starts with the peak of the one it was forked from: that must be a small one.
    measure = (
        "import resource, subprocess; "
        "code = subprocess.call(['sh', '-c', 'dcmveil --quiet > /dev/null']); "
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    script = f'{{ cat {head}; head -c {size} /dev/zero; }} | "{sys.executable}" -c "{measure}"'
    done = shell(script, key)
    code, kib = map(int, done.stdout.split())
    assert code == 0
    assert kib * 1024 < 30e6


def test_garbage_is_collected_once_the_veil_is_made() -> None:
    """The start is without; a run over many files must not be."""
    code = (
        "import gc, sys; from dcmveil import cli;"
        "plan = cli.Plan(); plan.ephemeral_key = True;"
        "plan.command = lambda plan: print(gc.isenabled(), pipe.make_veil(plan) and gc.isenabled())"
        " or 0;"
        "cli._plain_plan = lambda arguments: plan; from dcmveil.cli import pipe; cli.run()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(dcmveil.__file__).parents[1])}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert out.stdout == "False True\n"
