"""Runs in which nobody asks for each file, and that are killed, cannot write, or end early."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from build import E
from dcmveil import Veil
from dcmveil.faces.journal import FOLDER
from dcmveil.faces.records import Targets, carry_out
from dcmveil.faces.system import TemporaryPaths, rename_batch
from dcmveil.trees import Options, StopFlag
from dcmveil.trees.patching import MOVED
from dcmveil.trees.run import run as run_tree
from folders import KEY, EnoughError, Meddler, instance, leftovers, read, records, write
from made_files import MADE
from test_brief import JOBS, LEAKS, LOOKS, check_said, in_turn, ran
from test_counts import site
from test_records import files_of_at_most
from test_reports import without_seconds

pytestmark = pytest.mark.usefixtures("batches_of_32")

# -- a run that is killed, or cannot write ---------------------------------------------------------

# What a batch has first: notes and UIDs that count, files of one kind in a row, others in between.
ALL_GOOD = {
    **{f"{i:03}": instance(i, study=i // 4, series=i // 2) for i in range(50)},
    **{f"{i:03} {name}": data for i, (name, data) in enumerate(MADE.items())
       if name != "no more than meta"},
    **{f"{i:03} raw": instance(500 + i, preamble=None) for i in (3, 6)},
}  # fmt: skip


def journals_in(root: Path) -> list[bytes]:
    folder = os.path.join(os.fsencode(root), FOLDER)
    return os.listdir(folder) if os.path.isdir(folder) else []


def told(report: Path) -> list[dict[str, Any]]:
    return sorted(without_seconds(records(report)), key=lambda record: str(record["input"]))


def killed(work: Callable[[], object]) -> None:
    """In a child, which must end by itself."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def die(*_: object) -> set[bytes]:
    os._exit(9)


