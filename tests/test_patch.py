"""The patch face: files in place, touched only where they change, by way of a journal."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dcmveil
from build import DEFLATED, E, Item, sample
from dcmveil import FileError, NotDicomError, Report, UsageError, Veil
from dcmveil.faces.journal import FOLDER, Journal, JournalError
from dcmveil.trees.batches import MOST
from dcmveil.trees.record import Result, journal_line
from faces import DCMVEIL, SECONDS, children, environment, run, wait_for
from folders import (
    KEY,
    OTHER_KEY,
    Meddler,
    corpus_folder,
    expected,
    instance,
    instances,
    is_begun,
    leftovers,
    read,
    records,
    run_bound,
    write,
)

SAMPLE = sample()
MIB = 1 << 20
JOURNALS = FOLDER.decode()


# -- one file --------------------------------------------------------------------------------------


def test_one_file(tmp_path: Path, veil: Veil) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(SAMPLE)
    os.chmod(path, 0o640)
    inode = path.stat().st_ino
    report = veil.patch(path)
    assert path.read_bytes() == veil.bytes(SAMPLE)
    assert (report.bytes_in, report.bytes_out) == (len(SAMPLE), len(SAMPLE))
    status = path.stat()
    assert (status.st_ino, stat.S_IMODE(status.st_mode)) == (inode, 0o640)
    os.utime(path, ns=(10**18, 10**18))
    assert veil.patch(path).second_run
    assert path.stat().st_mtime_ns == 10**18  # nothing changed, and nothing was written
    assert os.listdir(tmp_path) == ["a.dcm"]


def test_only_what_changes_is_written(tmp_path: Path) -> None:
    """One GiB that is a hole on disk: neither read, nor written, nor filled."""
    head = instance(pixels=b"")
    size = 1 << 30
    path = tmp_path / "big.dcm"
    with open(path, "wb") as file:
        file.write(head[:-4] + size.to_bytes(4, "little"))
        file.truncate(len(head) + size)
    blocks = path.stat().st_blocks
    script = (
        "import sys, dcmveil\n"
        "def io():\n"
        "    words = open('/proc/self/io').read().split()\n"
        "    return int(words[1]), int(words[3])\n"
        "veil = dcmveil.Veil(key=bytes(range(32)))\n"
        "veil.patch(sys.argv[2])\n"  # what is imported late is imported now
        "before = io()\n"
        "veil.patch(sys.argv[1])\n"
        "print(*(b - a for a, b in zip(before, io())))\n"
    )
    (tmp_path / "small.dcm").write_bytes(SAMPLE)
    done = subprocess.run(
        [sys.executable, "-c", script, path, tmp_path / "small.dcm"],
        capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    read_bytes, written = map(int, done.stdout.split())
    assert read_bytes < 256 << 10
    assert written < 16 << 10
    assert path.stat().st_blocks <= blocks + 16
    assert path.stat().st_size == len(head) + size
    with open(path, "rb") as file:
        assert file.read(len(head))[132:] != head[132:]
        assert file.read(4096) == bytes(4096)


@pytest.mark.parametrize("syntax", DEFLATED)
def test_deflated(tmp_path: Path, veil: Veil, syntax: str) -> None:
    path = tmp_path / "a.dcm"
    data = instance(syntax=syntax)
    path.write_bytes(data)
    with pytest.raises(FileError):
        veil.patch(path)
    assert read(tmp_path) == {"a.dcm": data}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (SAMPLE[:-100], dcmveil.DicomError),
        (b"no DICOM at all\n" * 40, NotDicomError),
        (b"", NotDicomError),
    ],
    ids=["cut", "text", "empty"],
)
def test_a_refused_file_is_as_it_was(
    tmp_path: Path, veil: Veil, data: bytes, error: type[Exception]
) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    os.utime(path, ns=(10**18, 10**18))
    with pytest.raises(error):
        veil.patch(path)
    assert path.read_bytes() == data
    assert path.stat().st_mtime_ns == 10**18
    assert leftovers(tmp_path) == []


def test_links(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {"a.dcm": SAMPLE, "b.dcm": instance(1)})
    (root / "soft.dcm").symlink_to("b.dcm")
    os.link(root / "a.dcm", tmp_path / "other name")
    with pytest.raises(FileError):
        veil.patch(root / "soft.dcm")
    with pytest.raises(FileError):
        veil.patch(root / "a.dcm")
    seen: list[dict[str, Any]] = []
    summary = veil.tree(root, on_file=seen.append)
    assert (summary.outcomes["rewritten"], summary.outcomes["failed"]) == (1, 1)
    assert summary.reasons == {"a symbolic link": 1}
    assert [r["error"]["reason"] for r in seen if "error" in r] == [
        "it has a second name (a hard link), which would change with it"
    ]
    assert (tmp_path / "other name").read_bytes() == SAMPLE
    veil.tree(root, hard_links=True)
    assert (tmp_path / "other name").read_bytes() == veil.bytes(SAMPLE)


@pytest.mark.parametrize("jobs", [1, 2])
def test_two_names_of_one_file(tmp_path: Path, veil: Veil, jobs: int) -> None:
    """It is patched once: a raw data set has no preamble to tell a second run by."""
    files = {f"{i}": instance(i, preamble=None) for i in range(100)}
    root = write(tmp_path / "in", files)
    for i in range(100):
        os.link(root / f"{i}", root / f"second name of {i}")
    summary = veil.tree(root, hard_links=True, jobs=jobs)
    assert summary.outcomes["rewritten"] == 100
    assert summary.reasons == {"a second name of a file that was taken": 100}
    for i, data in files.items():
        assert (root / i).read_bytes() == veil.bytes(data)


# -- folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_the_whole_corpus(tmp_path: Path, jobs: int) -> None:
    root = corpus_folder(tmp_path / "in")
    before = read(root)
    seen: list[dict[str, Any]] = []
    summary = Veil(key=KEY).tree(root, jobs=jobs, on_file=seen.append)
    after = read(root)
    veil = Veil(key=KEY, keep_file_ids=True)  # files keep their names, so do the links to them
    changed = 0
    for name, data in before.items():
        new = expected(data, veil)
        if new is None or after[name] == data:
            assert after[name] == data
            continue
        assert after[name] == new, name
        changed += 1
    assert changed == summary.outcomes["rewritten"]
    assert changed > 240
    # all that stayed as they were were refused, are no DICOM, or would have changed their length
    reasons = {r["error"]["reason"] for r in seen if "error" in r and not r["error"].get("path")}
    assert "a deflated data set would change its length: copy it instead" in reasons
    assert any("DICOMDIR" in name and after[name] != before[name] for name in after)
    assert leftovers(root) == []


def test_lines_do_not_depend_on_the_number_of_jobs(tmp_path: Path) -> None:
    write(tmp_path / "first", instances(150) | {"notes": b"x" * 300, "cut": SAMPLE[:-9]})
    found = []
    for jobs in (1, 2, 5):
        # one folder for all, so that its order is the same
        for name, data in read(tmp_path / "first").items():
            (tmp_path / "first" / name).write_bytes(data)
        root = tmp_path / f"{jobs}"
        seen: list[dict[str, Any]] = []
        shutil.copytree(tmp_path / "first", root)
        Veil(key=KEY).tree(root, jobs=jobs, on_file=seen.append)
        for record in seen:
            del record["seconds"]
        found.append((read(root), sorted(seen, key=lambda r: r["input"])))
    assert found[0] == found[1] == found[2]


def test_a_file_that_changes_before_its_turn_to_be_written(tmp_path: Path) -> None:
    """It was planned, and grows before the batch is carried out: it is left, and others go on."""
    root = write(tmp_path / "in", {f"{i}": instance(i) for i in range(4)})
    names = [entry.name for entry in os.scandir(root)]
    victim, gone = root / names[0], root / names[1]

    def meddle() -> None:
        with open(victim, "ab") as file:
            file.write(b"more")
        gone.unlink()

    seen: list[dict[str, Any]] = []
    summary = Meddler(key=KEY).meddle(4, meddle).tree(root, on_file=seen.append)
    assert [r["outcome"] for r in seen] == ["failed", "failed", "rewritten", "rewritten"]
    assert seen[0]["error"] == {"reason": "it was moved or changed while it was treated"}
    assert summary.fatal == ""
    assert victim.read_bytes() == instance(int(victim.name)) + b"more"
    assert leftovers(root) == []
    assert Veil(key=KEY).tree(root).outcomes["rewritten"] == 3


@pytest.mark.parametrize("jobs", [1, 2])
def test_permissions(tmp_path: Path, jobs: int) -> None:
    key = tmp_path / "key"
    dcmveil.write_key(key, KEY)
    root = write(tmp_path / "in", {
        "good.dcm": SAMPLE, "read-only.dcm": instance(1), "read-only.txt": b"notes\n" * 50,
        "unreadable.dcm": instance(2), "closed/a.dcm": instance(3), "listed/d/a": instance(4),
    })  # fmt: skip
    for name in ("read-only.dcm", "read-only.txt"):
        os.chmod(root / name, 0o444)
    os.chmod(root / "unreadable.dcm", 0)
    os.chmod(root / "closed", 0)
    os.chmod(root / "listed", 0o444)  # names can be listed, and nothing else
    options = ("--key-file", key, "-j", str(jobs))
    report, out = tmp_path / "copied", tmp_path / "out"
    done = run_bound("copy", root, out, "--report", report, "--keep-names", *options)
    assert done.code == 1
    veil = Veil(key=KEY)
    assert read(out) == {
        "good.dcm": veil.bytes(SAMPLE), "read-only.dcm": veil.bytes(instance(1))
    }  # fmt: skip
    denied = [r["error"]["reason"] for r in records(report) if "error" in r]
    assert sorted(denied) == ["Permission denied", *["cannot be listed: Permission denied"] * 2]
    report = tmp_path / "patched"
    done = run_bound("patch", root, "--report", report, *options)
    assert done.code == 1
    assert (root / "good.dcm").read_bytes() == veil.bytes(SAMPLE)
    assert (root / "read-only.dcm").read_bytes() == instance(1)
    found = records(report)
    denied = [r["error"]["reason"] for r in found if "error" in r]
    assert sorted(denied) == [
        *["Permission denied"] * 2, *["cannot be listed: Permission denied"] * 2
    ]  # fmt: skip
    assert [r["reason"] for r in found if "reason" in r] == ["not DICOM"]
    os.chmod(root / "closed", 0o755)
    os.chmod(root / "listed", 0o755)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_folder_that_takes_no_journal(tmp_path: Path, jobs: int) -> None:
    key = tmp_path / "key"
    dcmveil.write_key(key, KEY)
    root = write(tmp_path / "HOSP-004711", instances(70))
    before = read(root)
    os.chmod(root, 0o555)
    done = run_bound("patch", root, "--key-file", key, "-j", str(jobs))
    assert done.code == 1
    assert "Permission denied" in done.err
    assert "Traceback" not in done.err
    assert "HOSP" not in done.err
    assert read(root) == before


# -- the journal -----------------------------------------------------------------------------------


def plan(root: Path, name: str, edits: list[tuple[int, bytes]], run: str = "run") -> Journal:
    """A journal with the edits of one file, as a run makes it."""
    path = os.fsencode(root / JOURNALS / f"{os.getpid()}-1")
    made = Journal(path)
    made.begin(name.encode(), os.stat(root / name))
    for offset, new in edits:
        made.edit(offset, new)
    result = Result(name.encode(), "00" * 16, "rewritten")
    result.tell(Report())
    file = os.open(root / name, os.O_RDWR)
    made.end(file, journal_line(run.encode(), result))
    return made


def cut_off(root: Path, veil: Veil, name: str) -> bytes:
    """Leave a file half patched, with its journal, as a kill would; the bytes it will have."""
    path = root / name
    old = path.read_bytes()
    new = veil.bytes(old)
    made = plan(root, name, [(0, new)], veil.identity)
    made.commit(False)
    made.close()
    half = old.index(b"DOE^JOHANNA") + 4
    path.write_bytes(new[:half] + old[half:])
    return new


def test_a_half_patched_file_is_finished(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", instances(3))
    new = cut_off(root, veil, "case 0/s0/im1")
    seen: list[dict[str, Any]] = []
    summary = veil.tree(root, on_file=seen.append)
    assert (root / "case 0/s0/im1").read_bytes() == new
    assert summary.outcomes["rewritten"] == 3
    assert len(seen) == 3
    assert leftovers(root) == []


def test_patching_that_one_file_finishes_it_too(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {"a": instance(1), "b": instance(2)})
    new = cut_off(root, veil, "a")
    veil.patch(root / "b")  # another file of the folder: what is left over comes first
    assert (root / "a").read_bytes() == new
    write(root, {"a": instance(1)})
    new = cut_off(root, veil, "a")
    assert veil.patch(root / "a").bytes_in == 0  # as the record of the test has it
    assert (root / "a").read_bytes() == new
    assert leftovers(root) == []


def test_a_half_patched_file_is_no_input_of_another_run(tmp_path: Path, veil: Veil) -> None:
    """Its first part may bear the mark already, and then its UIDs would stay as they are."""
    root = write(tmp_path / "in", {"deep/er/a": instance(1), "b": instance(2)})
    cut_off(root / "deep/er", veil, "a")
    half = (root / "deep/er/a").read_bytes()
    words = "a folder whose run was cut off while it patched: repeat that run first"
    for target in (tmp_path / "out", None):
        seen: list[dict[str, Any]] = []
        veil.tree(root, target, on_file=seen.append)
        assert [r["error"]["reason"] for r in seen if "error" in r] == [words]
    assert half == (root / "deep/er/a").read_bytes()
    assert len(read(tmp_path / "out")) == 1
    with pytest.raises(UsageError):
        veil.copy(root / "deep/er/a", tmp_path / "out.dcm")
    with pytest.raises(UsageError):
        veil.tree(root / "deep/er", tmp_path / "out")
    (root / "deep/er/below").mkdir()
    with pytest.raises(UsageError):
        veil.tree(root / "deep/er/below")
    key = tmp_path / "key"
    dcmveil.write_key(key, KEY)
    done = run("copy", root, tmp_path / "out2", "--files-from", "-", "--key-file", key,
               data=b"deep/er/a\nb\n")  # fmt: skip
    assert done.code == 1
    assert words in done.err
    assert len(read(tmp_path / "out2")) == 1


def test_a_journal_of_another_key_is_carried_out_and_not_counted(tmp_path: Path) -> None:
    root = write(tmp_path / "in", {"a": instance(1), "b": instance(2)})
    other = Veil(key=OTHER_KEY)
    new = cut_off(root, other, "a")
    seen: list[dict[str, Any]] = []
    summary = Veil(key=KEY).tree(root, on_file=seen.append)
    assert (root / "a").read_bytes() == new
    assert (summary.outcomes["rewritten"], summary.outcomes["failed"]) == (1, 1)
    assert [r["error"]["reason"] for r in seen if "error" in r] == [
        "it bears the mark of an earlier run, made with another key or profile"
    ]
    assert leftovers(root) == []


@pytest.mark.parametrize("what", ["gone", "longer", "another"])
def test_a_file_that_was_moved_since(tmp_path: Path, veil: Veil, what: str) -> None:
    root = write(tmp_path / "in", {"a": instance(1)})
    cut_off(root, veil, "a")
    half = (root / "a").read_bytes()
    if what == "gone":
        os.rename(root / "a", tmp_path / "a")
    elif what == "longer":
        (root / "a").write_bytes(half + b"++")
    else:
        (root / "new").write_bytes(half)
        os.rename(root / "new", root / "a")
    now = read(root / ".") if what != "gone" else {}
    with pytest.raises(JournalError) as error:
        veil.tree(root)
    assert str(tmp_path) not in str(error.value)
    assert {n: d for n, d in read(root).items() if JOURNALS not in n} == {
        n: d for n, d in now.items() if JOURNALS not in n
    }
    if what == "gone":
        os.rename(tmp_path / "a", root / "a")
        veil.tree(root)
        assert (root / "a").read_bytes() == veil.bytes(instance(1))


@pytest.mark.parametrize("part", ["cut", "content", "count", "crc", "kind", "empty"])
def test_a_journal_that_is_not_whole_touches_nothing(tmp_path: Path, veil: Veil, part: str) -> None:
    root = write(tmp_path / "in", {"a": instance(1)})
    made = plan(root, "a", [(200, b"not to be seen")])
    made.commit(False)
    made.close()
    path = Path(os.fsdecode(made.path))
    data = bytearray(path.read_bytes())
    if part == "content":
        data[60] ^= 1
    elif part == "count":
        data[-8] ^= 1
    elif part == "crc":
        data[-1] ^= 1
    elif part == "kind":
        data[0] ^= 1
    path.write_bytes(bytes(data[: {"cut": len(data) - 1, "empty": 0}.get(part, len(data))]))
    veil.tree(root)
    assert (root / "a").read_bytes() == veil.bytes(instance(1))
    assert leftovers(root) == []


def test_a_journal_leads_to_no_place_outside(tmp_path: Path, veil: Veil) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(bytes(1000))
    (root := tmp_path / "in").mkdir()
    (root / "link").symlink_to(victim)
    for name in ("../victim", "link", str(victim)):
        made = Journal(os.fsencode(root / JOURNALS / "1-1"))
        made.begin(name.encode(), os.stat(victim))
        made.edit(0, b"hit")
        made.end(os.open(victim, os.O_RDWR), journal_line(b"run", Result(b"", "", "")))
        made.commit(False)
        made.close()
        with pytest.raises(JournalError):
            veil.tree(root)
        os.unlink(made.path)
    assert victim.read_bytes() == bytes(1000)


def test_the_place_of_the_journal_is_taken(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {"a": instance(1), JOURNALS: b"mine"})
    with pytest.raises(FileError):
        veil.tree(root)
    assert read(root) == {"a": instance(1), JOURNALS: b"mine"}


def test_modes_of_the_journal_and_what_it_holds(
    tmp_path: Path, veil: Veil, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "in", {"a": SAMPLE, "b": instance(2)})
    kept: list[tuple[int, int, bytes]] = []
    carry_out = Journal.carry_out

    def look(journal: Journal, *arguments: Any) -> set[bytes]:
        for path in (root / JOURNALS).iterdir():
            kept.append((path.stat().st_mode, path.parent.stat().st_mode, path.read_bytes()))
        return carry_out(journal, *arguments)

    monkeypatch.setattr(Journal, "carry_out", look)
    veil.tree(root)
    assert [(stat.S_IMODE(a), stat.S_IMODE(b)) for a, b, _ in kept] == [(0o600, 0o700)]
    assert not any(b"DOE" in data or b"1.2.826" in data for _, _, data in kept)


# -- a worker that dies ----------------------------------------------------------------------------


@functools.cache
def slow_files() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Some batches of files that take some milliseconds each, and what they become."""
    more = [E(0x00081140, "SQ", [Item([E(0x00081155, "UI", f"1.2.3.{i}")]) for i in range(2000)])]
    files = {f"{i:03}": instance(i, more=more) for i in range(110)}
    veil = Veil(key=KEY)
    return files, {name: veil.bytes(data) for name, data in files.items()}


