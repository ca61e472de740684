"""How many files are treated together: trees/batches.py."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcmveil import Veil, read_key
from dcmveil.trees import workers
from dcmveil.trees.batches import FIRST, LONG, MOST, Batches
from dcmveil.trees.run import Options, run
from dcmveil.trees.workers import EACH, StopFlag, run_batches
from faces import environment
from folders import instance, read, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dcmveil.trees.walk import Found


def found(count: int) -> list[Found]:
    return [(b"%d" % number, "") for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, FIRST, FIRST + 1, 1000])
@pytest.mark.parametrize("seconds", [0, LONG / 100, LONG, 1000])
def test_every_file_once_and_in_order(count: int, seconds: float) -> None:
    coming = Batches(found(count))
    seen = []
    for batch in coming:
        assert 1 <= len(batch) <= MOST
        seen += batch
        coming.took(batch, seconds)
    assert seen == found(count)


def sizes(seconds_each: float, count: int = 1000) -> list[int]:
    """Of the batches of files that take so long each, one after the other."""
    coming = Batches(found(count))
    seen = []
    for batch in coming:
        seen.append(len(batch))
        coming.took(batch, len(batch) * seconds_each)
    return seen[:-1]


def test_small_files_soon_go_in_large_batches() -> None:
    few = sizes(0)[:6]
    assert few == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST, MOST, MOST]


def test_large_files_go_one_by_one() -> None:
    assert sizes(LONG) == [FIRST] + [1] * (1000 - FIRST - 1)


def test_others_as_many_as_take_their_time() -> None:
    assert set(sizes(LONG / 20.5)[3:]) == {20}


def test_it_gets_better_again() -> None:
    coming = Batches(found(1000))
    coming.took(next(coming), 1000)
    after = []
    for batch in coming:
        after.append(len(batch))
        coming.took(batch, 0)
    assert after[:8] == [1, 2, 4, 8, 16, 32, 64, MOST]


@pytest.mark.parametrize("jobs", [1, 2])
def test_all_are_told_of_with_their_time(jobs: int) -> None:
    """Each batch once; one that another was waited for is not charged for it."""
    told: list[tuple[str, float]] = []
    given = [f"{number}" for number in range(20)]
    start = time.monotonic()
    spent = run_batches(
        timed, given, jobs, died, nobody, StopFlag(), took=lambda *one: told.append(one)
    )
    took = dict(zip(given, spent, strict=True))
    assert sorted(name for name, _ in told) == sorted(given)
    for name, seconds in told:
        # a parent that is kept busy sees late that a worker has begun the next one
        assert seconds >= took[name] or jobs > 1
    assert sum(seconds for _, seconds in told) <= jobs * (time.monotonic() - start)


@pytest.mark.parametrize(("quick", "each"), [(0.0, 1), (1e9, EACH)], ids=["long", "quick"])
def test_how_many_a_worker_has_in_hand(
    monkeypatch: pytest.MonkeyPatch, quick: float, each: int
) -> None:
    """One of those that take long, so that another worker may have the next."""
    monkeypatch.setattr(workers, "QUICK", quick)
    in_hand = most = 0

    def counted() -> Iterator[str]:
        nonlocal in_hand, most
        for number in range(40):
            in_hand += 1
            most = max(most, in_hand)
            yield f"{number}"

    def back(batch: str, seconds: float) -> None:
        nonlocal in_hand
        in_hand -= 1

    assert len([*run_batches(timed, counted(), 2, died, nobody, StopFlag(), took=back)]) == 40
    assert most == 2 * each


def timed(batch: str) -> float:
    """A twentieth of a second for some; what it was at least."""
    seconds = 0.05 if batch in ("3", "4") else 0.0
    time.sleep(seconds)
    return seconds


def died(batch: str) -> float:
    raise AssertionError("none does")


def nobody(result: float) -> None:
    raise AssertionError("nothing was left half-way")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_goes_by_it(
    tmp_path: Path, veil: Veil, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    """A run whose clock says that each batch took long looks at its files one by one."""
    files = {f"{number:03}": instance(number) for number in range(60)}
    source = write(tmp_path / "in", files)
    seen: list[int] = []
    monkeypatch.setattr("dcmveil.trees.batches.LONG", 0.0)
    summary = run(
        veil, source, tmp_path / "out", Options(jobs=jobs),
        on_batch=lambda results: seen.append(len(results)),
    )  # fmt: skip
    assert summary.outcomes["rewritten"] == 60
    assert sum(seen) == 60
    assert seen[-1] == 1
    assert len(read(tmp_path / "out")) == 60


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("command", ["copy", "patch"])
@pytest.mark.parametrize("limit", [48, 100])
def test_few_files_may_be_open(
    tmp_path: Path, key: Path, command: str, jobs: int, limit: int
) -> None:
    """Fewer than a batch has at most."""
    files = {f"{number:03}": instance(number) for number in range(300)}
    root = write(tmp_path / "in", files)
    target = [] if command == "patch" else [str(tmp_path / "out")]
    done = subprocess.run(
        ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", sys.executable, "-m", "dcmveil",
         command, "--key-file", key, f"-j{jobs}", root, *target],
        env=environment(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("Too many")) == (0, 0), done.stderr
    made = read(root if command == "patch" else tmp_path / "out")
    veil = Veil(key=read_key(key))
    assert sorted(made.values()) == sorted(veil.bytes(data) for data in files.values())
