"""Outputs that get their names from the workers: as if one process had given them in order."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dcmveil import Veil
from dcmveil.faces.files import TEMPORARY
from dcmveil.faces.system import TemporaryPaths
from dcmveil.trees.copying import CopyTask
from dcmveil.trees.outputs import PLACES, EarlyNames, Temporaries, remove_temporaries
from dcmveil.trees.record import Results
from folders import instance, leftovers, read, records, write
from test_brief import LOOKS, check_said, in_turn, ran
from test_reports import without_seconds

BATCH = 32


def twice(count: int) -> dict[str, bytes]:
    """Files of which the first batch has each UID that a later one has again, with other pixels,
    or with the same ones."""
    first = {f"{i:03}": instance(i, series=i // 8, pixels=b"first" * 20) for i in range(BATCH)}
    pixels = (b"first", b"later")
    later = {
        f"{BATCH + i:03}": instance(i % 50, series=i % 50 // 8, pixels=pixels[i // 3 % 2] * 20)
        for i in range(count)
    }
    return first | later


@pytest.fixture
def late_batches(monkeypatch: pytest.MonkeyPatch, batches_of_32: None) -> set[bytes]:
    """Those that begin with such a file wait, so that others are named before."""
    late: set[bytes] = set()
    work = CopyTask.__call__

    def wait_and_work(task: CopyTask, batch: list[tuple[bytes, str]]) -> Results:
        if batch[0][0] in late:
            time.sleep(0.2)
        return work(task, batch)

    monkeypatch.setattr(CopyTask, "__call__", wait_and_work)
    return late


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("late", [{b"000"}, {b"000", b"064"}, {b"064", b"096"}], ids=str)
@pytest.mark.parametrize("keep", [False, True], ids=["by UIDs", "kept"])
def test_the_first_in_order_has_the_name(
    tmp_path: Path, veil: Veil, late_batches: set[bytes], look: str, late: set[bytes], keep: bool
) -> None:
    """Though a later one was faster; outcomes, outputs and report are those of one process."""
    late_batches |= late
    files = twice(4 * BATCH)
    source = write(tmp_path / "in", files)
    whole = []
    for jobs in (1, 3):
        target = tmp_path / f"out{jobs}"
        how = in_turn(files)
        whole.append((ran(look, veil, source, target, how=how, jobs=jobs, keep_names=keep), target))
    (one, first), (other, second) = whole
    check_said(one, other)
    assert one.summary["outcomes"]["failed"] == (0 if keep else one.summary["outcomes"]["failed"])
    if not keep:
        assert one.summary["outcomes"]["failed"] > 20
        assert one.summary["outcomes"]["same"] > 20
    assert read(first) == read(second)
    assert leftovers(tmp_path) == []
    if look == "a report":
        reports = [tmp_path / f"out{jobs}.report" for jobs in (1, 3)]
        told = [without_seconds(records(report)) for report in reports]
        assert [{**record, "run": ""} for record in told[0]] == [
            {**record, "run": ""} for record in told[1]
        ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_names_that_stood_before_are_not_taken_back(tmp_path: Path, veil: Veil, jobs: int) -> None:
    files = twice(2 * BATCH)
    source, target = write(tmp_path / "in", files), tmp_path / "out"
    ran("nobody", veil, source, target, how=in_turn(files))
    before = read(target)
    some = sorted(before)[::3]
    for name in some:
        (target / name).write_bytes(b"precious")
    done = ran("a batch", veil, source, target, how=in_turn(files), jobs=jobs)
    assert read(target) == before | dict.fromkeys(some, b"precious")
    assert done.summary["outcomes"]["rewritten"] == 0
    assert done.summary["outcomes"]["same"] > 20
    assert done.summary["outcomes"]["failed"] > 20


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_kill_has_left_goes_with_the_next_run(tmp_path: Path, veil: Veil, jobs: int) -> None:
    """And nothing else that somebody has put there."""
    source = write(tmp_path / "in", {f"{i}": instance(i) for i in range(100)})
    place = tmp_path / "out" / os.fsdecode(PLACES) / "123"
    place.mkdir(parents=True)
    (place / "7.tmp").write_bytes(b"half")
    (place / "8.tmp").write_bytes(b"half")
    ran("nobody", veil, source, tmp_path / "out", jobs=jobs)
    assert leftovers(tmp_path) == []
    place.mkdir(parents=True)
    (place / "7.tmp").write_bytes(b"half")
    (place / "mine").write_bytes(b"precious")
    ran("nobody", veil, source, tmp_path / "out", jobs=jobs)
    assert os.listdir(place) == ["mine"]


def test_temporaries_behind_a_link_are_left(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "1.tmp").write_bytes(b"precious")
    (tmp_path / os.fsdecode(PLACES)).symlink_to(elsewhere)
    remove_temporaries(os.fsencode(tmp_path))
    assert (elsewhere / "1.tmp").read_bytes() == b"precious"


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("jobs", [1, 2])
def test_no_place_for_temporaries(tmp_path: Path, veil: Veil, look: str, jobs: int) -> None:
    """Every file fails, and says so."""
    source = write(tmp_path / "in", {f"{i}": instance(i) for i in range(40)})
    target = tmp_path / "out"
    target.mkdir()
    (target / os.fsdecode(PLACES)).write_bytes(b"in the way")
    done = ran(look, veil, source, target, jobs=jobs)
    assert done.summary["outcomes"]["failed"] == 40
    assert read(target) == {os.fsdecode(PLACES): b"in the way"}
    if look != "nobody":
        assert {reason for _, _, reason, *_ in done.others()} == {"Not a directory"}


def test_temporaries_of_a_process(tmp_path: Path) -> None:
    target = os.fsencode(tmp_path)
    first, again = Temporaries(target), Temporaries(target)
    paths = [first.next(), first.next()]
    assert len({*paths}) == 2
    for path in paths:
        Path(os.fsdecode(path)).write_bytes(b"")
    assert os.path.relpath(paths[0], target).startswith(os.fsdecode(TEMPORARY).encode())
    assert again.next() not in paths
    remove_temporaries(target)
    assert os.listdir(target) == []


def test_early_names_of_a_batch(tmp_path: Path) -> None:
    """Folders are made; what is taken is left, with its temporary path, for whoever knows more."""
    target, place = tmp_path / "out", tmp_path / "place"
    (target / "a").mkdir(parents=True)
    (target / "a" / "taken").write_bytes(b"precious")
    (target / "file").write_bytes(b"precious")
    place.mkdir()
    names = [b"a/taken", b"a/one", b"b/c/two", b"a/one", b"d/three", b"four"]
    paths = [os.fsencode(place / f"{i}.tmp") for i in range(len(names))]
    for path in paths:
        Path(os.fsdecode(path)).write_bytes(path)
    results = Results()
    results.made = [(b"in", path, name, 1, None) for path, name in zip(paths, names, strict=True)]
    early = EarlyNames(os.fsencode(target), TemporaryPaths(os.fsencode(place)))
    early.give(results)
    assert results.waiting == {0, 3}
    assert (target / "b" / "c" / "two").read_bytes() == paths[2]
    assert (target / "a" / "taken").read_bytes() == b"precious"
    results.made = [(b"in", paths[0], b"file/no", 1, None), (b"in", paths[3], b"e/f", 1, None)]
    early.give(results)
    assert results.waiting == {0, 1}, "a file stands where a folder should"
    assert sorted(os.listdir(place)) == ["0.tmp", "3.tmp"]
