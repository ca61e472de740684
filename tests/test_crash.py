"""A run that was killed, and the same command again: see crashes.py, whose rounds are run here for
a short time. What a power cut leaves cannot be made here; the order of the calls can be seen."""

from __future__ import annotations

import csv
import os
import random
import re
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest

import crashes
from build import E, encode, part10
from crashes import KINDS, Crashes, elements_with, leftovers, read_tree
from dcmveil.faces.journal import FOLDER, Journal, recover
from faces import DCMVEIL, SECONDS, children, environment, run, run_forked, wait_for
from preloaded import library

KILLS = 20


@pytest.mark.parametrize("kind", KINDS)
def test_kills(tmp_path: Path, kind: str) -> None:
    seed = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(1 << 30)))
    print(f"KILL_SEED={seed}")
    rounds = Crashes(tmp_path, **KINDS[kind], seed=seed, scale=1)
    kills = KILLS if rounds.raw and rounds.keep else KILLS // 2
    while rounds.kills < kills or rounds.inside < kills // 3:
        assert rounds.kills < 10 * kills, dict(rounds.counts)
        rounds.round()


# -- one worker ------------------------------------------------------------------------------------


def test_a_worker_that_dies_leaves_nothing_behind(tmp_path: Path, key: Path) -> None:
    """Its batch is reported, and the run goes on; the next one does the rest."""
    source = tmp_path / "source"
    crashes.make_tree(source, raw=False, real=False, scale=8)
    for attempt in range(5):  # all the files may be done before this process sees one
        target = tmp_path / f"target{attempt}"
        command = ["copy", source, target, "--keep-names", "-j", "2", "--key-file", key]
        child = subprocess.Popen(
            [DCMVEIL, *map(str, command)], stderr=subprocess.PIPE, env=environment()
        )
        wait_for(partial(leftovers, target), child)
        for worker in children(child.pid):
            os.kill(worker, signal.SIGKILL)
        err = child.communicate(timeout=SECONDS)[1].decode()
        if child.returncode:
            break
    assert child.returncode == 1
    assert "the worker process died" in err
    assert not leftovers(target)
    assert len(read_tree(target)) < len(read_tree(source))
    assert run(*command).code == 0
    assert read_tree(target).keys() == read_tree(source).keys()


# -- the crosswalk ---------------------------------------------------------------------------------


def rows_of(crosswalk: Path) -> set[tuple[str, ...]]:
    with crosswalk.open(newline="") as file:
        return {tuple(row) for row in csv.reader(file)}


def small_tree(folder: Path, count: int = 40) -> None:
    folder.mkdir()
    for n in range(count):
        raw = n % 2  # a second run would map it again
        data = encode(elements_with(n)) if raw else part10(elements_with(n))
        (folder / f"{n:03}.dcm").write_bytes(data)


def die_at(folder: Path, owner: str, name: str, count: int, *arguments: str | Path) -> bool:
    """Run the program, which dies of SIGKILL at the n-th call of a function of ours. Whether it
    was killed there."""
    module, _, inner = owner.partition(".")
    death = (f"dcmveil.{PLACES[module]}.{module}", inner, name, count)
    done = run_forked(folder, b"", *arguments, die=death)
    assert done.code in (0, -signal.SIGKILL), done.err
    return done.code != 0


PLACES = {"run": "trees", "outputs": "trees", "ledger": "trees", "journal": "faces"}


# SIGKILL at the n-th write to a place of a file, whoever asks for it: Python, or compiled code.
_DIE_AT_A_WRITE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

static void count(void) {
    static long left;
    if (left == 0)
        left = atol(getenv("DIE_AT_WRITE"));
    if (--left == 0)
        kill(getpid(), SIGKILL);
}

ssize_t pwrite(int file, const void *data, size_t n, off_t offset) {
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    count();
    return real(file, data, n, offset);
}

ssize_t pwrite64(int file, const void *data, size_t n, off64_t offset) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    count();
    return real(file, data, n, offset);
}
"""


@pytest.fixture(scope="session")
def deadly_writes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library to be loaded first."""
    return library(tmp_path_factory.mktemp("deadly"), _DIE_AT_A_WRITE)


def die_at_a_write(writes: Path, count: int, *arguments: str | Path) -> bool:
    """The same at that write."""
    done = run(*arguments, LD_PRELOAD=str(writes), DIE_AT_WRITE=str(count))
    assert done.code in (0, -signal.SIGKILL), done.err
    return done.code != 0


