"""Batches given to processes: each once, their results in order, whatever becomes of a worker."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from dcmveil.report import Report
from dcmveil.trees.record import FAILED, REWRITTEN, Result, Results
from dcmveil.trees.workers import EACH, Ahead, StopFlag, _Pool, run_batches
from faces import children

Batch = list[tuple[bytes, str]]
DEADLY, SLOW = b"deadly", b"slow"


def batches(count: int, *deadly: int, length: int = 10) -> Iterator[Batch]:
    for number in range(count):
        name = DEADLY if number in deadly else b"x" * length
        yield [(b"%d" % number, ""), (name, "")]


def work(batch: Batch) -> tuple[str, bytes]:
    if batch[1][0] == DEADLY:
        os.kill(os.getpid(), signal.SIGKILL)
    if batch[1][0] == SLOW:
        time.sleep(0.2)
    return "done", batch[0][0]


def died(batch: Batch) -> tuple[str, bytes]:
    return "died", batch[0][0]


def undone(result: tuple[str, bytes]) -> None:
    raise AssertionError("nothing was left half-way")


@pytest.mark.parametrize("jobs", [1, 2, 3])
@pytest.mark.parametrize("length", [10, 40_000, 300_000], ids=["short", "long", "longer"])
def test_in_order(jobs: int, length: int) -> None:
    """Paths of any length: none waits in a pipe that it would fill."""
    found = run_batches(work, batches(30, length=length), jobs, died, undone, StopFlag())
    assert list(found) == [("done", b"%d" % n) for n in range(30)]


@pytest.mark.parametrize("jobs", [2, 3])
@pytest.mark.parametrize("deadly", [(0,), (29,), (3, 4), (5, 6, 7, 8), tuple(range(30))])
def test_a_death_costs_the_batch_in_hand_alone(jobs: int, deadly: tuple[int, ...]) -> None:
    """Those that waited for the same worker are treated by the one that follows it."""
    found = list(run_batches(work, batches(30, *deadly), jobs, died, undone, StopFlag()))
    assert found == [("died" if n in deadly else "done", b"%d" % n) for n in range(30)]


@pytest.mark.parametrize("taken", [0, 1, 7])
def test_what_nobody_asks_for_is_undone(taken: int) -> None:
    """Each result comes once, to the caller or to `undo`, and no batch begins after the end."""
    stop = StopFlag()
    left: list[bytes] = []
    given = 0

    def counted() -> Iterator[Batch]:
        nonlocal given
        for number in range(100):
            given += 1
            yield [(b"%d" % number, ""), (SLOW if number % 10 == 3 else b"", "")]

    coming = run_batches(work, counted(), 2, died, lambda result: left.append(result[1]), stop)
    seen = [next(coming)[1] for _ in range(taken)]
    stop.set()
    coming.close()
    if taken == 0:  # it had not begun
        assert given == 0
        return
    whole = sorted([*seen, *left], key=int)
    assert whole == [b"%d" % n for n in range(len(whole))]
    assert given - len(whole) in (0, 1)  # one may have been taken that no worker was free for
    assert given - taken <= 2 * 8 + 2 * EACH


@pytest.mark.parametrize("jobs", [1, 2, 3])
@pytest.mark.parametrize("deadly", [(), (2, 5, 6)])
def test_what_lies_ahead(jobs: int, deadly: tuple[int, ...]) -> None:
    """Results of batches that were given out and not asked for; they come in their order still, and
    as whoever looked has left them."""

    def work_on(batch: Batch) -> list[str]:
        work(batch)
        return ["done", batch[0][0].decode()]

    def lost(batch: Batch) -> list[str]:
        return ["died", batch[0][0].decode()]

    wanted = [["died" if n in deadly and jobs > 1 else "done", f"{n}"] for n in range(40)]
    given = batches(40, *(deadly if jobs > 1 else ()))
    ahead, seen = Ahead(), []
    assert ahead.results() == []
    for number, result in enumerate(
        run_batches(work_on, given, jobs, lost, lambda _: None, StopFlag(), ahead=ahead)
    ):
        assert result[:2] == wanted[number]
        assert len(result) == 2 + (number in seen)
        if number % 9 == 0:
            behind = ahead.results()
            seen = [int(one[1]) for one in behind]
            assert [one[:2] for one in behind] == wanted[number + 1 : number + 1 + len(behind)]
            assert number > 0 or (len(behind) > 0) == (jobs > 1)
            for one in behind:
                del one[2:]
                one.append("looked at")


def of_some(batch: Batch) -> tuple[str, bytes]:
    """A result longer than any pipe, for some."""
    done, number = work(batch)
    return done, number.ljust(2 if int(number) % 3 else 1 << 20)


@pytest.mark.parametrize("jobs", [2, 3])
@pytest.mark.parametrize("deadly", [(), (0,), (4, 5), tuple(range(12))])
def test_longer_than_a_pipe_both_ways(jobs: int, deadly: tuple[int, ...]) -> None:
    """Neither side waits for the other one for ever, whether a worker dies or not."""
    given = [
        [(b"%d" % n, ""), (DEADLY if n in deadly else b"", ""), (b"x" * (1 << 20), "")]
        for n in range(12)
    ]
    found = list(run_batches(of_some, given, jobs, died, undone, StopFlag()))
    assert [(done, int(number)) for done, number in found] == [
        ("died" if n in deadly else "done", n) for n in range(12)
    ]


@pytest.mark.parametrize("written", [0, 5, 8, 20, 100_000])
def test_killed_while_it_writes_a_message(written: int) -> None:
    """What is torn is no result."""

    def torn(batch: Batch) -> tuple[str, bytes]:
        if batch[1][0] == DEADLY:
            write = os.write

            def write_and_die(file: int, data: memoryview) -> None:
                left = data[:written]
                while left:
                    left = left[write(file, left) :]
                os.kill(os.getpid(), signal.SIGKILL)

            os.write = write_and_die  # type: ignore[assignment]
        return "done", batch[0][0].ljust(200_000)

    found = list(run_batches(torn, batches(12, 3, 4), 2, died, undone, StopFlag()))
    assert [(done, int(number)) for done, number in found] == [
        ("died" if n in (3, 4) else "done", n) for n in range(12)
    ]


def test_no_more_workers_than_batches_want() -> None:
    """One that has died with nothing in hand costs nothing, and is replaced when there is work."""
    others = set(children(os.getpid()))  # of other tests
    pool, stop = _Pool(work, 2, died), StopFlag()
    pool.start()
    assert list(pool.run(batches(1, 0), stop)) == [("died", b"0")]
    assert len(pool._workers) == 1
    assert list(pool.run(batches(4), stop)) == [("done", b"%d" % n) for n in range(4)]
    first, idle = pool._workers
    os.kill(idle.process, signal.SIGKILL)
    os.waitid(os.P_PID, idle.process, os.WEXITED | os.WNOWAIT)
    slow = iter([[(b"0", ""), (SLOW, "")]])
    assert list(pool.run(slow, stop)) == [("done", b"0")]
    assert pool._workers == [first]
    pool.close(stop, undone)
    assert set(children(os.getpid())) <= others


def open_files() -> set[str]:
    """But that of the list itself."""
    return {name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no list of open files")
def test_no_pipe_is_left_open() -> None:
    """Workers that come later have two more than this process had, and so has it none at the end,
    nor a child."""
    before, others = open_files(), set(children(os.getpid()))

    def count(batch: Batch) -> tuple[str, bytes]:
        work(batch)
        return "done", b"%d" % len(open_files() - before)

    found = [*run_batches(count, batches(30, 3, 8, 20), 3, died, undone, StopFlag())]
    assert [number for done, number in found if done == "done"] == [b"2"] * 27
    assert open_files() == before
    assert set(children(os.getpid())) <= others


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no list of open files")
@pytest.mark.parametrize("forks", [0, 1])
def test_a_fork_that_fails(forks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves nothing behind."""
    left, fork = forks, os.fork

    def some() -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise BlockingIOError(11, "no more processes")
        return fork()

    monkeypatch.setattr(os, "fork", some)
    before, others = open_files(), set(children(os.getpid()))
    with pytest.raises(BlockingIOError, match="no more processes"):
        list(run_batches(work, batches(3), 2, died, undone, StopFlag()))
    assert open_files() == before
    assert set(children(os.getpid())) <= others