def die_half_way(records: bytearray, targets: Targets, durable: bool) -> set[bytes]:
    try:
        carry_out(records[: len(records) // 2], targets, durable)
    finally:
        os._exit(9)


DEATHS: dict[str, tuple[str, Callable[..., set[bytes]]]] = {
    "before the first edit": ("Journal.carry_out", die),
    "half-way": ("carry_out", die_half_way),
    "after the last edit": ("discard", die),
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("death", DEATHS)
def test_a_run_that_was_killed_is_told_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, death: str, look: str
) -> None:
    """The one that was killed was brief; of the next one each line is as if nothing had been."""
    root, other = (write(tmp_path / name, ALL_GOOD) for name in ("in", "undisturbed"))
    how = in_turn(ALL_GOOD)
    undisturbed = ran("a report", site(tmp_path), other, how=how)
    with monkeypatch.context() as patched:
        name, act = DEATHS[death]
        patched.setattr(f"dcmveil.faces.journal.{name}", act)
        killed(lambda: ran("nobody", site(tmp_path), root, how=how))
    after, now = read(other), read(root)
    journal = {name for name in now if name not in after}
    assert len(journal) == 1
    differs = sum(after[name] != now[name] for name in after)
    first = len(ALL_GOOD) - 32
    assert {
        "before the first edit": differs == len(ALL_GOOD),
        "half-way": first < differs < len(ALL_GOOD),
        "after the last edit": differs == first,
    }[death]
    done = ran(look, site(tmp_path), root, how=how)
    assert read(root) == after
    assert done.summary == undisturbed.summary
    if look != "nobody":
        assert (done.total, sorted(done.others())) == (
            undisturbed.total, sorted(undisturbed.others())
        )  # fmt: skip
    if look == "a report":
        assert told(Path(f"{root}.report")) == told(Path(f"{other}.report"))
    assert leftovers(root) == []


@pytest.mark.parametrize("look", LOOKS)
def test_workers_that_die(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: str) -> None:
    """Each with a journal of its batch, which the parent carries out and tells of."""
    root, other = (write(tmp_path / name, ALL_GOOD) for name in ("in", "undisturbed"))
    undisturbed = ran("a batch", site(tmp_path), other, how=in_turn(ALL_GOOD), jobs=2)
    monkeypatch.setattr("dcmveil.faces.journal.Journal.carry_out", die)
    done = ran(look, site(tmp_path), root, how=in_turn(ALL_GOOD), jobs=2)
    assert (undisturbed.briefs, done.briefs) == (len(ALL_GOOD) - 2, 0)
    check_said(done, undisturbed)
    assert read(root) == read(other)
    assert leftovers(root) == []


@LEAKS
@pytest.mark.parametrize("look", LOOKS)
def test_a_file_that_is_moved_before_it_is_written(tmp_path: Path, look: str) -> None:
    """It has failed, with its number and bytes; the others are rewritten."""
    files = {f"{i:02}": instance(i + 10) for i in range(40)}
    root = write(tmp_path / "in", files)

    def meddle() -> None:
        (root / "03").rename(tmp_path / "moved")
        with (root / "05").open("ab") as file:
            file.write(b"more")

    veil = Meddler(key=KEY).meddle(20, meddle)
    apart = tmp_path / "apart"
    done = ran(look, veil, root, how=in_turn(files), quarantine=apart)
    outcomes = done.summary["outcomes"]
    assert (outcomes["rewritten"], outcomes["failed"]) == (38, 2)
    assert done.summary["bytes_in"] == done.summary["bytes_out"] == 38 * len(files["00"])
    assert done.summary["fatal"] == ""
    if look != "nobody":
        assert [(relative, reason) for relative, _, reason, *_ in done.files if reason] == [
            (b"03", MOVED), (b"05", MOVED)
        ]  # fmt: skip
    assert (tmp_path / "moved").read_bytes() == files["03"]
    left = {"05": files["05"] + b"more"}
    assert read(apart) == left
    assert read(root) == {
        name: Veil(key=KEY).bytes(data) for name, data in files.items() if name not in ("03", "05")
    } | left  # fmt: skip
    assert leftovers(root) == []


@LEAKS
@pytest.mark.parametrize("look", LOOKS)
def test_edits_that_cannot_be_written(tmp_path: Path, look: str) -> None:
    """All of the batch have failed, since nobody knows how far it came: the next run does."""
    far = instance(700, pixels=bytes(100_000), more=[b"behind the last element"])
    files = ALL_GOOD | {"010 far": far}
    root, other = (write(tmp_path / name, files) for name in ("in", "undisturbed"))
    how = in_turn(name for name in files if len(files[name]) < 30_000 or name == "010 far")
    undisturbed = ran("a report", site(tmp_path), other, how=how)
    with files_of_at_most(60_000):
        done = ran(look if look != "a report" else "a file", site(tmp_path), root, how=how)
    assert done.summary["fatal"] == os.strerror(errno.EFBIG)
    assert done.summary["outcomes"]["failed"] == 32
    assert done.summary["bytes_in"] == done.summary["outcomes"]["rewritten"] == 0
    assert len(journals_in(root)) == 1
    done = ran("a report", site(tmp_path), root, how=how)
    assert done.summary == undisturbed.summary
    assert told(Path(f"{root}.report")) == told(Path(f"{other}.report"))
    assert read(root) == read(other)


@LEAKS
@pytest.mark.parametrize("look", LOOKS[:3])
@JOBS
def test_a_journal_that_cannot_be_written(tmp_path: Path, veil: Veil, look: str, jobs: int) -> None:
    files = {f"{i:02}": instance(i + 10) for i in range(70)}
    root = write(tmp_path / "in", files)
    with files_of_at_most(100):
        done = ran(look, veil, root, how=in_turn(files), jobs=jobs)
    assert done.summary["fatal"] == os.strerror(errno.EFBIG)
    assert done.summary["outcomes"]["rewritten"] == done.summary["bytes_in"] == 0
    assert read(root) == files
    assert leftovers(root) == []
    assert ran(look, veil, root, how=in_turn(files)).summary["outcomes"]["rewritten"] == 70


@LEAKS
@pytest.mark.parametrize("look", LOOKS[:3])
def test_a_file_for_which_the_journal_has_no_room(tmp_path: Path, veil: Veil, look: str) -> None:
    """It alone has failed; those of its batch that came before it are in the journal by then."""
    private = [E(0x00110010, "LO", "ACME MAGNETS 1.0"), E(0x00111003, "OB", b"\1" * 3_000_000)]
    files = {f"{i:02}": instance(10 + i) for i in range(40)} | {
        "07 large": instance(9, more=private)
    }
    root = write(tmp_path / "in", files)
    with files_of_at_most(900_000):
        done = ran(look, veil, root, how=in_turn(files))
    assert (done.summary["outcomes"]["rewritten"], done.summary["outcomes"]["failed"]) == (40, 1)
    assert done.summary["fatal"] == ""
    new = {name: veil.bytes(data) for name, data in files.items()}
    assert read(root) == new | {"07 large": files["07 large"]}
    assert leftovers(root) == []
    ran(look, veil, root)
    assert read(root) == new


# -- runs that end early ---------------------------------------------------------------------------


def enough(*_: object) -> None:
    raise EnoughError


def interrupt() -> None:
    raise KeyboardInterrupt


@LEAKS
@JOBS
@pytest.mark.parametrize("command", ["copy", "patch"])
def test_somebody_who_looks_on_has_seen_enough(
    tmp_path: Path, veil: Veil, command: str, jobs: int
) -> None:
    """The first batch is done, the others are not, or are whole too."""
    files = {f"{i:03}": instance(i) for i in range(300)}
    root = write(tmp_path / "in", files)
    target = tmp_path / "out" if command == "copy" else None
    how = in_turn(files) | {"on_batch": enough}
    with pytest.raises(EnoughError):
        run_tree(veil, root, target, Options(jobs=jobs, keep_names=bool(target)), **how)
    if target is None:  # of batches that nobody took: the next run takes them
        assert jobs > 1 or journals_in(root) == []
        ran("nobody", veil, root)
    else:
        assert leftovers(target) == []
        assert sorted(read(target)) == sorted(files)[:32]
        ran("nobody", veil, root, target, keep_names=True)
    assert read(target or root) == {name: veil.bytes(data) for name, data in files.items()}
    assert leftovers(tmp_path) == []


@LEAKS
@pytest.mark.parametrize("command", ["copy", "patch"])
def test_a_run_that_is_interrupted_in_a_file(tmp_path: Path, command: str) -> None:
    files = {f"{i:03}": instance(i) for i in range(70)}
    root = write(tmp_path / "in", files)
    target = tmp_path / "out" if command == "copy" else None
    veil = Meddler(key=KEY).meddle(50, interrupt)
    with pytest.raises(KeyboardInterrupt):
        ran("nobody", veil, root, target, how=in_turn(files), keep_names=bool(target))
    done = {name: veil.bytes(files[name]) for name in sorted(files)[:32]}
    assert read(target or root) == (done if target else files | done)
    assert leftovers(root) == []
    ran("nobody", Veil(key=KEY), root, target, keep_names=bool(target))
    assert read(target or root) == {name: veil.bytes(data) for name, data in files.items()}
    assert leftovers(tmp_path) == []


@LEAKS
@JOBS
def test_a_run_that_is_interrupted_before_outputs_have_names(
    tmp_path: Path, veil: Veil, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    """What is finished and has none yet goes, of the batch in hand and of those behind it."""
    files = {f"{i:03}": instance(i) for i in range(200)}
    root, target = write(tmp_path / "in", files), tmp_path / "out"
    monkeypatch.setattr("dcmveil.trees.outputs.Outputs.name_all", lambda *_: interrupt())
    with pytest.raises(KeyboardInterrupt):
        ran("nobody", veil, root, target, jobs=jobs)
    assert read(target) == {}
    assert leftovers(target) == []


@LEAKS
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_run_that_is_interrupted_while_outputs_get_names(
    tmp_path: Path, veil: Veil, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """What has none yet goes; names that were given stay as long as somebody knows of them."""
    files = {f"{i:03}": instance(i) for i in range(70)}
    root, target = write(tmp_path / "in", files), tmp_path / "out"
    calls = []

    def rename_some(folder: bytes, batch: list[Any], temporaries: TemporaryPaths) -> list[int]:
        calls.append(batch)
        if len(calls) == count:
            interrupt()
        return rename_batch(folder, batch, temporaries)

    monkeypatch.setattr("dcmveil.trees.outputs.rename_batch", rename_some)
    with pytest.raises(KeyboardInterrupt):
        ran("nobody", veil, root, target)
    # (the first batch asks twice, for folders that are missing)
    assert len(read(target)) == (0, 0, 32)[count - 1]
    assert leftovers(target) == []


@LEAKS
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("command", ["copy", "patch"])
def test_a_run_that_is_stopped(tmp_path: Path, command: str, look: str) -> None:
    """After the file in hand; what is done by then is whole, and told."""
    files = {f"{i:03}": instance(100 + i) for i in range(70)}
    root = write(tmp_path / "in", files)
    target = tmp_path / "out" if command == "copy" else None
    stop = StopFlag()
    veil = Meddler(key=KEY).meddle(50, stop.set)
    how = in_turn(files) | {"stop": stop}
    done = ran(look, veil, root, target, how=how, keep_names=bool(target))
    assert done.summary["interrupted"]
    assert done.summary["outcomes"]["rewritten"] == done.summary["bytes_in"] // len(files["000"])
    count = done.summary["outcomes"]["rewritten"]
    assert count in (49, 50)
    made = {name: veil.bytes(files[name]) for name in sorted(files)[:count]}
    assert read(target or root) == (made if target else files | made)
    if look != "nobody":
        assert done.total == count
    assert leftovers(tmp_path) == []