# Between every two steps of a batch. Nothing is replaced but the moment.
MOMENTS = [
    ("copy", "outputs", "rename_batch"),
    ("copy", "ledger.Crosswalk", "flush"),
    ("copy", "ledger.Ledger", "write"),
    ("copy", "ledger.Ledger", "flush"),
    ("patch", "journal.Journal", "commit"),
    ("patch", "journal.Journal", "carry_out"),
    ("patch", "", "pwrite"),
    ("patch", "ledger.Crosswalk", "flush"),
    ("patch", "ledger.Ledger", "write"),
    ("patch", "ledger.Ledger", "flush"),
    ("patch", "journal", "discard"),
    ("patch", "journal", "close_folder"),
]


@pytest.mark.parametrize(("command", "owner", "name"), MOMENTS, ids=lambda text: text)
def test_a_crosswalk_loses_nothing(
    tmp_path: Path,
    key: Path,
    request: pytest.FixtureRequest,
    command: str,
    owner: str,
    name: str,
) -> None:
    """Also not in place, where a patched file has no old value left to make its rows from."""
    source = tmp_path / "source"
    small_tree(source)
    wanted, undisturbed = tmp_path / "wanted", tmp_path / "undisturbed.csv"
    plain = ["copy", source, wanted, "--keep-names", "--key-file", key]
    assert run_forked(tmp_path, b"", *plain, "--crosswalk", undisturbed).code == 0
    died = 0
    for count in (1, 2, 3, 35):  # the last one is in a later batch
        place, walk = tmp_path / f"place{count}", tmp_path / f"walk{count}.csv"
        more = ["--key-file", key, "--crosswalk", walk, "--resume"]
        more += ["--report", tmp_path / f"report{count}"]
        if command == "copy":
            arguments = ["copy", source, place, "--keep-names", *more]
        else:
            shutil.copytree(source, place)
            arguments = ["patch", place, *more]
        if owner:
            died += die_at(tmp_path, owner, name, count, *arguments)
        else:
            writes = request.getfixturevalue("deadly_writes")
            died += die_at_a_write(writes, count, *arguments)
        done = run_forked(tmp_path, b"", *arguments)
        assert done.code == 0, done.err
        assert read_tree(place) == read_tree(wanted)
        assert rows_of(walk) == rows_of(undisturbed)
        assert not leftovers(place)
    assert died


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("writes", [2, 200, 499, 700, 900])
def test_half_a_file_is_patched(
    tmp_path: Path, key: Path, deadly_writes: Path, writes: int, jobs: int
) -> None:
    """Killed between two writes into a raw data set: the journal makes it whole, and it is not
    mapped again, by any number of processes."""
    tree = tmp_path / "tree"
    tree.mkdir()
    noise = os.urandom(6000)
    for n in range(2):
        items = [crashes.spread_item(1000 * n + i, noise) for i in range(499)]
        elements = [*elements_with(n), E(0x00283010, "SQ", items)]
        (tree / f"{n}").write_bytes(encode(sorted(elements, key=lambda e: e.tag)))
    old = read_tree(tree)
    wanted = tmp_path / "wanted"
    shutil.copytree(tree, wanted)
    assert run_forked(tmp_path, b"", "patch", wanted, "--key-file", key).code == 0
    new = read_tree(wanted)
    # the first two writes of all are the journal's own
    assert die_at_a_write(deadly_writes, writes + 2, "patch", tree, "--key-file", key)
    after = read_tree(tree)
    mixed = [name for name in after if after[name] not in (old[name], new[name])]
    assert mixed
    covered = crashes.whole_journals(tree)
    for name in mixed:
        whole = bytearray((tree / name).read_bytes())
        for offset, data in covered[name]:
            whole[offset : offset + len(data)] = data
        assert bytes(whole) == (wanted / name).read_bytes()
    assert run_forked(tmp_path, b"", "patch", tree, "-j", str(jobs), "--key-file", key).code == 0
    assert read_tree(tree) == new
    assert not leftovers(tree)