def test_a_child_that_somebody_else_takes() -> None:
    """As in a program that ignores SIGCHLD."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        found = list(run_batches(work, batches(9, 3), 2, died, undone, StopFlag()))
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert [done for done, _ in found] == ["died" if n == 3 else "done" for n in range(9)]


def test_a_bug_in_a_worker_costs_its_batch_and_shows_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fails(batch: Batch) -> tuple[str, bytes]:
        if batch[0][0] == b"3":
            raise RuntimeError("a value")
        return "done", batch[0][0]

    found = list(run_batches(fails, batches(9), 2, died, undone, StopFlag()))
    assert found == [("died" if n == 3 else "done", b"%d" % n) for n in range(9)]
    assert capfd.readouterr() == ("", "")


def test_results_on_their_way() -> None:
    """All of it comes back but an exception, and what a session said as the text of a record."""
    full = Result(b"full \xff", "mac", REWRITTEN)
    report = Report()
    report.bytes_in = report.bytes_out = 7
    full.tell(report)
    full.exception = ValueError("stays behind")
    full.crosswalk = [("uid", b"1.2", b"2.25")]
    full.temporary, full.output, full.seconds = b"temporary", b"output", 0.5
    full.add("edits", [[0, 4, "(0010,0010)", "blank"]])
    failed = Result(b"failed", "mac", FAILED)
    failed.add("error", {"offset": 1 << 40, "path": None, "reason": "\udcff"})
    failed.fatal = True
    results = Results(journal=b"journal")
    for one in (full, (b"brief", b"t", b"o", 9, {"a note": 2}), (b"b", b"", b"", 1, None), failed):
        results.made.append(one)

    (found,) = run_batches(lambda _: results, batches(1), 2, lambda _: results, undone, StopFlag())
    assert found is not results
    assert found.journal == b"journal"
    assert found.made[1:3] == results.made[1:3]
    made = [*found.made]
    found.settle()
    assert (found.tally.files, found.tally.bytes, found.tally.warnings) == (2, 10, {"a note": 2})
    assert found.files == [made[0], made[3]]
    assert len(found) == 4
    results.settle()
    (again,) = run_batches(lambda _: results, batches(1), 2, lambda _: results, undone, StopFlag())
    again.settle()  # a second time: what it counted stays
    assert (again.tally.files, again.tally.bytes, len(again)) == (2, 10, 4)
    for one, before in ((made[0], full), (made[3], failed)):
        assert isinstance(one, Result)
        assert one.told() == before.told()
        for name in ("relative", "input", "bytes_in", "warnings", "more", "seconds", "temporary",
                     "output", "crosswalk", "fatal"):  # fmt: skip
            assert getattr(one, name) == getattr(before, name), name
        assert one.report is one.exception is None
