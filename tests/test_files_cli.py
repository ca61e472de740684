"""`dcmveil copy` and `dcmveil patch` as people run them: processes, lists, terminals, signals."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from functools import partial
from pathlib import Path

import pytest

from build import E, Item, sample
from dcmveil import Veil
from faces import DCMVEIL, SECONDS, environment, run, run_forked, wait_for
from folders import (
    KEY,
    instance,
    instances,
    is_begun,
    leftovers,
    read,
    records,
    summary,
    write,
)

SAMPLE = sample()
NAMES = ["HOSP", "DOE", "Elsewhere"]


def said(err: str) -> list[str]:
    """The lines for a person; nothing in them names one, or a file."""
    assert "Traceback" not in err
    assert not [name for name in NAMES if name in err]
    got = err.splitlines()
    assert all(line.startswith("dcmveil: ") for line in got)
    return [line.removeprefix("dcmveil: ") for line in got]


# -- one file, some files --------------------------------------------------------------------------


def test_copy_one(tmp_path: Path, key: Path, veil: Veil) -> None:
    write(tmp_path, {"HOSP.dcm": SAMPLE, "DOE.txt": b"x" * 200, "cut": SAMPLE[:-100]})
    done = run("copy", tmp_path / "HOSP.dcm", tmp_path / "o/out.dcm", "--key-file", key)
    assert (done.code, done.out) == (0, b"")
    said(done.err)
    assert read(tmp_path / "o") == {"out.dcm": veil.bytes(SAMPLE)}
    done = run("copy", tmp_path / "HOSP.dcm", tmp_path / "cut", "--key-file", key)
    assert done.code == 1
    assert "its output name is taken by a file that is not the same" in said(done.err)
    done = run("copy", tmp_path / "DOE.txt", tmp_path / "n", "--key-file", key)
    assert (done.code, said(done.err)) == (1, ["not DICOM"])
    done = run("copy", tmp_path / "cut", tmp_path / "n", "--key-file", key, "--quiet")
    assert done.code == 1
    (line,) = said(done.err)
    assert line.startswith("offset ")
    done = run("copy", tmp_path / "missing", tmp_path / "n", "--key-file", key)
    assert (done.code, said(done.err)) == (1, ["No such file or directory"])
    done = run("copy", tmp_path / "HOSP.dcm", tmp_path / "HOSP.dcm", "--key-file", key)
    assert done.code == 2
    assert not (tmp_path / "n").exists()


def test_patch_some(tmp_path: Path, key: Path, veil: Veil) -> None:
    """Files and folders of one command line, each once: a raw data set has no mark."""
    raw = instance(5, preamble=None)
    root = write(tmp_path / "in", {"a": SAMPLE, "b": raw, "f/c": instance(1), "f/d": raw})
    arguments = [root / "a", root / "b", root / "f", root / "f" / ".." / "b", root / "f/"]
    done = run("patch", *arguments, "--key-file", key)
    assert done.code == 0
    said(done.err)
    assert read(root) == {
        "a": veil.bytes(SAMPLE), "b": veil.bytes(raw), "f/c": veil.bytes(instance(1)),
        "f/d": veil.bytes(raw),
    }  # fmt: skip
    before = read(root)
    for overlap in ([root, root / "a"], [root / "f", root], [root / "f/c", root / "f"]):
        assert run("patch", *overlap, "--key-file", key).code == 2
    done = run("patch", root / "a", root / "missing", root / "b.txt", "--key-file", key)
    assert done.code == 1
    done = run("patch", root / "a", root / "f", "--report", tmp_path / "r", "--key-file", key)
    assert done.code == 2
    assert read(root) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["copy", "in"],
        ["copy", "in", "out", "DOE"],
        ["patch"],
        ["copy", "in", "out", "-j", "0"],
        ["copy", "in", "out", "--names", "{Name}"],
        ["copy", "in", "out", "--resume"],
        ["copy", "in", "out", "--others"],
        ["copy", "in", "in"],
        ["copy", "in", "in/out"],
        ["copy", "in/a", "out", "--files-from", "list"],
        ["patch", "in", "--keep-names"],
        ["patch", "in", "in2", "--files-from", "list"],
    ],
    ids=" ".join,
)
def test_wrong_usage(tmp_path: Path, key: Path, arguments: list[str]) -> None:
    files = {"a": SAMPLE}
    for name in ("in", "in2"):
        write(tmp_path / name, files)
    (tmp_path / "list").write_bytes(b"a\n")
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        done = run_forked(tmp_path, b"", *arguments, "--key-file", key)
    finally:
        os.chdir(here)
    assert done.code in (2, 99)  # 99: argparse left by SystemExit
    assert read(tmp_path / "in") == files
    assert not (tmp_path / "out").exists()


# -- lists -----------------------------------------------------------------------------------------


ODD_NAMES = [b"with\nnewline", b"not \xff UTF-8", b"x" * 255, b" spaces ", b"-j", "ü".encode()]


@pytest.mark.parametrize("command", ["copy", "patch"])
@pytest.mark.parametrize("null", [True, False], ids=["null", "lines"])
def test_a_list(tmp_path: Path, key: Path, veil: Veil, command: str, null: bool) -> None:
    root = tmp_path / "in"
    (root / "deep").mkdir(parents=True)
    names = [name for name in ODD_NAMES if null or b"\n" not in name]
    paths = [os.path.join(os.fsencode(root), b"deep", name) for name in names]
    for i, path in enumerate(paths):
        with open(path, "wb") as file:
            file.write(instance(i))
    (root / "not listed").write_bytes(SAMPLE)
    end = b"\0" if null else b"\n"
    listed = [b"deep/" + name for name in names]
    # the same file again, by other spellings: it must not be done twice
    listed += [b"deep/../deep/" + names[0], b"./deep//" + names[1], paths[2], listed[3]]
    target = [tmp_path / "out"] if command == "copy" else []
    flags = ["-0"] if null else []
    done = run(command, root, *target, "--files-from", "-", *flags, "--key-file", key, "-j", "2",
               "--report", tmp_path / "r", data=end.join(listed))  # fmt: skip
    assert done.code == 0, done.err
    assert len(records(tmp_path / "r")) == len(names)
    new = [veil.bytes(instance(i)) for i in range(len(names))]
    if command == "copy":
        assert sorted(read(tmp_path / "out").values()) == sorted(new)
    else:
        assert [Path(os.fsdecode(path)).read_bytes() for path in paths] == new
        assert (root / "not listed").read_bytes() == SAMPLE


@pytest.mark.parametrize("command", ["copy", "patch"])
def test_a_list_leads_to_no_place_outside(tmp_path: Path, key: Path, command: str) -> None:
    outside = write(tmp_path / "outside HOSP", {"a": SAMPLE})
    root = write(tmp_path / "in", {"good": instance(1)})
    (root / "link").symlink_to(outside)
    (root / "file").symlink_to(outside / "a")
    listed = ["../outside HOSP/a", str(outside / "a"), "link/a", "file", f"{root}/link/a", "good",
              "no/../../in/../outside HOSP/a", "missing", "."]  # fmt: skip
    target = [tmp_path / "out"] if command == "copy" else []
    done = run(command, root, *target, "--files-from", "-", "--key-file", key,
               "--report", tmp_path / "r", "--quarantine", tmp_path / "aside",
               data="\n".join(listed).encode())  # fmt: skip
    assert done.code == 1
    said(done.err)
    assert (outside / "a").read_bytes() == SAMPLE
    found = [r.get("reason") or r.get("error", {}).get("reason") for r in records(tmp_path / "r")]
    where = "it lies outside the source folder"
    assert [reason for reason in found if reason == where] == [where] * 2  # each once
    assert found.count("a symbolic link") == 2
    assert found.count("No such file or directory") == 1
    assert found.count("not a regular file") == 1
    assert found.count(None) == 1
    assert read(tmp_path / "aside") == {}
    assert sorted(os.listdir(tmp_path)) == sorted(
        ["aside", "in", "outside HOSP", "project.key", "r", *(["out"] if target else [])]
    )


def test_a_list_that_is_none(tmp_path: Path, key: Path) -> None:
    root = write(tmp_path / "in", {"good": instance(1)})
    for data in (b"good\0good\0", b"x" * (1 << 18)):
        done = run(
            "copy", root, tmp_path / "out", "--files-from", "-", "--key-file", key, data=data
        )
        assert done.code == 2
        assert len(said(done.err)) == 1
    done = run("copy", root, tmp_path / "out", "--files-from", tmp_path / "none", "--key-file", key)
    assert (done.code, said(done.err)) == (1, ["No such file or directory"])
    assert read(tmp_path / "out") == {}


# -- what is said ----------------------------------------------------------------------------------


def test_the_summary(tmp_path: Path, key: Path) -> None:
    files = instances(5) | {f"HOSP {i}": SAMPLE[: -100 - i] for i in range(25)} | {"t": b"x" * 300}
    root = write(tmp_path / "in", files)
    done = run("copy", root, tmp_path / "out", "--key-file", key)
    assert done.code == 1
    *errors, more, last = said(done.err)
    assert len(errors) == 20
    assert all(re.match(r"offset \d+", line) for line in errors)
    assert more == "... and 5 more; --report lists all"
    assert last.startswith("5 rewritten, 1 skipped (1 not DICOM), 25 failed; ")
    done = run("copy", root, tmp_path / "out", "--key-file", key, "--report-paths")
    assert "HOSP 3, offset" in done.err
    done = run("copy", root, tmp_path / "out", "--key-file", key, "--quiet")
    assert done.code == 1
    assert len(said(done.err)) == 20
    for name in [name for name in files if name.startswith("HOSP")]:
        (root / name).unlink()
    done = run("copy", root, tmp_path / "out", "--key-file", key, "--quiet")
    assert (done.code, done.err) == (0, "")


def test_a_dicomdir_is_left_out(tmp_path: Path, key: Path) -> None:
    veil = Veil(key=KEY, keep_file_ids=True)  # where the files keep their names
    import pydicom.data

    directory = Path(pydicom.data.get_testdata_file("DICOMDIR")).read_bytes()
    root = write(tmp_path / "in", {"DICOMDIR": directory, "IM0": instance(1)})
    done = run("copy", root, tmp_path / "out", "--key-file", key, "--keep-names")
    assert done.code == 0
    *_, sentence = said(done.err)
    assert sentence.startswith("a DICOMDIR names the files of its folder, so it was left out")
    assert "dcmmkdir" in sentence
    assert set(read(tmp_path / "out")) == {"IM0"}
    done = run("copy", root, tmp_path / "all", "--key-file", key, "--keep-names", "--dicomdir")
    assert done.code == 0
    assert "dcmmkdir" not in done.err
    assert read(tmp_path / "all") == {n: veil.bytes(d) for n, d in read(root).items()}
    done = run("copy", root / "DICOMDIR", tmp_path / "one", "--key-file", key)
    assert (done.code, said(done.err)) == (1, ["a DICOMDIR"])
    done = run("patch", root, "--key-file", key)
    assert done.code == 0
    assert read(root) == read(tmp_path / "all")


# -- progress --------------------------------------------------------------------------------------


def on_terminal(*arguments: str | Path) -> tuple[int, str]:
    """(status, what is seen) of a run whose standard error is a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    process = subprocess.Popen(
        [DCMVEIL, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=theirs, env=environment(TERM="xterm"),
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if not select.select([ours], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(ours, 4096)
        except OSError:
            break  # the other end is closed
        if not data:
            break
        seen += data
    os.close(ours)
    return process.wait(SECONDS), seen.decode()


def test_progress_on_a_terminal(tmp_path: Path, key: Path) -> None:
    root = write(tmp_path / "HOSP", instances(40))
    code, seen = on_terminal("copy", root, tmp_path / "1", "--key-file", key)
    assert code == 0
    assert "\r" in seen
    assert re.search(r"40(/40)?.*files", seen)
    assert "MB/s" in seen
    assert "HOSP" not in seen
    for i, flags in enumerate((["--no-progress"], ["--quiet"], ["--progress", "plain"])):
        code, seen = on_terminal("copy", root, tmp_path / f"x{i}", "--key-file", key, *flags)
        assert code == 0
        assert "files/s]" not in seen
        assert "\x1b" not in seen
        assert ("40 files, 0 MB" in seen) == ("plain" in flags)


def test_progress_in_a_pipe(tmp_path: Path, key: Path) -> None:
    root = write(tmp_path / "in", instances(40))
    done = run("copy", root, tmp_path / "1", "--key-file", key)
    assert len(said(done.err)) == 1
    done = run("copy", root, tmp_path / "2", "--key-file", key, "--progress", "plain", "-j", "2")
    first, last = said(done.err)
    assert first.startswith("40 files, 0 MB, ")
    assert last.startswith("40 rewritten; ")
    done = run("copy", root, tmp_path / "3", "--key-file", key, "--progress", "bar")
    assert done.code == 0
    assert "\r" in done.err


# -- signals ---------------------------------------------------------------------------------------


def slow(i: int) -> bytes:
    """A file that takes some milliseconds."""
    items = [
        Item([E(0x00081155, "UI", f"{2 + i}.{j}.77777777777777777777777")]) for j in range(1500)
    ]
    return instance(i, more=[E(0x00081140, "SQ", items)])


@pytest.fixture(scope="module")
def slow_tree() -> dict[str, bytes]:
    return {f"{i:03}": slow(i) for i in range(110)}


@pytest.fixture(scope="module")
def slow_made(slow_tree: dict[str, bytes]) -> dict[str, bytes]:
    veil = Veil(key=KEY)
    return {name: veil.bytes(data) for name, data in slow_tree.items()}


TRIES = 5  # a run may be over before this process has seen that it began


def begin(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [DCMVEIL, *map(str, arguments)],
        env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True,
        # a shell lets what it runs in the background ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


@pytest.mark.parametrize("command", ["copy", "patch"])
@pytest.mark.parametrize(
    ("jobs", "number", "times"),  # each two of the values that go together
    [(1, signal.SIGINT, 1), (2, signal.SIGTERM, 1), (1, signal.SIGTERM, 2), (2, signal.SIGINT, 2)],
)
def test_a_signal_in_the_middle(
    tmp_path: Path, key: Path, slow_tree: dict[str, bytes], slow_made: dict[str, bytes],
    command: str, jobs: int, number: signal.Signals, times: int,
) -> None:  # fmt: skip
    for attempt in range(TRIES):
        tmp_path /= f"{attempt}"
        root = write(tmp_path / "in", slow_tree)
        target = [tmp_path / "out", "--keep-names"] if command == "copy" else []
        report = tmp_path / "r"
        whole = [command, root, *target, "--key-file", key, "--report", report]
        process = begin(*whole, "-j", jobs)
        wait_for(partial(is_begun, report), process)
        for i in range(times):
            time.sleep(0.002 * i)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)  # as a terminal does: workers get it too
        err = process.communicate(timeout=SECONDS)[1]
        if sum(r["outcome"] == "rewritten" for r in records(report)) < len(slow_tree):
            break
    codes = {128 + number}
    if times == 2:
        codes.add(-number)  # the run had just ended: a shell says the same of both
    assert process.returncode in codes, err
    if process.returncode > 0:
        assert "Traceback" not in err
        assert "/" not in err.replace("files/s", "")
    if times == 1:  # the second one ends a run at once, perhaps before the last line
        assert summary(report)["interrupted"]
    outputs = read(tmp_path / "out" if command == "copy" else root)
    if times == 1:
        assert "interrupted; the same command with --report FILE --resume goes on" in err
        assert leftovers(tmp_path) == []
        done = [r for r in records(report) if r["outcome"] == "rewritten"]
        assert 0 < len(done) < len(slow_tree)
        if command == "copy":
            assert len(outputs) == len(done)
    if command == "copy":
        assert leftovers(tmp_path) == []
        assert all(slow_made[name] == data for name, data in outputs.items())
    again = run(*whole, "--resume", "-j", "2")
    assert again.code == 0, again.err
    assert read(tmp_path / "out" if command == "copy" else root) == slow_made
    assert leftovers(tmp_path) == []
    found = records(report)
    assert len(found) == len({r["input"] for r in found}) == len(slow_tree)


def test_a_signal_between_two_folders(tmp_path: Path, key: Path) -> None:
    """What was not begun is not begun, and the status says so."""
    for attempt in range(TRIES):
        one = write(tmp_path / f"one{attempt}", {f"{i:03}": slow(i) for i in range(60)})
        two = write(tmp_path / f"two{attempt}", instances(3))
        process = begin("patch", one, two, "--key-file", key)
        wait_for(partial(leftovers, one), process)  # its journal
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)
        if process.returncode:
            break
    assert process.returncode == 143
    assert read(two) == instances(3)