def test_what_was_recovered_stands_in_a_new_report(tmp_path: Path, key: Path) -> None:
    """Raw data sets, a killed run without a report, then one with a report that is killed right
    after the journal of the first: nothing may be mapped twice."""
    tree = tmp_path / "tree"
    crashes.make_tree(tree, raw=True, real=False, scale=1)
    shutil.rmtree(tree / "small")
    wanted = tmp_path / "wanted"
    shutil.copytree(tree, wanted)
    assert run_forked(tmp_path, b"", "patch", wanted, "--key-file", key).code == 0
    assert die_at(tmp_path, "journal", "discard", 1, "patch", tree, "--key-file", key)
    report = ["--report", tmp_path / "report", "--key-file", key]
    assert die_at(tmp_path, "run._Run", "_work", 1, "patch", tree, *report)
    done = run("patch", tree, *report, "--resume")
    assert done.code == 0, done.err
    assert read_tree(tree) == read_tree(wanted)


# -- the journal by itself -------------------------------------------------------------------------


def journal_with(root: Path, files: dict[str, list[tuple[int, bytes]]]) -> Journal:
    path = os.path.join(os.fsencode(root), FOLDER, b"1-1")
    journal = Journal(path)
    for name, edits in files.items():
        file = os.open(root / name, os.O_RDWR)
        journal.begin(name.encode(), os.fstat(file))
        for offset, new in edits:
            journal.edit(offset, new)
        journal.end(file, b"{}\n")
    return journal