@pytest.mark.parametrize("command", ["copy", "patch"])
@pytest.mark.parametrize("after", ["its start", "a file", "a batch"])
def test_a_worker_that_dies(tmp_path: Path, command: str, after: str) -> None:
    """Killed by its number, not by a name: its batch fails or is finished, others go on."""
    key = tmp_path / "key"
    dcmveil.write_key(key, KEY)
    files, new = slow_files()
    root = write(tmp_path / "in", files)
    target = [tmp_path / "out", "--keep-names"] if command == "copy" else []
    process = subprocess.Popen(
        [DCMVEIL, command, root, *target, "-j", "2", "--key-file", key, "--report", tmp_path / "r"],
        env=environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    seen = {
        "its start": lambda: True,
        "a file": lambda: leftovers(tmp_path),  # a temporary file, a journal
        "a batch": lambda: is_begun(tmp_path / "r"),
    }[after]
    wait_for(lambda: children(process.pid) and seen(), process)
    for worker in children(process.pid)[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    err = process.communicate(timeout=SECONDS)[1]
    assert "Traceback" not in err
    found = {r["input"]: r for r in records(tmp_path / "r")}
    assert len(found) == len(files)
    failed = [r for r in found.values() if r["outcome"] == "failed"]
    assert len(failed) <= MOST
    assert {r["error"]["reason"] for r in failed} <= {"the worker process died"}
    assert process.returncode == bool(failed), err  # what had a journal was finished
    now = read(tmp_path / "out" if command == "copy" else root)
    if command == "patch":
        assert all(now[name] in (files[name], new[name]) for name in files)
        assert sum(now[name] == files[name] for name in files) == len(failed)
    else:
        assert all(new[name] == data for name, data in now.items())
        assert len(now) == len(files) - len(failed)
    assert leftovers(tmp_path) == []
    again = run(command, root, *target, "--key-file", key, "--report", tmp_path / "r", "--resume")
    assert again.code == 0, again.err
    assert read(tmp_path / "out" if command == "copy" else root) == new