@pytest.mark.parametrize("size", [100, 3 << 20], ids=["in memory", "in the file"])
def test_a_journal_is_all_or_nothing(tmp_path: Path, size: int) -> None:
    """Cut off at any byte, or with any byte changed, it touches nothing."""
    root = tmp_path / "root"
    root.mkdir()
    old = bytes(size)
    for name in ("a", "b"):
        (root / name).write_bytes(old)
    edits = {"a": [(3, b"x" * (size // 2)), (size - 2, b"yz")], "b": [(0, b"w" * (size // 3))]}
    journal = journal_with(root, edits)
    journal.commit(False)
    journal.close()
    path = root / os.fsdecode(FOLDER) / "1-1"
    whole = path.read_bytes()
    step = max(1, len(whole) // 150)
    for at in range(0, len(whole), step):
        for torn in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            path.write_bytes(torn)
            assert list(recover(os.fsencode(root), False)) == []
            assert not path.exists()
    assert (root / "a").read_bytes() == (root / "b").read_bytes() == old
    path.write_bytes(whole + b"what stood there before")  # of a larger batch that was refused
    found = list(recover(os.fsencode(root), False))
    assert found == [(b"a", b"{}\n"), (b"b", b"{}\n")]
    for name, changes in edits.items():
        wanted = bytearray(old)
        for offset, new in changes:
            wanted[offset : offset + len(new)] = new
        assert (root / name).read_bytes() == wanted


def test_a_file_that_was_forgotten(tmp_path: Path) -> None:
    """One that is refused after much of it has gone into the journal leaves nothing there."""
    root = tmp_path / "root"
    root.mkdir()
    for name in ("a", "b", "c"):
        (root / name).write_bytes(bytes(4 << 20))
    journal = journal_with(root, {"a": [(0, b"a")]})
    journal.begin(b"b", os.stat(root / "b"))
    for n in range(40):
        journal.edit(n << 16, b"b" * (1 << 16))
    journal.forget()
    file = os.open(root / "c", os.O_RDWR)
    journal.begin(b"c", os.fstat(file))
    journal.edit(0, b"c")
    journal.end(file, b"")
    journal.commit(False)
    journal.carry_out(os.fsencode(root), False)
    journal.close()
    assert [(root / name).read_bytes()[:2] for name in "abc"] == [b"a\0", b"\0\0", b"c\0"]
    assert [name for name, _ in recover(os.fsencode(root), False)] == [b"a", b"c"]


def test_a_file_that_grew_while_it_was_planned(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(100))
    journal = journal_with(tmp_path, {"a": [(0, b"a")]})
    journal.commit(False)
    with (tmp_path / "a").open("ab") as file:
        file.write(b"more")
    assert journal.carry_out(os.fsencode(tmp_path), False) == {b"a"}
    journal.close()
    assert (tmp_path / "a").read_bytes() == bytes(100) + b"more"


# -- a power cut -----------------------------------------------------------------------------------


def traced(folder: Path, *arguments: str | Path) -> list[str]:
    """Calls of a run that write, name or sync, in their order, with descriptors as paths."""
    if shutil.which("strace") is None:
        pytest.skip("no strace here")
    calls = "fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,"
    calls += "write,pwrite64,copy_file_range,sendfile"
    log = folder / "strace.log"
    command = ["strace", "-y", "-o", str(log), "-e", f"trace={calls}", DCMVEIL]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    if "ptrace" in done.stderr or not log.exists() or not log.read_text():
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return [line for line in log.read_text().splitlines() if "= -1 " not in line]


def positions(calls: list[str], pattern: str) -> list[int]:
    return [n for n, call in enumerate(calls) if re.search(pattern, call)]


@pytest.mark.parametrize("rows", [False, True], ids=["", "with a crosswalk"])
def test_durable_patch(tmp_path: Path, key: Path, rows: bool) -> None:
    """Journal, its name and the name of its folder; then the files; then the report; then the
    journal is void, and goes; with old values in it, it goes at once."""
    tree, report, walk = tmp_path / "tree", tmp_path / "report", tmp_path / "walk"
    small_tree(tree, 3)
    more = ["--crosswalk", walk] if rows else []
    calls = traced(
        tmp_path, "patch", tree, "--key-file", key, "--report", report, "--durable", *more
    )
    folder = f"{tree}/.dcmveil-journal"
    synced = positions(calls, rf"^fsync\(\d+<{folder}/[^>]*>")[-1]
    folders = [positions(calls, rf"^fsync\(\d+<{p}>")[0] for p in (folder, tree)]
    first_edit = positions(calls, rf"^pwrite64\(\d+<{tree}/\d+.dcm>")[0]
    assert max(synced, *folders) < first_edit
    body, head, *void = positions(calls, rf"^pwrite64\(\d+<{folder}/")
    assert body < head < synced
    assert len(void) == (not rows)
    for n in range(3):
        name = rf"<{tree}/00{n}\.dcm>"
        last = positions(calls, rf"^pwrite64\(\d+{name}")[-1]
        file = positions(calls, rf"^fsync\(\d+{name}")[-1]
        crosswalk = positions(calls, rf"^fsync\(\d+<{walk}>")[:1]
        told = positions(calls, rf"^fsync\(\d+<{report}>")
        gone = positions(calls, rf"^unlink\(\"{folder}/")[0]
        order = [last, file, *crosswalk, told[-1], *void, gone]
        assert order == sorted(order)
        assert len(crosswalk) == rows
    assert positions(calls, rf"^fsync\(\d+<{tmp_path}>"), "the names of report and crosswalk"


def test_durable_copy(tmp_path: Path, key: Path) -> None:
    """Bytes before names, names before the report, new folders too."""
    source, target, report = tmp_path / "source", tmp_path / "target", tmp_path / "report"
    small_tree(source, 3)
    calls = traced(
        tmp_path, "copy", source, target, "--key-file", key, "--report", report, "--durable"
    )
    named = positions(calls, rf"^(renameat2|linkat)\([^\"]*\"{target}/\.dcmveil-")
    assert len(named) == 3
    for at in named:
        temporary = re.findall(r'"([^"]*)"', calls[at])[0]
        written = positions(calls, rf"^(write|copy_file_range)\(.*<{temporary}>")[-1]
        assert written < positions(calls, rf"^fsync\(\d+<{temporary}>")[-1] < at
    final = Path(re.findall(r'"([^"]*)"', calls[named[-1]])[1])
    told = positions(calls, rf"^fsync\(\d+<{report}>")[-1]
    for folder in (final.parent, final.parent.parent, target):
        synced = [n for n in positions(calls, rf"^fsync\(\d+<{folder}>") if n > named[-1]]
        assert synced, folder
        assert synced[0] < told
    # killed before: the output is there, and nobody knows whether its bytes are on the disk
    report.unlink()
    calls = traced(
        tmp_path, "copy", source, target, "--key-file", key, "--report", report, "--durable"
    )
    told = positions(calls, rf"^fsync\(\d+<{report}>")[-1]
    for path in (final, final.parent, final.parent.parent, target):
        assert positions(calls, rf"^fsync\(\d+<{path}>")[0] < told


def test_not_durable_syncs_nothing(tmp_path: Path, key: Path) -> None:
    tree = tmp_path / "tree"
    small_tree(tree, 3)
    calls = traced(tmp_path, "patch", tree, "--key-file", key, "--report", tmp_path / "report")
    assert not positions(calls, "^f(data)?sync")
